import type { EventEmitter } from 'node:events'
import { nextTick, queueMicrotask } from '../process/genuine'
import {
  type Cell,
  currentFrame,
  derive,
  enterFrame,
  expectNamespaces,
  type Frame,
  runAndObserve,
} from '../trace/context'
import { ok } from './assert'
import { bindListeners } from './emitter'

/*
 * `milo/cls`: the API of cls-hooked 4.2.2, on Milo's one AsyncLocalStorage. A program that requires cls-hooked can move by
 * changing the name.
 *
 * A frame carries a list of cells, one for each namespace that has a context here. The cell's node is the top of the
 * namespace's stack: cls-hooked's `active` is the top node's context, its `_set` what is below.
 *
 *     Frame ── cells ─▶ {namespace A, node} ─▶ {namespace B, node} ─▶ undefined
 *                                      │
 *                                      ▼
 *                             {context, prev} ─▶ {context, prev} ─▶ BOTTOM {null}
 *
 * Lists and stacks are immutable and shared, but for one thing: a continuation sees only the top context, as a stack
 * belongs to one synchronous flow. So `prev` is cut to BOTTOM when the flow that pushed the node is over. That also keeps
 * the heap flat under a function that reschedules itself in a context: no node holds the node of the run before.
 */

/** The key under which an error carries the context of the outermost `run`, `bind` or `runPromise` that it has left. */
export const ERROR_SYMBOL = 'error@context'

interface Node {
  /** Null at the bottom, or where someone has set `active` to it. */
  readonly context: any
  /** Undefined at the bottom of a stack. */
  prev: Node | undefined
  /** Whether `enter` pushed it, rather than a function that runs in the context. */
  readonly entered: boolean
  /** The flow in which `prev` is true. Undefined while the function that runs in the context will see to it. */
  flow: Flow | undefined
}

/** What runs on one call stack, from when it is empty until it is empty again. */
interface Flow {
  over: boolean
}

const BOTTOM: Node = Object.freeze({ context: null, prev: undefined, entered: false, flow: undefined })

/** Namespaces and contexts are numbered from 1. Async ids, which cls-hooked used, aren't ids on Node 24. */
let lastId = 0

class Namespace<N = Record<string, any>> {
  readonly name: string
  readonly id: number = ++lastId
  /**
   * How many times each context was entered by `enter` and hasn't been left. An `enter` that is awaited isn't seen by the flow that
   * awaits it, which may yet call `exit`: the number tells that from an `exit` of what was never entered.
   */
  readonly #entries = new WeakMap<object, number>()

  constructor(name: string) {
    this.name = name
  }

  /** The active context, or null outside of any. */
  get active(): any {
    return this.#top().context
  }

  set active(context: any) {
    const { prev } = this.#top()
    this.#enterNode(context || prev ? { context, prev, entered: false, flow: thisFlow() } : BOTTOM)
  }

  /** The contexts below the active one in this flow, outermost first. What is outside of any context is null. */
  get _set(): any[] {
    return stackOf(this.#top())
      .slice(1)
      .map(node => node.context)
      .reverse()
  }

  /**
   * Sets a value in the active context: those inside it see it unless they have set their own.
   * @returns the value
   * @throws outside of any context
   */
  set<K extends keyof N = keyof N>(key: K, value: N[K]): N[K] {
    const context = this.#top().context
    if (!context) throw new Error('No context available. ns.run() or ns.bind() must be called first.')
    context[key] = value
    return value
  }

  /** The value in the active context, or in those that it was created in. Undefined outside of any. */
  get<K extends keyof N = keyof N>(key: K): N[K] {
    return this.#top().context?.[key]
  }

  /** A new context that inherits from the active one. It isn't active until it is entered or bound. */
  createContext(): any {
    const context = Object.create(this.#top().context || Object.prototype)
    context._ns_name = this.name
    context.id = ++lastId
    return context
  }

  /** Calls `fn` in a new context, and returns that context. */
  run(fn: (context: any) => unknown): any {
    const context = this.createContext()
    this.#within(context, fn, undefined, [context])
    return context
  }

  /** Calls `fn` in a new context, and returns what it returns. */
  runAndReturn<T>(fn: (context: any) => T): T {
    let value: T
    this.run(context => {
      value = fn(context)
    })
    return value!
  }

  /**
   * Calls `fn` in a new context, which the promise that it returns lives in. The caller is not in it, neither before that
   * promise has settled nor after.
   * @returns a promise of the same kind and with the same outcome
   */
  runPromise<T>(fn: (context: any) => Promise<T>): Promise<T> {
    const context = this.createContext()
    const promise = this.#within(context, fn, undefined, [context]) as Promise<T>
    if (!promise?.then || !promise.catch) throw new Error('fn must return a promise.')
    return promise.catch((error: unknown) => {
      attachContext(error, context)
      throw error
    })
  }

  /**
   * A function that calls `fn`, with the same `this` and arguments, in `context`: by default the active one, and where
   * there is none, a new one that all calls share.
   */
  bind<F extends Function>(fn: F, context?: any): F {
    const bound = context || this.active || this.createContext()
    const namespace = this
    return function clsBind(this: unknown, ...args: unknown[]) {
      return namespace.#within(bound, fn as any, this, args)
    } as unknown as F
  }

  /** Makes `context` active until `exit`, or for the rest of this flow and what it starts. */
  enter(context: any): void {
    ok(context, 'context must be provided for entering')
    this.#count(context, 1)
    this.#enterNode({ context, prev: this.#top(), entered: true, flow: thisFlow() })
  }

  /** Leaves `context`, which need not be the one entered last. */
  exit(context: any): void {
    ok(context, 'context must be provided for exiting')
    this.#leave(context, (this.#entries.get(context) ?? 0) > 0)
  }

  /**
   * Makes listeners that are added to `emitter` from now on run in the context that is active when they are added. One that
   * is added outside of any runs in that of the emit.
   */
  bindEmitter(emitter: EventEmitter): void {
    bindListeners(emitter, this)
  }

  /** The context of an error that has left a context of any namespace. */
  fromException(exception: any): any {
    return exception?.[ERROR_SYMBOL]
  }

  #top(): Node {
    return topIn(currentFrame()?.cells, this)
  }

  /** @param elsewhere whether the context may be one that another flow has entered */
  #leave(context: any, elsewhere: boolean): void {
    const stack = stackOf(this.#top())
    const index = stack.findIndex(node => node.context === context)
    const node = stack[index]
    if (!node) {
      ok(elsewhere, `context not currently entered; can't exit. (namespace ${this.name})`)
      this.#count(context, -1)
      return
    }
    ok(node.prev, "can't remove top context")
    if (node.entered) this.#count(context, -1)
    this.#enterNode(
      stack.slice(0, index).reduceRight((prev, above) => ({ ...above, prev, flow: thisFlow() }), node.prev),
    )
  }

