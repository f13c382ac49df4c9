import { readFileSync } from 'node:fs'
import Module, { builtinModules, syncBuiltinESMExports } from 'node:module'
import { join, sep } from 'node:path'
import type { Hook as HookClass } from 'require-in-the-middle'
import * as shimmer from 'shimmer'
import { describe, log } from './log'
import { noteLeft, notePatched } from './patched'
import type { Patch, Plugin, PluginHandle } from './plugin'

/** Names of the plugins that are in place: a second time would trace everything twice. */
const installed = new Set<string>()

/**
 * Applies plugins: to built-in modules now, to packages when the application loads them. require-in-the-middle sees
 * every CommonJS file, also those of a package that an ESM application imports; so patches name files, not packages.
 */
export function install(plugins: Plugin[]): void {
  const fresh = plugins.filter(plugin => !installed.has(plugin.name))
  const byModule = new Map<string, [Patch, Handle][]>()
  let builtin = false
  for (const plugin of fresh) {
    installed.add(plugin.name)
    const handle = new Handle(plugin.name)
    if (plugin.onLoad !== undefined) watchLoads(plugin.onLoad, handle)
    for (const patch of plugin.patches) {
      if (builtinModules.includes(patch.module)) {
        builtin = true
        handle.apply(patch, require(patch.module), patch.module)
      } else {
        const patches = byModule.get(patch.module) ?? []
        patches.push([patch, handle])
        byModule.set(patch.module, patches)
      }
    }
  }
  if (builtin) syncBuiltinESMExports()
  if (byModule.size === 0) return
  warnOfLoaded([...byModule.keys()])
  const Hook = loadHook()
  new Hook([...byModule.keys()], { internals: true }, (exports, name, baseDir) => {
    const path = name.split(sep).join('/')
    // The name is the package's for its main file, else the package's and the path within it.
    const module = path.split('/', path.startsWith('@') ? 2 : 1).join('/')
    const file = path.slice(module.length + 1)
    for (const [patch, handle] of byModule.get(module) ?? []) {
      if ((patch.file ?? '') !== file) continue
      const version = versionOf(baseDir)
      if (patch.versions !== undefined && !inRange(version, patch.versions)) {
        const reason = `is outside ${patch.versions}`
        if (noteLeft(`${module} ${version}`, reason)) log('warn', `${module} ${version} ${reason} and stays as it is`)
      } else {
        exports = handle.apply(patch, exports, `${module} ${version}`) as typeof exports
      }
    }
    return exports
  })
}

/**
 * require-in-the-middle, without the package `debug` by which it could say what it does: that takes three quarters of its
 * time to load, 4 ms of each start. Who sets DEBUG gets it.
 */
function loadHook(): typeof HookClass {
  const loader = Module as unknown as { _load(request: string, ...rest: unknown[]): unknown }
  const load = loader._load
  if (process.env.DEBUG === undefined) {
    const silent = () => () => {}
    loader._load = function (request, ...rest) {
      return request === 'debug' ? silent : load.call(this, request, ...rest)
    }
  }
  try {
    return require('require-in-the-middle').Hook
  } finally {
    loader._load = load
  }
}

function watchLoads(onLoad: NonNullable<Plugin['onLoad']>, handle: Handle): void {
  // Undocumented, but the one place that every CommonJS module passes once, whether required or imported.
  const prototype = (Module as any).prototype
  if (typeof prototype.load !== 'function') return
  handle.wrap(
    prototype,
    'load',
    original =>
      function (this: NodeModule, ...args: unknown[]) {
        const result = original.apply(this, args)
        if (handle.enabled) {
          try {
            onLoad(this.exports, handle, this.filename)
          } catch (error) {
            handle.fail(error)
          }
        }
        return result
      } as any,
  )
}

class Handle implements PluginHandle {
  readonly name: string
  enabled = true
  private readonly wraps: [any, string][] = []
  private readonly patched = new Set<string>()

  constructor(name: string) {
    this.name = name
  }

  fail(error: unknown): void {
    if (!this.enabled) return
    this.enabled = false
    const stack = error instanceof Error && typeof error.stack === 'string' ? error.stack : describe(error)
    log('error', `the plugin ${this.name} failed and is off for this process: ${stack}`)
    for (const what of this.patched) noteLeft(what, `the plugin ${this.name} failed`)
  }

  wrap<F extends Function>(target: any, name: string, make: (original: F) => F): void {
    if (typeof target?.[name] !== 'function') throw new TypeError(`there is no function ${name} to wrap`)
    shimmer.wrap(target, name, ((original: F) => this.imitate(original, make(original))) as never)
    this.wraps.push([target, name])
  }

  imitate<F extends Function>(original: F, replacement: F): F {
    for (const key of ['length', 'name'] as const) {
      Object.defineProperty(replacement, key, { value: original[key], configurable: true })
    }
    return replacement
  }

  /** Returns the exports to use. A patch that throws leaves nothing of the plugin behind. */
  apply(patch: Patch, exports: unknown, what: string): unknown {
    if (!this.enabled) return exports
    this.patched.add(what)
    try {
      const replaced = patch.patch(exports, this) ?? exports
      notePatched(what)
      return replaced
    } catch (error) {
      this.fail(error)
      for (const [target, name] of this.wraps) shimmer.unwrap(target, name as never)
      return exports
    }
  }
}

function warnOfLoaded(modules: string[]): void {
  for (const module of modules) {
    const part = `${sep}node_modules${sep}${module.split('/').join(sep)}${sep}`
    if (Object.keys(require.cache).some(file => file.includes(part))) {
      noteLeft(module, 'was loaded before Milo')
      log('warn', `${module} was loaded before Milo and isn't traced: load milo/register first (node -r milo/register)`)
    }
  }
}

const versions = new Map<string, string>()

function versionOf(baseDir: string | undefined): string {
  if (baseDir === undefined) return '0.0.0'
  let version = versions.get(baseDir)
  if (version === undefined) {
    try {
      version = String(JSON.parse(readFileSync(join(baseDir, 'package.json'), 'utf8')).version)
    } catch {
      version = '0.0.0'
    }
    versions.set(baseDir, version)
  }
  return version
}

/** Whether a version meets every comparator (>=, >, <=, <, =) of a range. A pre-release counts as its release. */
export function inRange(version: string, range: string): boolean {
  return range.split(/\s+/).every(comparator => {
    const match = /^(>=|<=|>|<|=)?(\d+(?:\.\d+){0,2})$/.exec(comparator)
    if (match === null) throw new Error(`'${comparator}' in the range '${range}' is no comparator such as >=1.2.3`)
    const order = compareVersions(version, match[2]!)
    switch (match[1]) {
      case '>=':
        return order >= 0
      case '<=':
        return order <= 0
      case '>':
        return order > 0
      case '<':
        return order < 0
      default:
        return order === 0
    }
  })
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(v => v.split(/[-+]/)[0]!.split('.').map(Number))
  for (let i = 0; i < 3; i++) {
    const difference = (left![i] ?? 0) - (right![i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
