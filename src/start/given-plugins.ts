import { types } from 'node:util'
import { MiloError } from '../errors'
import type { Plugin } from '../patch/plugin'
import { inRange } from '../patch/range'
import { describe } from '../process/log'
import { isShortString } from './short-string'
import { show } from './show'

/**
 * Looks at the plugins that an application gives. All that can be wrong with one is said here: later, it would be within the application's
 * `require`.
 * @throws MiloError that names the option, the value and the remedy
 */
export function givenPlugins(value: unknown): Plugin[] {
  const bad = (message: string) => new MiloError('MILO_BAD_PLUGINS', message)
  if (!Array.isArray(value)) throw bad(`plugins must be a list of objects with name and patches, got ${show(value)}`)
  const names = new Map<string, unknown>()
  for (const [i, plugin] of value.entries()) {
    try {
      const problem = problemOf(plugin)
      if (problem !== undefined) throw bad(`plugins[${i}] ${problem}`)
      if (names.has(plugin.name) && names.get(plugin.name) !== plugin)
        throw bad(`plugins[${i}] must have a name of its own, got '${plugin.name}' for two different plugins`)
      names.set(plugin.name, plugin)
    } catch (error) {
      if (error instanceof MiloError) throw error
      throw bad(`plugins[${i}] must be a plain object, got one that can't be read: ${describe(error)}`)
    }
  }
  return [...new Set(value)]
}

function problemOf(plugin: any): string | undefined {
  if (typeof plugin !== 'object' || plugin === null)
    return `must be an object with name and patches, got ${show(plugin)}`
  const { name, patches, onLoad, sign } = plugin
  if (!isShortString(name)) return `must have a name of 1 to 256 characters, got ${show(name)}`
  if (!Array.isArray(patches)) return `('${name}') must have a list as patches, got ${show(patches)}`
  if (onLoad !== undefined && typeof onLoad !== 'function')
    return `('${name}') must have a function as onLoad, got ${show(onLoad)}`
  if (sign !== undefined && !types.isRegExp(sign))
    return `('${name}') must have a regular expression as sign, got ${show(sign)}`
  for (const [i, patch] of patches.entries()) {
    const problem = problemOfPatch(patch)
    if (problem !== undefined) return `('${name}') ${problem} in patches[${i}]`
  }
  return undefined
}

function problemOfPatch(given: any): string | undefined {
  if (typeof given !== 'object' || given === null) return `must have an object, got ${show(given)},`
  const { module, versions, file, esm, sign, copies, patch, ...more } = given
  for (const key of Object.keys(more)) return `has module, versions, file, esm, sign, copies and patch, got '${key}',`
  if (!isShortString(module)) return `must have a package or a built-in module as module, got ${show(module)},`
  if (typeof patch !== 'function') return `must have a function as patch, got ${show(patch)},`
  if (file !== undefined && !isShortString(file))
    return `must have a path within the package as file, got ${show(file)},`
  if (esm !== undefined && (typeof esm !== 'boolean' || file === undefined))
    return `must have true or false as esm, and a file, got ${show(esm)},`
  if (sign !== undefined && !types.isRegExp(sign)) return `must have a regular expression as sign, got ${show(sign)},`
  if (copies !== undefined && (typeof copies !== 'function' || file === undefined))
    return `must have a function as copies, and a file, got ${show(copies)},`
  if (versions === undefined) return undefined
  if (!isShortString(versions)) return `must have a range such as '>=1.2 <2' as versions, got ${show(versions)},`
  try {
    inRange(undefined, versions)
  } catch (error) {
    return `must have a range such as '>=1.2 <2' as versions, got '${versions}' (${(error as Error).message}),`
  }
  return undefined
}