  #count(context: any, change: 1 | -1): void {
    if (Object(context) === context) this.#entries.set(context, Math.max(0, (this.#entries.get(context) ?? 0) + change))
  }

  #enterNode(node: Node): void {
    const frame = currentFrame()
    enterFrame(frameOf(frame, withTop(frame?.cells, this, node)))
  }

  /** Calls `fn` in `context`. What it entered or left meanwhile stays so, in this namespace and in others. */
  #within(context: any, fn: (...args: any[]) => unknown, self: unknown, args: ArrayLike<unknown>): unknown {
    const outer = currentFrame()
    const node = { context, prev: topIn(outer?.cells, this), entered: false, flow: undefined as Flow | undefined }
    const inner = derive(outer, withTop(outer?.cells, this, node))
    const end = { frame: inner as Frame | undefined }
    try {
      return runAndObserve(inner, end, fn, self, args)
    } catch (error) {
      attachContext(error, context)
      throw error
    } finally {
      if (end.frame?.cells === inner.cells) node.prev = BOTTOM
      else {
        node.flow = thisFlow()
        enterFrame(frameOf(outer, end.frame?.cells))
        this.#leave(context, false)
      }
    }
  }
}

export type { Namespace }

/** A stack's nodes, the top first. */
function stackOf(top: Node): Node[] {
  const nodes: Node[] = []
  for (let node: Node | undefined = top; node; node = node.prev) nodes.push(node)
  return nodes
}

let flow: Flow | undefined

function thisFlow(): Flow {
  if (flow) return flow
  const begun: Flow = { over: false }
  const end = () => {
    begun.over = true
    if (flow === begun) flow = undefined
  }
  // Both run on an empty call stack; which of them runs first depends on where this is.
  queueMicrotask(end)
  nextTick(end)
  flow = begun
  return begun
}

function topIn(cells: Cell | undefined, namespace: object): Node {
  let cell = cells
  while (cell && cell.namespace !== namespace) cell = cell.rest
  if (!cell) return BOTTOM
  const node = cell.node as Node
  if (node.flow?.over) {
    if (!node.context) return BOTTOM
    node.prev = BOTTOM
  }
  return node
}

function withTop(cells: Cell | undefined, namespace: object, node: Node): Cell | undefined {
  const rest = without(cells, namespace)
  return node === BOTTOM ? rest : { namespace, node, rest }
}

function without(cells: Cell | undefined, namespace: object): Cell | undefined {
  const before: Cell[] = []
  let cell = cells
  for (; cell && cell.namespace !== namespace; cell = cell.rest) before.push(cell)
  if (!cell) return cells
  return before.reduceRight((rest, { namespace, node }) => ({ namespace, node, rest }), cell.rest)
}

function frameOf(frame: Frame | undefined, cells: Cell | undefined): Frame | undefined {
  return frame?.span || frame?.unfilled || frame?.held || cells ? derive(frame, cells) : undefined
}

/** Every context that the error leaves writes itself over the one before. What can't be written to stays as it is. */
function attachContext(error: unknown, context: unknown): void {
  try {
    if (error) Reflect.set(error as object, ERROR_SYMBOL, context)
  } catch {
    // Thrown strings, and setters and proxies that refuse.
  }
}

// cls-hooked's own registry, and its place: programs look there. Another copy of this module may have filled it already.
const registry = process as unknown as { namespaces: Record<string, Namespace<any> | null | undefined> }
registry.namespaces ??= Object.create(null)

/** Creates a namespace, in the place of one of the same name if there is one. */
export function createNamespace<N = Record<string, any>>(name: string): Namespace<N> {
  ok(name, 'namespace must be given a name.')
  expectNamespaces()
  const namespace = new Namespace<N>(name)
  registry.namespaces[name] = namespace
  return namespace
}

/** The namespace of that name: undefined if there never was one, null if it was destroyed. */
export function getNamespace<N = Record<string, any>>(name: string): Namespace<N> | undefined {
  return registry.namespaces[name] as Namespace<N> | undefined
}

/** Forgets the name. Code that holds the namespace can go on using it. */
export function destroyNamespace(name: string): void {
  const namespace = getNamespace(name)
  ok(namespace, `can't delete nonexistent namespace! "${name}"`)
  ok(namespace.id, "don't assign to process.namespaces directly!")
  registry.namespaces[name] = null
}

/** Destroys all namespaces. */
export function reset(): void {
  for (const name of Object.keys(registry.namespaces ?? {})) if (getNamespace(name)) destroyNamespace(name)
  registry.namespaces = Object.create(null)
}
