import { existsSync, readFileSync, statSync } from 'node:fs'
import Module, { builtinModules, createRequire, syncBuiltinESMExports } from 'node:module'
import { dirname, join, sep } from 'node:path'
import { claimLibrary, releaseLibraries, tracerOf, warnOnce } from '../process/copies'
import { describe } from '../process/log'
import { forgetBuiltins, onBuiltin } from './builtins'
import { Handle } from './handle'
import { leaveJest, watchJest } from './jest'
import { type InPackage, isMain, MODULES, packageOf, versionOf } from './package-file'
import { noteLeft, type Patcher, sayEarly, sayLeft, setPatcher } from './patched'
import type { Patch, Plugin } from './plugin'
import { inRange } from './range'

/** What is in place, from `install` to `uninstall`. */
const installed = {
  /** By name: a plugin that is installed a second time would trace everything twice. */
  plugins: new Map<string, Plugin>(),
  handles: [] as Handle[],
  watchers: [] as { onLoad: NonNullable<Plugin['onLoad']>; handle: Handle }[],
  /** Patches that wait for a file to be loaded, by package. */
  waiting: new Map<string, [Patch, Handle][]>(),
  /** Those of them that know copies of their files, by the file's name. */
  copied: new Map<string, [Patch, Handle][]>(),
  /** Unwraps the function that loads files. */
  unwatchLoads: undefined as (() => void) | undefined,
  /** Leaves the place where modules of bundles look for Milo. */
  unwatchBundles: undefined as (() => void) | undefined,
}

/** Node's own `require`, also where Milo is within a bundle, whose `require` knows only what the bundler has seen. */
const nodeRequire = createRequire(process.execPath)

/** The tracer that plugins are installed for, and what to do where it comes too late. */
export interface Tracer extends Patcher {
  /** How to load it before jest. */
  earlyInJest: string
  /** Which one it is, where there may be several that aren't the same. */
  where?: string
  /** How to load it before what is in the same bundle, where that is another way. */
  earlyInBundle?: string
  /** How to keep it from tracing a library. */
  leave(library: string): string
}

export function nameOf({ name, where }: Tracer): string {
  return where === undefined ? name : `${name} in ${where}`
}

const MILO: Tracer = {
  name: 'Milo',
  early: 'load milo/register first (node -r milo/register)',
  earlyInJest: "start jest with NODE_OPTIONS='-r milo/register'",
  earlyInBundle: "import 'milo/register' first in the bundle, or start it with node -r milo/register",
  leave: library => `MILO_PLUGINS=-${library}`,
}

/** Applies plugins: to modules of Node's and of packages when they are loaded, and to those of Node's that have been now. */
export function install(plugins: Plugin[], tracer = MILO): void {
  setPatcher(tracer)
  let builtin = false
  const packages = new Set<string>()
  for (const plugin of plugins) {
    const there = installed.plugins.get(plugin.name)
    if (there !== undefined) {
      if (there !== plugin)
        warnOnce(`the plugin ${plugin.name} was given after another one of that name and isn't installed`)
      continue
    }
    if (!claimLibrary(plugin.name, nameOf(tracer), tracer.leave(plugin.name))) {
      noteLeft(plugin.name, tracerOf(plugin.name)!)
      continue
    }
    installed.plugins.set(plugin.name, plugin)
    const handle = new Handle(plugin.name)
    installed.handles.push(handle)
    if (plugin.onLoad !== undefined) installed.watchers.push({ onLoad: plugin.onLoad.bind(plugin), handle })
    for (const patch of plugin.patches) {
      const name = patch.module.replace(/^node:/, '')
      // A package may have the name of a module that is built into Bun (undici).
      if (patch.file === undefined && builtinModules.includes(name)) {
        // What is traced by it, as people call it: undici's plugin patches diagnostics_channel.
        const apply = (exports: unknown) => handle.apply(patch, exports, plugin.name)
        if (onBuiltin(name, apply)) continue
        builtin = true
        apply(nodeRequire(name))
      } else {
        packages.add(name)
        const patches = installed.waiting.get(name) ?? []
        installed.waiting.set(name, patches)
        patches.push([patch, handle])
        if (patch.copies !== undefined && patch.file !== undefined) {
          const fileName = patch.file.slice(patch.file.lastIndexOf('/') + 1)
          installed.copied.set(fileName, [...(installed.copied.get(fileName) ?? []), [patch, handle]])
        }
      }
    }
  }
  looked.clear()
  if (builtin) syncBuiltinESMExports()
  if (packages.size > 0) sayWhatCannotBeSeen([...packages], tracer)
  if (installed.waiting.size > 0 || installed.watchers.length > 0) {
    watchLoads()
    watchBundles(tracer)
    const modules = [...installed.waiting.values()].flat().filter(([{ esm }]) => esm)
    if (modules.length > 0) watchModules(modules.map(([{ module, file }]) => `/node_modules/${module}/${file}`))
  }
}

