import { type Context, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api'
import type * as core from '../trace/context'
import type { PluginSpan } from '../trace/span'
import type { OtelSpan } from './span'

/** The key of the current span, which @opentelemetry/api doesn't tell. */
const SPAN = keyOfSpan()
/** The key of the frame that a context is, or is derived of. */
const FRAME = Symbol('milo.frame')

function keyOfSpan(): symbol {
  let found: symbol | undefined
  const asking: Context = {
    getValue: () => undefined,
    setValue(key) {
      found = key
      return asking
    },
    deleteValue: () => asking,
  }
  trace.setSpan(asking, undefined as unknown as Span)
  return found!
}

/** What plugins/thrift uses of a frame of Milo's. */
export type PluginFrame = Pick<core.Frame, 'span' | 'slot'> & { unfilled: unknown }

/**
 * What the plugin calls a frame is a Context: `base`, with `span` in it. OpenTelemetry's own copies a Map and makes three closures
 * for each value; and its span couldn't be filled in later. What is derived of a frame is one of OpenTelemetry's, so that no chain
 * of contexts grows.
 */
export class Frame implements PluginFrame, Context {
  span: OtelSpan | undefined
  unfilled: readonly Frame[] | undefined = undefined
  slot: unknown = undefined
  private base: Context
  private plain: Context | undefined = undefined
  /** Of a frame that was derived before its span was known: how. */
  private readonly derive: ((base: Context) => Context) | undefined

  constructor(base: Context, span: OtelSpan | undefined, derive?: (base: Context) => Context) {
    this.base = base
    this.span = span
    this.derive = derive
  }

  /** The context without its span. */
  get around(): Context {
    return this.base
  }

  fill(span: OtelSpan | undefined): void {
    this.span = span
    this.unfilled = undefined
    const base = span?.base ?? ROOT_CONTEXT
    this.base = this.derive === undefined ? base : this.derive(base)
  }

  getValue(key: symbol): unknown {
    if (key === SPAN) return this.span?.api
    return key === FRAME ? this : this.base.getValue(key)
  }

  setValue(key: symbol, value: unknown): Context {
    return this.change(context => context.setValue(key, value), key)
  }

  deleteValue(key: symbol): Context {
    return this.change(context => context.deleteValue(key), key)
  }

  private change(change: (context: Context) => Context, key: symbol): Context {
    const { unfilled } = this
    if (unfilled === undefined || key === SPAN) return change(this.asPlain())
    const derived = new Frame(change(this.base), undefined, base => change(this.derive?.(base) ?? base))
    if (unfilled === NONE_BUT_ITSELF) this.unfilled = [this]
    ;(this.unfilled as Frame[]).push(derived)
    derived.unfilled = this.unfilled
    return derived
  }

  private asPlain(): Context {
    this.plain ??= (
      this.span === undefined ? this.base.deleteValue(SPAN) : this.base.setValue(SPAN, this.span.api)
    ).setValue(FRAME, this)
    return this.plain
  }
}

/** No list is made where nothing is derived. */
const NONE_BUT_ITSELF: readonly Frame[] = []

export function frameOfContext(context: Context): Frame | undefined {
  return context instanceof Frame ? context : (context.getValue(FRAME) as Frame | undefined)
}

export function frameToFill(): core.Frame {
  const frame = new Frame(ROOT_CONTEXT, undefined)
  frame.unfilled = NONE_BUT_ITSELF
  return asCore(frame)
}

/** The plugin knows frames by the type that they have in Milo's core. */
export function asCore(frame: Frame): core.Frame {
  return frame as PluginFrame as core.Frame
}

export function fillFrame(frame: PluginFrame, span: PluginSpan | undefined): void {
  const mine = frame as Frame
  const { unfilled } = mine
  mine.fill(span as OtelSpan | undefined)
  if (unfilled === undefined || unfilled === NONE_BUT_ITSELF) return
  for (const derived of unfilled) if (derived !== mine) derived.fill(span as OtelSpan | undefined)
}

/** The context to start a span in has no frame in it that would be kept by all that follow. */
export function withoutFrame(context: Context): Context {
  return context instanceof Frame ? context.around : context
}
