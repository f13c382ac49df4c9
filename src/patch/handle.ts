import { EventEmitter } from 'node:events'
import { isActive } from 'milo/plugin'
import { GenuinePromise } from '../process/genuine'
import { describe, ifRejected, log } from '../process/log'
import { Resource } from '../process/resource'
import { imitate } from './imitate'
import { notePatched, noteUntraced, sayLeft } from './patched'
import type { Emit, Patch, Plugin, PluginHandle, Wrapped } from './plugin'

/** Loaded for the first patch. */
const shimmer = () => require('shimmer') as typeof import('shimmer')

/** Node's own `emit`, which does nothing for an event without listeners. Undefined where somebody had replaced it before Milo came. */
const { emit: found } = EventEmitter.prototype
const source = Function.prototype.toString.call(found)
const nodesEmit =
  source.startsWith('function emit(type, ...args)') && source.includes('kErrorMonitor') ? found : undefined

/** Whether Node's own `emit` would find no listener. An error without one is thrown. */
function isSilent(emitter: any, event: unknown): boolean {
  return typeof event === 'string' && event !== 'error' && emitter._events?.[event] === undefined
}

/** One plugin's hold on the process: the barrier between its code and the application's. */
export class Handle implements PluginHandle {
  readonly name: string
  enabled = true
  /** What patches have wrapped, to be taken back. The references are weak: an application may load a package again and again. */
  private wraps: [WeakRef<object>, string][] = []
  /** At how many of them those whose objects are gone are left out: each test file of jest's loads its packages anew. */
  private mostWraps = 1_000
  /** What the patch that is being applied has wrapped so far. */
  private applying: [WeakRef<object>, string][] | undefined
  private readonly patched = new Set<string>()

  constructor(name: string) {
    this.name = name
  }

  get hasPatched(): boolean {
    return this.enabled && this.patched.size > 0
  }

  fail(error: unknown): void {
    if (!this.enabled) return
    this.enabled = false
    const stack = error instanceof Error && typeof error.stack === 'string' ? error.stack : describe(error)
    log('error', `the plugin ${this.name} failed and is off for this process: ${stack}`)
    for (const what of this.patched) noteUntraced(what, `the plugin ${this.name} failed`)
  }

  wrap(target: any, name: string, make: (original: Wrapped) => Wrapped): void {
    if (typeof target?.[name] !== 'function') throw new TypeError(`${name} must be a function to be wrapped`)
    const wrapped: any = shimmer().wrap(target, name, (original: Wrapped) => imitate(original, make(original)))
    // By this mark OpenTelemetry's instrumentations know functions that they have wrapped before, and unwrap them.
    wrapped.__wrapped = false
    this.applying?.push([new WeakRef(target), name])
  }

  intercept(target: any, name: string, call: (original: Wrapped, self: any, args: any[]) => unknown): void {
    const plugin = this
    this.wrap(target, name, original => {
      return function (...args) {
        const made = new.target
        if (!plugin.enabled || !isActive()) return run(original, made, this, args)
        let outcome: { value: unknown } | { error: unknown } | undefined
        const observed: Wrapped = function (...given) {
          try {
            const value = run(original, made, this, given)
            outcome = { value }
            return value
          } catch (error) {
            outcome = { error }
            throw error
          }
        }
        try {
          return call(observed, this, args)
        } catch (error) {
          if (outcome !== undefined && 'error' in outcome && outcome.error === error) throw error
          plugin.fail(error)
        }
        if (outcome === undefined) return run(original, made, this, args)
        if ('error' in outcome) throw outcome.error
        return outcome.value
      }
    })
  }

  watchEmit(
    target: any,
    around: (emitter: any, event: string | symbol, args: any[], emit: Emit) => boolean,
    wants?: (emitter: any, event: string | symbol) => boolean,
  ): void {
    const plugin = this
    const isInherited = !Object.hasOwn(target, 'emit')
    const make = (own: Wrapped): Wrapped => {
      // What is inherited is looked up each time: node:domain replaces it.
      const parent = Object.getPrototypeOf(target)
      const emit: Emit = (emitter, event, args) => (isInherited ? parent.emit : own).call(emitter, event, ...args)
      const surround: Wrapped = function (event, ...args) {
        return around(this, event, args, emit)
      }
      // No list is made of the arguments of the many events that nobody wants: V8 hands them on as they are.
      return function (this: any, event) {
        // biome-ignore lint/complexity/noArguments: see above
        const args = arguments as unknown as any[]
        if (plugin.enabled && (wants === undefined || wants(this, event))) return surround.apply(this, args)
        const original = isInherited ? parent.emit : own
        if (original === nodesEmit && isSilent(this, event)) return false
        return original.apply(this, args)
      }
    }
    if (this.applying !== undefined) this.wrap(target, 'emit', make)
    else if (Object.isExtensible(target)) {
      const value = imitate(target.emit, make(target.emit))
      Object.defineProperty(target, 'emit', { value, configurable: true, writable: true })
    }
  }

