import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './child'

/**
 * Programs and threads that tests start run from their source, and to compile that takes tsx from 200 ms to a second each
 * time. So each process of a run bundles a source once, as it is now.
 */

const bundles = new Map<string, string>()
let folder: string | undefined

/** @returns the source as one file of that name, without .js, in a folder that this process' bundles share */
export function bundle(source: string, name: string): string {
  const made = bundles.get(source)
  if (made !== undefined) return made
  const { buildSync } = require('esbuild') as typeof import('esbuild')
  folder ??= newFolder()
  const outfile = join(folder, `${name}.js`)
  buildSync({ entryPoints: [source], outfile, bundle: true, platform: 'node', packages: 'external' })
  bundles.set(source, outfile)
  return outfile
}

/** The embedded store's thread, by the name under which a program looks for it beside itself. */
export const EMBEDDED_THREAD = join(ROOT, 'collector/src/store/embedded/worker.ts')

/** A program that may open the embedded store. @returns its file */
export function bundledProgram(source: string, name: string): string {
  bundle(EMBEDDED_THREAD, 'embedded-worker')
  return bundle(source, name)
}

/** As deep as the store's own folder, so that it finds sql/, and below the collector's packages. */
function newFolder(): string {
  const modules = join(ROOT, 'collector/node_modules')
  mkdirSync(modules, { recursive: true })
  const made = mkdtempSync(join(modules, '.milo-test-'))
  process.on('exit', () => rmSync(made, { recursive: true, force: true }))
  return made
}
