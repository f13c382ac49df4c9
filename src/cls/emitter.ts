import shimmer from 'shimmer'
import { ok } from './assert'

/*
 * bindEmitter: `on` and `addListener` note the contexts in which a listener is added, and `emit` calls it in them. The
 * emitter keeps the listeners themselves, so that everything else about it (removeListener, listeners, the order) stays
 * Node's own. Only emit must see other functions. It reads its list before it calls the first of them, so the list is
 * replaced just until that first call:
 *
 *     emit ─▶ _events[type] = wrapped ─▶ Node's emit copies it ─▶ first listener: _events[type] = original ─▶ …
 *
 * Whatever the listeners add or remove, they do so to the real list.
 */

type Listener = ((...args: unknown[]) => unknown) & { listener?: Listener; [CONTEXTS]?: Record<string, Binding> }

interface Emitter {
  _events?: Record<PropertyKey, Listener | Listener[] | undefined>
  [NAMESPACES]?: Set<BindingNamespace>
}

interface BindingNamespace {
  readonly name: string
  readonly active: any
  bind<F extends Function>(fn: F, context?: any): F
}

interface Binding {
  readonly namespace: BindingNamespace
  /** Null for one that was added outside of any context. */
  readonly context: any
}

/** Where cls-hooked shows a listener's contexts, and programs may look. The last that it was added in, on any emitter. */
const CONTEXTS = 'cls@contexts'
/** The namespaces that an emitter is bound to. It may be a prototype, whose heirs are bound with it. */
const NAMESPACES = Symbol('milo.namespaces')
const ORIGINAL = Symbol('milo.listener')

/** The bindings of one listener of one event, for each time it was added; undefined for times before bindEmitter. */
type Additions = (Binding[] | undefined)[]

/** By emitter, event and listener, as one function may serve many. */
const additionsByEmitter = new WeakMap<object, AdditionsByType>()

class AdditionsByType {
  private readonly types = new Map<PropertyKey, WeakMap<Listener, Additions>>()
  private cleanAt = 32

  of(type: PropertyKey, listener: Listener): Additions | undefined {
    return this.types.get(type)?.get(listener)
  }

  add(emitter: Emitter, type: PropertyKey, listener: Listener, before: number, bindings: Binding[]): void {
    // Events named after an id come and go: forget those without listeners, seldom enough to cost nothing.
    if (this.types.size >= this.cleanAt) {
      for (const each of this.types.keys()) if (!emitter._events?.[each]) this.types.delete(each)
      this.cleanAt = 32 + 2 * this.types.size
    }
    let listeners = this.types.get(type)
    if (!listeners) this.types.set(type, (listeners = new WeakMap()))
    const additions = listeners.get(listener) ?? []
    // removeListener takes the one added last; those that were there before bindEmitter have no bindings.
    additions.length = before
    additions.push(bindings)
    listeners.set(listener, additions)
  }
}

export function bindListeners(target: object, namespace: BindingNamespace): void {
  const emitter = target as any
  ok(emitter.on && emitter.addListener && emitter.emit, 'can only bind real EEs')
  const bound: Set<BindingNamespace> | undefined = emitter[NAMESPACES]
  if (!bound) {
    shimmer.wrap(emitter, 'addListener', adding)
    shimmer.wrap(emitter, 'on', adding)
    shimmer.wrap(emitter, 'emit', emitting)
  }
  if (Object.hasOwn(emitter, NAMESPACES)) bound?.add(namespace)
  else Object.defineProperty(emitter, NAMESPACES, { value: new Set(bound).add(namespace), configurable: true })
}

function adding(on: Function) {
  return function added(this: Emitter, ...args: unknown[]): unknown {
    const [type, listener] = args as [PropertyKey, Listener]
    const before = listOf(this, type).length
    const result = Reflect.apply(on, this, args)
    const list = listOf(this, type)
    // A class may keep a function of its own around the listener.
    const kept = list.length === before + 1 ? list[before] : list.includes(listener) ? listener : undefined
    if (typeof kept === 'function' && this[NAMESPACES]) noteContexts(this, type, kept, list)
    return result
  }
}

function noteContexts(emitter: Emitter, type: PropertyKey, listener: Listener, list: readonly Listener[]): void {
  const bindings = [...emitter[NAMESPACES]!].map(namespace => ({ namespace, context: namespace.active }))
  const before = list.reduce((count, each) => (each === listener ? count + 1 : count), -1)
  let additions = additionsByEmitter.get(emitter)
  if (!additions) additionsByEmitter.set(emitter, (additions = new AdditionsByType()))
  additions.add(emitter, type, listener, before, bindings)

  const shown = listener[CONTEXTS] ?? Object.create(null)
  for (const binding of bindings) shown[`context@${binding.namespace.name}`] = binding
  Reflect.set(listener, CONTEXTS, shown)
}

function emitting(emit: Function) {
  return function emitted(this: Emitter, ...args: unknown[]): unknown {
    const restore = wrapListeners(this, args[0] as PropertyKey)
    if (!restore) return Reflect.apply(emit, this, args)
    try {
      return Reflect.apply(emit, this, args)
    } finally {
      // In case that no listener was called.
      restore()
    }
  }
}

/** @returns what puts the emitter's own list back; undefined when no listener has a context */
function wrapListeners(emitter: Emitter, type: PropertyKey): (() => void) | undefined {
  const additions = additionsByEmitter.get(emitter)
  const events = emitter._events
  const original = events?.[type]
  if (!additions || !events || !original) return undefined
  const list = listOf(emitter, type)
  if (!list.some(listener => additions.of(type, listener))) return undefined

  let restored = false
  const restore = () => {
    if (restored) return
    restored = true
    const now = events[type]
    if (Array.isArray(now)) {
      // Changed already by a class's own emit, or by a listener of events.errorMonitor.
      const changed = now.length !== list.length || now.some((listener, i) => unwrapped(listener) !== list[i])
      events[type] = changed ? now.map(unwrapped) : original
    } else if (now) events[type] = unwrapped(now)
  }

  const seen = new Map<Listener, number>()
  const wrapped = list.map((listener, i) => {
    const nth = seen.get(listener) ?? 0
    seen.set(listener, nth + 1)
    const bindings = additions.of(type, listener)?.[nth]
    return i === 0 || bindings ? wrapListener(listener, bindings ?? [], restore) : listener
  })
  events[type] = Array.isArray(original) ? wrapped : wrapped[0]
  return restore
}

function wrapListener(listener: Listener, bindings: Binding[], restore: () => void): Listener {
  let bound = listener
  for (const { namespace, context } of bindings) bound = namespace.bind(bound, context)
  const wrapped = function (this: unknown, ...args: unknown[]) {
    restore()
    return Reflect.apply(bound, this, args)
  }
  // As Node's own once does: so removeListener finds it by the listener.
  return Object.assign(wrapped, { listener: listener.listener ?? listener, [ORIGINAL]: listener })
}

function unwrapped(listener: Listener & { [ORIGINAL]?: Listener }): Listener {
  return listener[ORIGINAL] ?? listener
}

function listOf(emitter: Emitter, type: PropertyKey): readonly Listener[] {
  const listeners = emitter._events?.[type]
  return Array.isArray(listeners) ? listeners : listeners ? [listeners] : []
}