  bind<C>(callback: C): C {
    if (typeof callback !== 'function' || !this.enabled || !isActive()) return callback
    const resource = new Resource('Milo')
    return function (this: unknown, ...args: unknown[]) {
      return resource.runInAsyncScope(callback as unknown as Wrapped, this, ...args)
    } as C
  }

  imitate<F extends Function>(original: F, replacement: Function): F {
    return imitate(original, replacement as F)
  }

  /**
   * Returns the exports to use. A patch that throws leaves nothing of the plugin behind; on a copy, which may have been changed,
   * nothing of that patch.
   */
  apply(patch: Patch, exports: unknown, what: string, isCopy = false): any {
    if (!this.enabled) return exports
    this.patched.add(what)
    const wraps: [WeakRef<object>, string][] = []
    const before = this.applying
    this.applying = wraps
    try {
      const replacement = patch.patch(exports, this)
      if (replacement instanceof GenuinePromise) {
        replacement.catch(() => {})
        throw new TypeError(`the patch of ${what} must not be asynchronous`)
      }
      this.keep(wraps)
      notePatched(what)
      return typeof replacement === 'function' && typeof exports === 'function' ? replacement : exports
    } catch (error) {
      if (isCopy) {
        unwrap(wraps)
        sayLeft(what, `couldn't be patched by the plugin ${this.name} (${describe(error)})`)
        return exports
      }
      this.keep(wraps)
      this.fail(error)
      this.takeBack()
      return exports
    } finally {
      // A patch may load something that is patched too.
      this.applying = before
    }
  }

  /** What throws when a module is looked at may be the module's own doing: that module stays as it is, and no other. */
  look(onLoad: NonNullable<Plugin['onLoad']>, exports: unknown, file: string): void {
    if (!this.enabled) return
    const wraps: [WeakRef<object>, string][] = []
    const before = this.applying
    this.applying = wraps
    const left = (error: unknown) =>
      sayLeft(file, `couldn't be patched by the plugin ${this.name} (${describe(error)})`)
    try {
      ifRejected(onLoad(exports, this, file), left)
      this.keep(wraps)
    } catch (error) {
      unwrap(wraps)
      left(error)
    } finally {
      this.applying = before
    }
  }

  private keep(wraps: [WeakRef<object>, string][]): void {
    this.wraps.push(...wraps)
    if (this.wraps.length <= this.mostWraps) return
    this.wraps = this.wraps.filter(([target]) => target.deref() !== undefined)
    this.mostWraps = Math.max(1_000, 2 * this.wraps.length)
  }

  takeBack(): void {
    this.enabled = false
    unwrap(this.wraps.splice(0))
  }

  /** Takes back for a while what was wrapped. @returns what puts it in place again, where nobody else has been */
  suspend(): () => void {
    const taken: [any, string, Wrapped, Wrapped][] = []
    for (const [target, name] of [...this.wraps].reverse()) {
      const there: any = target.deref()
      const wrapper = there?.[name]
      if (wrapper?.__unwrap === undefined) continue
      shimmer().unwrap(there, name as never)
      if (there[name] !== wrapper) taken.push([there, name, wrapper, there[name]])
    }
    return () => {
      for (const [there, name, wrapper, original] of taken.reverse()) {
        const property = Object.getOwnPropertyDescriptor(there, name)
        if (property?.value === original) Object.defineProperty(there, name, { ...property, value: wrapper })
      }
    }
  }
}

/** @param made `new.target`: a class can't be called without it, and one that is derived from it has a prototype of its own */
function run(original: Wrapped, made: Function | undefined, self: unknown, args: unknown[]): unknown {
  return made === undefined ? Reflect.apply(original, self, args) : Reflect.construct(original, args, made)
}

/** The last one first: something may be wrapped twice. */
function unwrap(wraps: [WeakRef<object>, string][]): void {
  for (const [target, name] of wraps.reverse()) {
    const there: any = target.deref()
    if (there?.[name]?.__unwrap !== undefined) shimmer().unwrap(there, name as never)
  }
}
