import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, sep } from 'node:path'

/** What a file's path says of the package that it belongs to. */

export const MODULES = '/node_modules/'

export interface InPackage {
  name: string
  /** The file's within the package, with forward slashes. */
  path: string
  folder: string
}

/** The package of a file below node_modules. */
export function packageOf(file: string): InPackage | undefined {
  const slashed = sep === '/' ? file : file.replaceAll(sep, '/')
  const at = slashed.lastIndexOf(MODULES)
  if (at === -1) return undefined
  const start = at + MODULES.length
  let end = slashed.indexOf('/', start)
  if (slashed[start] === '@' && end !== -1) end = slashed.indexOf('/', end + 1)
  if (end === -1) return undefined
  return { name: slashed.slice(start, end), path: slashed.slice(end + 1), folder: file.slice(0, end) }
}

/** @param name the package's */
export function isMain(file: string, name: string): boolean {
  try {
    return createRequire(file).resolve(name) === file
  } catch {
    return false
  }
}

const versions = new Map<string, string | undefined>()

/** @param folder the package's */
export function versionOf(folder: string): string | undefined {
  if (!versions.has(folder)) {
    let version: string | undefined
    try {
      const found = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
      if (typeof found === 'string') version = found
    } catch {
      // No package.json that can be read.
    }
    versions.set(folder, version)
  }
  return versions.get(folder)
}
