import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { sayLeft } from 'milo/plugin'

/*
 * Generated code that works with a thrift which Milo hasn't patched is left alone, on both sides: half of a call tells
 * less than none. It is said once, with the package's name and the reason.
 */

const said = new WeakSet<object>()

/** @param protocol a protocol's class, of which Milo knows nothing */
export function sayForeign(protocol: unknown, side: 'clients' | 'servers'): void {
  if (typeof protocol !== 'function' || said.has(protocol)) return
  said.add(protocol)
  const home = packageOf(fileOf(protocol))
  if (home === undefined) {
    sayLeft(`what Thrift ${side} send by ${protocol.name || 'a protocol'}`, "is not npm thrift's, or from a bundle,")
  } else {
    sayLeft(`${home.name} ${home.version}`, home.name === 'thrift' ? reasonOf(home.version) : 'is not npm thrift')
  }
}

function reasonOf(version: string): string {
  return /^(?:0\.[0-8]\.|0\.9\.[0-2]\b|[1-9])/.test(version) ? 'is outside >=0.9.3 <1' : 'was loaded before Milo'
}

/** The file whose module exports a class: of several, the one that was loaded last, as what others re-export is. */
function fileOf(exported: unknown): string | undefined {
  let file: string | undefined
  // Node's own `require`, also where Milo is within a bundle.
  for (const module of Object.values(createRequire(process.execPath).cache)) {
    try {
      const { exports, filename } = module!
      const isIts =
        exports === exported ||
        (typeof exports === 'object' &&
          Object.values(Object.getOwnPropertyDescriptors(exports)).some(({ value }) => value === exported))
      if (isIts) file = filename
    } catch {
      // Exports that don't want to be looked at.
    }
  }
  return file
}

function packageOf(file: string | undefined): { name: string; version: string } | undefined {
  if (file === undefined) return undefined
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      if (typeof name === 'string') return { name, version: String(version) }
    } catch {
      // None here, or none to be read.
    }
    if (folder === dirname(folder)) return undefined
  }
}
