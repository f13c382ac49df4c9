import type { EventEmitter } from 'node:events'
import { currentFrame, type Emit, type Frame, frameWith, runInFrame, type Span } from 'milo/plugin'
import { FieldsOn } from './fields'

/**
 * What a request is to its objects and listeners, whichever version of HTTP it is. It has no state but what it has learned of Node, since
 * dist has it twice: once for each of index.ts and code.ts.
 */

/**
 * A route as its framework writes it, with the names of parameters, or a function that tells it when the request ends; undefined when the
 * request has left it again.
 */
export type Route = string | (() => string | undefined) | undefined

function read(route: Route): string | undefined {
  if (typeof route !== 'function') return route
  try {
    return route()
  } catch {
    // It looks at objects of the application's.
    return undefined
  }
}

/** A request's span, the frame in which its listeners run, and the route that it took. The objects of a request share one. */
export class Exchange {
  readonly span: Span
  readonly frame: Frame | undefined
  route: Route = undefined

  /** @param object the request, its response, stream or socket */
  constructor(object: object, span: Span, frame: Frame | undefined) {
    this.span = span
    this.frame = frame
    this.share(object)
  }

  /** @param object another one of the request's */
  share(object: object): void {
    new Part(object, this)
  }

  static of(object: object): Exchange | undefined {
    return Part.exchangeOf(object)
  }

  /** Names the span by the route that the request took, if it took one. */
  nameByRoute(): void {
    const { span } = this
    const route = read(this.route)
    if (route === undefined) return
    span.name = `${span.name.slice(0, span.name.indexOf(' '))} ${route}`
    span.annotate('http.route', route)
  }
}

/** An object of a request, with its exchange as a private field. */
class Part extends FieldsOn {
  readonly #exchange: Exchange

  constructor(object: object, exchange: Exchange) {
    super(object)
    this.#exchange = exchange
  }

  static exchangeOf(object: object): Exchange | undefined {
    return #exchange in object ? (object as Part).#exchange : undefined
  }
}

/**
 * The events that Node emits by itself, from the event loop. All others are emitted by the application, or while it calls
 * something, and their listeners run in its context.
 */
const LATER = new Set<unknown>([
  ...['readable', 'data', 'end', 'close', 'error', 'aborted', 'abort', 'timeout', 'drain', 'prefinish', 'finish'],
  ...['socket', 'continue', 'information', 'response', 'upgrade', 'connect'],
  // Of HTTP/2's streams.
  ...['ready', 'headers', 'push', 'trailers', 'wantTrailers', 'frameError'],
])

/** Whether an event's listeners belong to another request than the code that emits it: `emitInFrame` is for those. */
export function isHeardElsewhere(emitter: EventEmitter, event: string | symbol): boolean {
  // In this order: hardly any event has listeners, and to look for a private field costs the most.
  const listener = (emitter as Listened)._events?.[event]
  if (listener === undefined || !LATER.has(event) || (event === 'end' && isNodesAlone(listener))) return false
  const exchange = Exchange.of(emitter)
  if (exchange === undefined) return false
  const { frame } = exchange
  const here = currentFrame()
  return here?.span !== frame?.span || here?.baggage !== frame?.baggage
}

/** Where Node keeps an emitter's listeners: one, a wrapper for `once`, or a list. */
type Listened = EventEmitter & { _events?: Record<string | symbol, unknown> }

/** Once it is known: the one function by which Node listens to the end of every request that was answered before it was over. */
let clearIncoming: unknown

/** Whether an end has no listener of the application's. Node's own, which lets go of the request, needs no frame, and is all that most have. */
function isNodesAlone(listener: unknown): boolean {
  if (clearIncoming === undefined && isNodesOwn(listener)) clearIncoming = listener
  return listener === clearIncoming
}

/** By its name and its text: it is added when the response is over, and nothing else tells whose a listener is. */
function isNodesOwn(listener: unknown): boolean {
  if (typeof listener !== 'function' || listener.name !== 'clearIncoming') return false
  const source = Function.prototype.toString.call(listener)
  return source.startsWith('function clearIncoming(req)') && source.includes('parser.incoming === req')
}

export function emitInFrame(emitter: EventEmitter, event: string | symbol, args: unknown[], emit: Emit): boolean {
  const frame = Exchange.of(emitter)?.frame
  const here = currentFrame()
  return runInFrame(here?.cells === frame?.cells ? frame : withCells(frame), emit, emitter, event, args)
}

/** The namespaces of milo/cls stay what they are where an event is emitted. */
function withCells(frame: Frame | undefined): Frame {
  const derived = frameWith(frame?.span)
  derived.baggage = frame?.baggage
  return derived
}