/** Takes back what was patched, unless other code has wrapped it again. */
export function uninstall(): void {
  for (const handle of installed.handles.splice(0)) handle.takeBack()
  installed.plugins.clear()
  installed.waiting.clear()
  installed.copied.clear()
  forgetBuiltins()
  installed.watchers.length = 0
  installed.unwatchLoads?.()
  installed.unwatchLoads = undefined
  releaseLibraries()
  leaveJest()
  installed.unwatchBundles?.()
  installed.unwatchBundles = undefined
}

/** Whether the plugin of this name has patched something, and works. */
export function hasPatched(name: string): boolean {
  return installed.handles.some(handle => handle.name === name && handle.hasPatched)
}

/** Takes back for a while what was patched. @returns what patches it again */
export function suspend(): () => void {
  const resumes = installed.handles.map(handle => handle.suspend())
  return () => {
    for (const resume of resumes) resume()
  }
}

/**
 * Module.prototype.load is undocumented, but the one place that every CommonJS file passes once, when it has run, whether
 * it is required or an ES module imports it. The application's `load` never sees an error of what is done there.
 */
function watchLoads(): void {
  if (installed.unwatchLoads !== undefined) return
  const { prototype, _extensions: extensions } = Module as any
  const watched = (original: Function, moduleOf: (self: NodeModule, args: any[]) => NodeModule) =>
    function (this: NodeModule, ...args: unknown[]) {
      const result = original.apply(this, args)
      try {
        loaded(moduleOf(this, args))
      } catch (error) {
        sayLeft('a module', `couldn't be looked at (${describe(error)})`)
      }
      return result
    } as any
  if (typeof prototype?.load === 'function') {
    // Not by shimmer, which is loaded for the first patch.
    const original = prototype.load
    const mine = watched(original, self => self)
    prototype.load = mine
    installed.unwatchLoads = () => {
      if (prototype.load === mine) prototype.load = original
    }
  } else if (typeof extensions?.['.js'] === 'function') {
    // Bun has no `load`. It calls this one, for what is imported as well.
    const original = extensions['.js']
    extensions['.js'] = watched(original, (_, [module]) => module)
    installed.unwatchLoads = () => {
      extensions['.js'] = original
    }
  } else sayLeft('every package', "is loaded in a way of this version of Node that Milo doesn't know,")
}

function loaded(module: NodeModule): void {
  const file = module.filename
  const { exports } = module
  const found = typeof file === 'string' ? packageOf(file) : undefined
  const result = look(exports, file, found)
  if (result !== exports) module.exports = result
  if (typeof file !== 'string') return
  if (found === undefined) lookInside(file)
  else if (
    found.name === 'jest-runtime' &&
    found.path === 'build/index.js' &&
    !watchJest(exports, (exports, file) => look(exports, file, packageOf(file)))
  )
    sayLeft('what jest loads', `is loaded in a way of jest ${versionOf(found.folder)} that Milo doesn't know,`)
}

/**
 * Shows a module that has run to the plugins.
 * @param bundled what a module of a bundle says of itself, whose file isn't there
 * @returns the exports to use
 */
function look(
  exports: unknown,
  file: string,
  found: InPackage | undefined,
  bundled?: { version: string | undefined; isMain: boolean },
): any {
  for (const { onLoad, handle } of installed.watchers) handle.look(onLoad, exports, file)
  if (typeof file !== 'string') return exports
  const copied = installed.copied.get(file.slice(file.lastIndexOf(sep) + 1))
  let result = copied === undefined ? exports : patchCopy(exports, file, copied, found)
  if (found === undefined) return result
  const { name, path, folder } = found
  for (const [patch, handle] of installed.waiting.get(name) ?? []) {
    if (patch.file === undefined ? !(bundled?.isMain ?? isMain(file, name)) : patch.file !== path) continue
    const version = bundled === undefined ? versionOf(folder) : bundled.version
    const what = `${name} ${version ?? 'of an unknown version'}`
    if (patch.versions !== undefined && !inRange(version, patch.versions)) sayLeft(what, `is outside ${patch.versions}`)
    else result = handle.apply(patch, result, what)
  }
  return result
}

/** Where modules of bundles find Milo (source.ts). Its text isn't in one piece: bundles with such modules are known by it. */
const BUNDLED = Symbol.for(['milo', 'bundled'].join('.'))

interface Shown {
  patch?(file: string, version: string | undefined, isMain: boolean | undefined, exports: unknown): unknown
  /** What was there before Milo. */
  early?: string[]
}

