import { EventEmitter } from 'node:events'
import type { Baggage, Context, ContextManager, Span } from '@opentelemetry/api'
import {
  changeBaggage,
  childContext,
  currentFrame,
  Frame,
  imitate,
  type PluginSpan,
  readBaggage,
  readTracestate,
  runInFrame,
  SUPPRESSED,
  standIn,
} from './core'
import { isView, viewOf } from './span'

/*
 * OpenTelemetry's contexts in Milo's frames. There is one AsyncLocalStorage for both: a frame holds the context that was made
 * current, and what Milo had current with it, span and baggage. Where the frame's own are others by now, because code of Milo's
 * has started a span, a context with those is made when it is first asked for.
 *
 *     Frame ── span ─▶ PluginSpan
 *       └───── held ─▶ {span: PluginSpan, context: Context ── SPAN ─▶ view of the same PluginSpan}
 */
interface Held {
  readonly context: Context
  readonly span: PluginSpan | undefined
  readonly baggage: string | undefined
}

/** The keys of @opentelemetry/api and of @opentelemetry/core, which are the same for all copies and versions of them. */
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN')
const BAGGAGE = Symbol.for('OpenTelemetry Baggage Key')
const SUPPRESS = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

export function spanIn(context: Context): Span | undefined {
  return context.getValue(SPAN) as Span | undefined
}

export function withSpan(context: Context, span: Span): Context {
  return context.setValue(SPAN, span)
}

export function isSuppressed(context: Context): boolean {
  return context.getValue(SUPPRESS) === true
}

/** The span of Milo's that is current where this context is. Undefined: what begins there begins a trace. */
export function miloSpanIn(context: Context): PluginSpan | undefined {
  if (isSuppressed(context)) return SUPPRESSED
  const span = spanIn(context)
  if (span === undefined || span === null) return undefined
  return isView(span) ? span.milo : standInOf(span)
}

/** The spans that stand for those of others: a caller's, by its ids, or another SDK's. */
const standIns = new WeakMap<object, PluginSpan>()

function standInOf(span: Span): PluginSpan | undefined {
  const known = standIns.get(span)
  if (known !== undefined) return known
  const { traceId, spanId, traceFlags, traceState } = span.spanContext()
  if (!/^[0-9a-f]{32}$/.test(traceId) || !/^[0-9a-f]{16}$/.test(spanId)) return undefined
  const remote = childContext(traceId, spanId, (traceFlags & 1) === 1, false)
  if (remote === undefined) return undefined
  remote.state = readTracestate(traceState?.serialize())
  const made = standIn(remote)
  standIns.set(span, made)
  return made
}

/** What makes a Baggage of @opentelemetry/api. */
type CreateBaggage = (entries: Record<string, { value: string }>) => Baggage

export class FrameContextManager implements ContextManager {
  private readonly root: Context
  private readonly createBaggage: CreateBaggage

  /** @param root the API's ROOT_CONTEXT */
  constructor(root: Context, createBaggage: CreateBaggage) {
    this.root = root
    this.createBaggage = createBaggage
  }

  active(): Context {
    const frame = currentFrame()
    if (frame === undefined) return this.root
    const { span, baggage } = frame
    const held = frame.held as Held | undefined
    if (held !== undefined && held.span === span && held.baggage === baggage) return held.context
    let context = held?.context ?? this.root
    if (held?.span !== span) {
      context = span === undefined ? context.deleteValue(SPAN) : withSpan(context, viewOf(span))
      // A request has come to a server that was started where tracing is suppressed.
      if (held?.span === SUPPRESSED) context = context.deleteValue(SUPPRESS)
    }
    if (held?.baggage !== baggage) context = this.withBaggage(context, baggage)
    frame.held = { context, span, baggage } satisfies Held
    return context
  }

  /** @param header Milo's baggage */
  withBaggage(context: Context, header: string | undefined): Context {
    if (header === undefined) return context.deleteValue(BAGGAGE)
    const entries = Object.entries(readBaggage(header)).map(([key, value]) => [key, { value }] as const)
    const made = this.createBaggage(Object.fromEntries(entries))
    headers.set(made, header)
    return context.setValue(BAGGAGE, made)
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    context: Context,
    fn: F,
    self?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    // Never without a context: what runs in it will ask it for values.
    const frame = frameOf(context ?? this.root)
    if (frame === undefined) return Reflect.apply(fn, self, args)
    // Without `this` there is one call less.
    return self === undefined ? runInFrame(frame, fn, ...args) : runInFrame(frame, call, fn, self, args)
  }

  bind<T>(context: Context, target: T): T {
    if (target instanceof EventEmitter) return bindEmitter(this, context, target)
    if (typeof target !== 'function') return target
    const manager = this
    const bound = function (this: unknown, ...args: unknown[]) {
      return manager.with(context, target as any, this, ...args)
    }
    try {
      return imitate(target as any, bound) as T
    } catch {
      // A Proxy that can't be inspected. It is called all the same.
      return bound as T
    }
  }

  enable(): this {
    return this
  }

  disable(): this {
    return this
  }
}

function call(fn: (...args: any[]) => any, self: unknown, args: unknown[]): any {
  return Reflect.apply(fn, self, args)
}

/** A frame in which the context is current, and the namespaces are as they are here. Undefined: the context is current already. */
function frameOf(context: Context): Frame | undefined {
  const here = currentFrame()
  const held = here?.held as Held | undefined
  if (held?.context === context && held.span === here!.span && held.baggage === here!.baggage) return undefined
  let span: PluginSpan | undefined
  let baggage: string | undefined
  try {
    span = miloSpanIn(context)
    baggage = headerOf(context.getValue(BAGGAGE))
  } catch {
    // A context or a span of the application's own making.
  }
  const frame = new Frame(span, here?.cells)
  frame.baggage = baggage
  frame.held = { context, span, baggage } satisfies Held
  return frame
}

/** What Milo calls baggage, by what OpenTelemetry does. */
const headers = new WeakMap<object, string | undefined>()

function headerOf(baggage: unknown): string | undefined {
  if (typeof baggage !== 'object' || baggage === null) return undefined
  if (!headers.has(baggage)) {
    const entries = (baggage as Baggage).getAllEntries().map(([key, { value }]) => [key, value] as const)
    headers.set(baggage, changeBaggage(undefined, Object.fromEntries(entries)))
  }
  return headers.get(baggage)
}

/** The emitters that are bound already. The first context stays, as in OpenTelemetry's own managers. */
const bound = new WeakSet<EventEmitter>()

/** Runs the emitter's listeners in the context. No listener is wrapped, so that none is lost or doubled. */
function bindEmitter<E extends EventEmitter>(manager: ContextManager, context: Context, emitter: E): E {
  const { emit } = emitter
  if (bound.has(emitter) || typeof emit !== 'function' || !Object.isExtensible(emitter)) return emitter
  bound.add(emitter)
  const value = imitate<Function>(emit, function (this: E, ...args: Parameters<E['emit']>) {
    return this.listenerCount(args[0] as string) === 0
      ? Reflect.apply(emit, this, args)
      : manager.with(context, emit as any, this, ...args)
  })
  Object.defineProperty(emitter, 'emit', { value, configurable: true, writable: true })
  return emitter
}
