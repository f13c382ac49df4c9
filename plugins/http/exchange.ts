import type { EventEmitter } from 'node:events'
import { currentFrame, type Emit, type Frame, frameWith, runInFrame, type Span } from 'milo/plugin'
import { FieldsOn } from './fields'

/**
 * What a request is to its objects and listeners, whichever version of HTTP it is. It has no state, since dist has it twice: once for each of
 * index.ts and code.ts.
 */

/** The span of a request, and the frame in which listeners run, as private fields of the request, its response or its socket. */
export class Exchange extends FieldsOn {
  readonly #span: Span
  readonly #frame: Frame | undefined
  #route: string | undefined

  constructor(object: object, span: Span, frame: Frame | undefined) {
    super(object)
    this.#span = span
    this.#frame = frame
  }

  static has(object: object): boolean {
    return #span in object
  }

  static spanOf(object: object): Span | undefined {
    return #span in object ? (object as Exchange).#span : undefined
  }

  /** @param route as its framework writes it, with the names of parameters; undefined when the request has left it again */
  static takeRoute(object: object, route: string | undefined): void {
    if (#span in object) (object as Exchange).#route = route
  }

  /** Names the span by the route that the request took, if it took one. */
  static nameByRoute(object: object): void {
    if (!(#span in object)) return
    const exchange = object as Exchange
    const [span, route] = [exchange.#span, exchange.#route]
    if (route === undefined) return
    span.name = `${span.name.slice(0, span.name.indexOf(' '))} ${route}`
    span.annotate('http.route', route)
  }

  static frameOf(object: object): Frame | undefined {
    return #span in object ? (object as Exchange).#frame : undefined
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

/** Whether the frame of a request matters to this event: `emitInFrame` is for those. */
export function isHeardLater(emitter: EventEmitter, event: string | symbol): boolean {
  return LATER.has(event) && Exchange.has(emitter) && emitter.listenerCount(event) > 0
}

export function emitInFrame(emitter: EventEmitter, event: string | symbol, args: unknown[], emit: Emit): boolean {
  const frame = Exchange.frameOf(emitter)
  const here = currentFrame()
  if (here?.span === frame?.span && here?.baggage === frame?.baggage) return emit(emitter, event, args)
  return runInFrame(here?.cells === frame?.cells ? frame : withCells(frame), emit, emitter, event, args)
}

/** The namespaces of milo/cls stay what they are where an event is emitted. */
function withCells(frame: Frame | undefined): Frame {
  const derived = frameWith(frame?.span)
  derived.baggage = frame?.baggage
  return derived
}