function watchBundles({ earlyInBundle }: Tracer): void {
  if (installed.unwatchBundles !== undefined) return
  const home = globalThis as { [BUNDLED]?: Shown }
  const before = home[BUNDLED]
  for (const file of before?.early ?? []) {
    const name = packageOf(file)?.name
    if (name !== undefined && installed.waiting.has(name)) sayEarly(name, earlyInBundle)
  }
  const mine: Shown = {
    patch(slashed, version, isMain, given) {
      const file = slashed.replaceAll('/', sep)
      // This file exists twice in dist: milo/otel-instrumentation has one of its own.
      const exports = before?.patch === undefined ? given : before.patch(slashed, version, isMain, given)
      try {
        // An ES module that Node has loaded names its file alone, which is there.
        return look(exports, file, packageOf(file), isMain === undefined ? undefined : { version, isMain })
      } catch (error) {
        sayLeft(file, `couldn't be looked at (${describe(error)})`)
        return exports
      }
    },
  }
  Object.defineProperty(home, BUNDLED, { value: mine, configurable: true, writable: true })
  installed.unwatchBundles = () => {
    if (home[BUNDLED] !== mine) return
    if (before?.patch === undefined) delete home[BUNDLED]
    else home[BUNDLED] = before
  }
}

/** Node's hooks stay for good; what they have watched once isn't watched again. */
const watchedModules = new Set<string>()

function watchModules(files: string[]): void {
  const added = files.filter(file => !watchedModules.has(file))
  for (const file of added) watchedModules.add(file)
  if (added.length === 0) return
  // Loaded late: it costs only those who need it.
  const { watchEsm } = require('./esm') as typeof import('./esm')
  if (watchEsm(added)) return
  for (const file of added)
    sayLeft(file.slice(MODULES.length), 'is an ES module', 'use Node 22.15 or later, or leave Milo out of the bundle')
}

function patchCopy(exports: unknown, file: string, patches: [Patch, Handle][], found: InPackage | undefined): unknown {
  let result = exports
  for (const [patch, handle] of patches) {
    if (found?.name === patch.module || !patch.copies!(exports)) continue
    const where =
      found === undefined ? dirname(file) : `${found.name} ${versionOf(found.folder) ?? 'of an unknown version'}`
    result = handle.apply(patch, result, `the copy of ${patch.module} in ${where}`, true)
  }
  return result
}

/** Names, at the start, the packages that will pass no `load`, and why. */
function sayWhatCannotBeSeen(packages: string[], { name, earlyInJest }: Tracer): void {
  // What jest gives for node:module inherits from the real one.
  if (typeof Object.getPrototypeOf(Module)?.createRequire === 'function') {
    // What jest loads for a test file passes no `load` that Milo could see from within.
    sayLeft(
      `what jest loads (${packages.join(', ')})`,
      `is in a registry of its own, which ${name} can't see from within,`,
      earlyInJest,
    )
    return
  }
  if (process.env.VITEST !== undefined && process.execArgv.includes('--experimental-vm-modules')) {
    sayLeft(
      `what vitest's vm pools load (${packages.join(', ')})`,
      `is in realms that ${name} can't see into,`,
      'run vitest with --pool=forks or --pool=threads',
    )
    return
  }
  const files = Object.keys(nodeRequire.cache)
  for (const name of packages) {
    const part = `${sep}node_modules${sep}${name.split('/').join(sep)}${sep}`
    if (files.some(file => file.includes(part))) sayEarly(name)
  }
  // Milo may be within one of these itself, and it hasn't been loaded to its end.
  for (const file of [...files, process.argv[1]]) if (file !== undefined) lookInside(file)
}

/** Only large files outside node_modules may be bundles, and few are. */
const BUNDLE_BYTES = 64 * 1024
/** Bundles that have been read: an application may load a file again and again. */
const looked = new Set<string>()
const MAX_LOOKED = 1_000

/** A package within an application's bundle isn't a file that could be patched. It is recognized by what the bundle contains. */
function lookInside(file: string): void {
  const signed = [...installed.waiting.values()].flat().filter(([{ sign }]) => sign !== undefined)
  if (signed.length === 0 || isOwn(file)) return
  const text = packageOf(file) === undefined ? textOfBundle(file) : undefined
  // One that was built with milo/bundler has shown what it holds, or is about to.
  if (text === undefined || text.includes(BUNDLED.description!)) return
  for (const [{ module, sign }] of signed) {
    if (text.search(sign!) !== -1) {
      sayLeft(
        module,
        `is within the bundle ${file}`,
        'build it with the plugin of milo/bundler, or leave it out, as an external package',
      )
    }
  }
}

/** Milo's own file where it isn't below node_modules, as when it is linked. In a bundle, `__filename` is the application's. */
function isOwn(file: string): boolean {
  return typeof __filename === 'string' && file === __filename && existsSync(join(dirname(file), 'thrift-code.js'))
}

function textOfBundle(file: string): string | undefined {
  if (looked.has(file)) return undefined
  try {
    const stats = statSync(file)
    if (!stats.isFile() || stats.size < BUNDLE_BYTES) return undefined
    if (looked.size >= MAX_LOOKED) looked.clear()
    looked.add(file)
    return readFileSync(file, 'latin1')
  } catch {
    // No file, as for an argument of `node -e`, or none that can be read.
    return undefined
  }
}
