import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { sayEarly, sayLeft } from 'milo/plugin'
import { isPatched } from './protocol'

/*
 * Generated code that works with a thrift which Milo hasn't patched is left alone, on both sides: half of a call tells
 * less than none. It is said once, with the name of the protocol's class, that of its package, and the reason.
 */

/** The prototypes that something has been said of: those from which all others are derived. */
const said = new WeakSet<object>()
let saidAny = false

/** @param protocol one whose messages can't be seen, or the prototype of its class */
export function sayForeign(protocol: any): void {
  if (typeof protocol !== 'object' || protocol === null) return
  if (isPatched(protocol)) {
    sayLeft('what a Thrift server answers by a sealed transport', "can't be followed")
    return
  }
  // A multiplexer derives a class for each client, so what counts is where they all come from.
  const levels: any[] = []
  for (let level = protocol; level && level !== Object.prototype; level = Object.getPrototypeOf(level))
    levels.unshift(level)
  const [base] = levels
  if (said.has(base)) return
  said.add(base)
  // A multiplexed processor hands on a copy of the protocol's properties: its class has been said when it was loaded.
  if (base.constructor === Object && saidAny) return
  saidAny = true
  let file: string | undefined
  let home: Package | undefined
  for (const level of levels) {
    file ??= fileOf(level.constructor)
    home ??= packageOf(file)
  }
  if (home === undefined) {
    const name = `the Thrift protocol ${base.constructor?.name}`
    if (file === undefined) sayLeft(name, "is in a bundle, or isn't derived from npm thrift's,")
    else sayLeft(`${name} in ${file}`, "isn't derived from npm thrift's")
  } else if (home.name === 'thrift') sayThrift(home.version)
  else sayLeft(`Thrift in ${home.name} ${home.version}`, "has protocols that aren't derived from npm thrift's")
}

interface Package {
  name: string
  version: string
}

function sayThrift(version: string): void {
  if (/^(?:0\.[0-8]\.|0\.9\.[0-2]\b|[1-9])/.test(version)) sayLeft(`thrift ${version}`, 'is outside >=0.9.3 <1')
  else sayEarly('thrift')
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

function packageOf(file: string | undefined): Package | undefined {
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
