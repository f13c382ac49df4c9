import { createRequire } from 'node:module'
import { describe } from '../process/log'
import { sayLeft } from './patched'

/**
 * Tells when Node loads a module of its own, so that none has to be loaded to be patched. Nothing else tells it of an import, or of a
 * module that another one of Node's loads.
 *
 * Node appends the name of each to process.moduleLoadList when it has run, before anybody gets it. An assignment to an element
 * that isn't there asks the array's prototype, and there is a proxy.
 */

const MARK = 'NativeModule '
/** Small, and seldom used: it shows whether this version of Node (or Bun, Deno, a test runner's copy of `process`) appends as described. */
const PROBE = 'path/posix'

const { moduleLoadList: list } = process as { moduleLoadList?: string[] }
const nodeRequire = createRequire(process.execPath)
const waiting = new Map<string, ((exports: unknown) => void)[]>()

let isTold: boolean | undefined

/**
 * Calls `see` with the exports of a module of Node's as soon as it has been loaded.
 * @param name without `node:`
 * @returns false where it has been loaded, or where Node wouldn't tell: `see` isn't called then
 */
export function onBuiltin(name: string, see: (exports: unknown) => void): boolean {
  if (!Array.isArray(list) || list.includes(MARK + name)) return false
  if (!(isTold ??= watch(list))) return false
  waiting.set(name, [...(waiting.get(name) ?? []), see])
  return true
}

export function forgetBuiltins(): void {
  waiting.clear()
}

function watch(list: string[]): boolean {
  const before = Object.getPrototypeOf(list)
  let last: unknown
  const set = (target: object, key: string | symbol, value: unknown, receiver: unknown) => {
    const isSet = Reflect.set(target, key, value, receiver)
    last = value
    if (waiting.size > 0) loaded(value)
    return isSet
  }
  if (list.includes(MARK + PROBE) || !Reflect.setPrototypeOf(list, new Proxy(before, { set }))) return false
  nodeRequire(PROBE)
  if (last === MARK + PROBE) return true
  Reflect.setPrototypeOf(list, before)
  return false
}

function loaded(value: unknown): void {
  if (typeof value !== 'string' || !value.startsWith(MARK)) return
  const name = value.slice(MARK.length)
  const sees = waiting.get(name)
  if (sees === undefined) return
  waiting.delete(name)
  try {
    const exports = nodeRequire(name)
    for (const see of sees) see(exports)
  } catch (error) {
    // It would become the error of whoever loads the module.
    sayLeft(name, `couldn't be patched (${describe(error)})`)
  }
}
