import { AsyncLocalStorage } from 'node:async_hooks'
import type { PluginSpan } from './span'

/**
 * What is current here: Milo's span, and each cls namespace's context. One AsyncLocalStorage carries them all, because
 * every further one alive costs 45–130 ns on each `run` (Node 24+), and hundreds of them ruin Node 20.
 *
 * A frame is never changed once others may see it, with one exception: a server plugin enters a frame before it has
 * read the request, and fills the span in when it knows it, also in those that a namespace has derived in the meantime.
 */
export class Frame {
  span: PluginSpan | undefined
  /** While the span is yet to be filled in: it and what was derived of it. */
  unfilled: readonly Frame[] | undefined = undefined
  /** A plugin's own value for this frame. Frames that are derived from it have it too. */
  slot: unknown = undefined
  /** What the application has given the request to carry, as W3C's header: see baggage.ts. Derived frames have it too. */
  baggage: string | undefined = undefined
  /** What OpenTelemetry's context has here besides the span: see otel/context.ts. Frames that are made in this one have it too. */
  held: unknown = undefined
  /** The namespaces' list: see cls/namespaces.ts. */
  readonly cells: Cell | undefined

  constructor(span: PluginSpan | undefined, cells: Cell | undefined) {
    this.span = span
    this.cells = cells
  }
}

/** One namespace's entry in the immutable list that a frame carries. */
export interface Cell {
  readonly namespace: object
  readonly node: unknown
  readonly rest: Cell | undefined
}

const storage = new AsyncLocalStorage<Frame | undefined>()

/** Ends every context for good: no frame is current anywhere any more. */
export function leaveFrames(): void {
  storage.disable()
}

export function currentFrame(): Frame | undefined {
  return storage.getStore()
}

/** Whether any namespace has been made: only then can what runs in a frame enter or leave one. */
let namespacesExist = false

export function expectNamespaces(): void {
  namespacesExist = true
}

/**
 * Runs `fn` in the frame. Afterwards the caller's span is current again; of the namespaces, what `fn` entered or left and
 * the caller would see without Milo stays so.
 */
export function runInFrame<A extends unknown[], R>(frame: Frame | undefined, fn: (...args: A) => R, ...args: A): R {
  if (!namespacesExist) return storage.run(frame, fn, ...args)
  const end: End = { frame }
  try {
    return runAndObserve(frame, end, fn, undefined, args)
  } finally {
    if (end.frame?.cells !== frame?.cells) keepCells(frame, end.frame)
  }
}

/** A frame from elsewhere has namespaces that are not the caller's: nothing of them stays with the caller. */
function keepCells(began: Frame | undefined, ended: Frame | undefined): void {
  const here = storage.getStore()
  if (here?.cells === began?.cells) storage.enterWith(derive(here, ended?.cells))
}

/** Which frame was current when a function that ran in a frame ended: not the same one if something was entered. */
export interface End {
  frame: Frame | undefined
}

/** Calls `fn` in the frame, and notes the end. */
export function runAndObserve<R>(
  frame: Frame | undefined,
  end: End,
  fn: (...args: any[]) => R,
  self: unknown,
  args: ArrayLike<unknown>,
): R {
  return storage.run(frame, observed<R>, end, fn, self, args)
}

function observed<R>(end: End, fn: (...args: any[]) => R, self: unknown, args: ArrayLike<unknown>): R {
  try {
    return Reflect.apply(fn, self, args)
  } finally {
    end.frame = storage.getStore()
  }
}

/** Makes a frame current without a callback, until the current asynchronous resource ends. Few APIs need it. */
export function enterFrame(frame: Frame | undefined): void {
  storage.enterWith(frame)
}

/** A frame in which `span` is current, and the namespaces and the baggage are as they are here. */
export function frameWith(span: PluginSpan | undefined): Frame {
  const here = storage.getStore()
  if (here === undefined) return new Frame(span, undefined)
  const frame = new Frame(span, here.cells)
  frame.baggage = here.baggage
  frame.held = here.held
  return frame
}

/** A frame with the same span and other namespaces. */
export function derive(frame: Frame | undefined, cells: Cell | undefined): Frame {
  const derived = new Frame(frame?.span, cells)
  if (frame === undefined) return derived
  derived.slot = frame.slot
  derived.baggage = frame.baggage
  derived.held = frame.held
  if (frame.unfilled === undefined) return derived
  if (frame.unfilled === NONE_BUT_ITSELF) frame.unfilled = [frame]
  ;(frame.unfilled as Frame[]).push(derived)
  derived.unfilled = frame.unfilled
  return derived
}

/** No list is made where no namespace derives anything. */
const NONE_BUT_ITSELF: readonly Frame[] = []

/**
 * A frame with the namespaces that are here, to be entered now and filled once.
 * @param isFromAfar whether the request came by a connection: then baggage that is current here isn't its own
 */
export function frameToFill(isFromAfar = false): Frame {
  const frame = frameWith(undefined)
  if (isFromAfar) frame.baggage = undefined
  frame.unfilled = NONE_BUT_ITSELF
  return frame
}

/**
 * @param span undefined when there won't be one
 * @param baggage what the request brought; by default it stays what it was where the frame was made
 */
export function fillFrame(frame: Frame, span: PluginSpan | undefined, baggage = frame.baggage): void {
  const { unfilled } = frame
  frame.span = span
  frame.baggage = baggage
  frame.unfilled = undefined
  if (unfilled === undefined) return
  for (const derived of unfilled) {
    derived.span = span
    derived.baggage = baggage
    derived.unfilled = undefined
  }
}
