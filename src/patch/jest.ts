import { describe } from '../process/log'
import { sayLeft } from './patched'

/**
 * jest runs each test file in a realm and with a registry of modules of its own, so what it loads passes no `load` of
 * Node's. Where Milo was loaded before jest (NODE_OPTIONS='-r milo/register'), the method by which jest loads a file takes
 * its place. It is jest's own: `_loadModule` of a runtime until 30.4, `loadModule` of its `cjsLoader` since.
 */

/** Shows a module that has been loaded, and returns the exports to use. */
type Look = (exports: unknown, file: string) => unknown

/** The loaders that are watched, each until Milo gives up. */
const watched: { loader: any; name: string; original: Function; mine: Function }[] = []

/**
 * @param exports those of jest-runtime
 * @returns false for a version that loads files in another way
 */
export function watchJest(exports: any, look: Look): boolean {
  const runtime = (exports?.default ?? exports)?.prototype
  if (typeof runtime?._loadModule === 'function') return watch(runtime, '_loadModule', look)
  if (typeof runtime?.requireModule !== 'function') return false
  // The class of `cjsLoader` isn't exported: the first runtime leads to it, before it loads anything of a test's.
  for (const name of ['requireModule', 'requireInternalModule', 'unstable_importModule']) {
    const original = runtime[name]
    if (typeof original !== 'function') continue
    runtime[name] = function (this: any, ...args: unknown[]) {
      runtime[name] = original
      const loader = Object.getPrototypeOf(this?.cjsLoader ?? {})
      if (!watched.some(one => one.loader === loader) && typeof loader?.loadModule === 'function')
        watch(loader, 'loadModule', look)
      return original.apply(this, args)
    }
  }
  return true
}

export function leaveJest(): void {
  for (const { loader, name, original, mine } of watched.splice(0)) if (loader[name] === mine) loader[name] = original
}

function watch(loader: any, name: string, look: Look): true {
  const original: Function = loader[name]
  // Both have the same parameters: module, from, name, file, options.
  const mine = function (this: unknown, ...args: any[]) {
    const returned = original.apply(this, args)
    const [module, , , file, options] = args
    try {
      if (options?.isInternalModule === true) return returned
      const { exports } = module
      const result = look(exports, file)
      if (result !== exports) module.exports = result
    } catch (error) {
      sayLeft('a module', `couldn't be looked at (${describe(error)})`)
    }
    return returned
  }
  watched.push({ loader, name, original, mine })
  loader[name] = mine
  return true
}
