import { readFileSync } from 'node:fs'
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
    sayLeft(
      `Thrift ${side} with ${protocol.name || 'a protocol'} of their own`,
      'is neither npm thrift’s nor loaded by Node’s require, as in a bundle',
    )
  } else {
    sayLeft(
      `${home.name} ${home.version}`,
      home.name === 'thrift' ? reasonOf(home.version) : 'is not npm thrift, and only that is patched',
    )
  }
}

function reasonOf(version: string): string {
  return /^0\.(?:[0-8]|9\.[0-2])(?:\.|$|-)|^[1-9]/.test(version)
    ? 'is outside >=0.9.3 <1'
    : 'has a copy that was loaded before Milo'
}

/** The file whose module exports a class: of several, the one that was loaded last, as what others re-export is. */
function fileOf(exported: unknown): string | undefined {
  let file: string | undefined
  for (const module of Object.values(require.cache)) {
    try {
      const { exports } = module!
      const isIts =
        exports === exported ||
        (typeof exports === 'object' &&
          Object.values(Object.getOwnPropertyDescriptors(exports)).some(({ value }) => value === exported))
      if (isIts) file = module!.filename
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
