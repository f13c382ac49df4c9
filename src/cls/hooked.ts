import Module from 'node:module'
import { notePatched, noteUntraced } from '../patch/patched'
import { log } from '../process/log'
import * as cls from './namespaces'

/**
 * MILO_CLS_HOOKED: an application that requires cls-hooked gets milo/cls, also where cls-hooked isn't installed. An ES module's import
 * comes by only once Node has found the file: so for those it must be installed.
 */

const FILE = /[\\/]node_modules[\\/]cls-hooked[\\/](?:index|context|context-legacy)\.js$/
const REQUESTS = ['cls-hooked', 'cls-hooked/context', 'cls-hooked/context.js']

/** Puts Node's functions back, unless other code has replaced them since. */
let restore: (() => void) | undefined

export function restoreClsHooked(): void {
  restore?.()
  restore = undefined
}

export function replaceClsHooked(): void {
  if (restore !== undefined) return
  const loader = Module as any
  const load = loader._load
  // All get the same object. It may be changed, as a package's may.
  const exports = { ...cls }
  if (Object.keys(require.cache).some(file => FILE.test(file))) {
    noteUntraced('cls-hooked', 'was loaded before Milo')
    log('warn', 'cls-hooked was loaded before Milo, and stays in use where it was loaded: load milo/register first')
  }
  const give = () => {
    notePatched('cls-hooked (milo/cls in its place)')
    return exports
  }
  const giving = function (this: unknown, request: unknown, ...rest: unknown[]) {
    if (REQUESTS.includes(request as string)) return give()
    return Reflect.apply(load, this, [request, ...rest])
  }
  loader._load = giving
  // An ES module's import comes with the file's name.
  const compile = loader._extensions['.js']
  const givingFile = function (this: unknown, module: NodeModule, file: string, ...rest: unknown[]) {
    if (FILE.test(file)) module.exports = give()
    else return Reflect.apply(compile, this, [module, file, ...rest])
  }
  loader._extensions['.js'] = givingFile
  restore = () => {
    if (loader._load === giving) loader._load = load
    if (loader._extensions['.js'] === givingFile) loader._extensions['.js'] = compile
  }
}
