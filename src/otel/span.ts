import type {
  Attributes,
  AttributeValue,
  Exception,
  Link,
  Span,
  SpanContext,
  SpanStatus,
  TimeInput,
  TraceState,
} from '@opentelemetry/api'
import {
  cut,
  keeping,
  LIMITS,
  type LiveSpan,
  type PluginSpan,
  randomHigh,
  randomLow,
  type SpanView,
  SUPPRESSED,
  sink,
  toHex,
  UNSAMPLED,
} from './core'
import { isTime, microseconds, textOf } from './values'

/*
 * What OpenTelemetry's API sees of Milo's spans. Each span that is recorded has one view, whichever API started it and however often it is
 * looked at:
 *
 *     SilentSpan ─ milo ─▶ undefined, UNSAMPLED, SUPPRESSED, a span that stands for another process's, or the one above a span that is left out
 *         ▲
 *     OtelSpan ─── milo ─▶ LiveSpan ─ view ─▶ OtelSpan
 */

const INVALID: SpanContext = Object.freeze({
  traceId: '0'.repeat(32),
  spanId: '0'.repeat(16),
  traceFlags: 0,
})

/** A span that isn't recorded: all of its methods do nothing. */
export class SilentSpan implements Span {
  /** The span that is Milo's current one where this one is OpenTelemetry's. */
  readonly milo: PluginSpan | undefined
  protected given: SpanContext | undefined

  /** @param given its ids, if they aren't those of `milo` */
  constructor(milo: PluginSpan | undefined, given?: SpanContext) {
    this.milo = milo
    this.given = given
  }

  spanContext(): SpanContext {
    this.given ??= contextOf(this.milo)
    return this.given
  }

  setAttribute(_key: string, _value: AttributeValue): this {
    return this
  }

  setAttributes(_attributes: Attributes): this {
    return this
  }

  addEvent(_name: string, _attributesOrTime?: Attributes | TimeInput, _time?: TimeInput): this {
    return this
  }

  addLink(_link: Link): this {
    return this
  }

  addLinks(_links: Link[]): this {
    return this
  }

  setStatus(_status: SpanStatus): this {
    return this
  }

  updateName(_name: string): this {
    return this
  }

  recordException(_exception: Exception, _time?: TimeInput): void {}

  end(_time?: TimeInput): void {}

  isRecording(): boolean {
    return false
  }
}

/** A span that OpenTelemetry's API shows instead of one that is left out: no propagator sends its ids. */
export function leftOut(milo: PluginSpan | undefined): SilentSpan {
  return new SilentSpan(milo, INVALID)
}

export function isLeftOut(span: unknown): boolean {
  return span instanceof SilentSpan && span.spanContext() === INVALID
}

/** Makes the tracestates of @opentelemetry/api, which is known once Milo has been registered with it. */
let createTraceState: ((raw: string) => TraceState) | undefined

export function useTraceState(create: (raw: string) => TraceState): void {
  createTraceState = create
}

function contextOf(span: PluginSpan | undefined): SpanContext {
  if (span === undefined || span === SUPPRESSED) return INVALID
  const { trace } = span
  const isNameless = span === UNSAMPLED
  const context: SpanContext = {
    // Milo gives no ids to what isn't sampled. Others are to hear of that decision, and the API knows none without ids.
    traceId: isNameless
      ? `${'0'.repeat(16)}${toHex(randomHigh(), randomLow())}`
      : toHex(trace.highHi, trace.highLo) + toHex(trace.hi, trace.lo),
    spanId: isNameless ? toHex(randomHigh(), randomLow()) : span.spanId,
    traceFlags: trace.sampled ? 1 : 0,
  }
  if (trace.state !== undefined) context.traceState = createTraceState?.(trace.state)
  return context
}

/** The view of a span. For one that nobody records it is another one each time. */
export function viewOf(span: PluginSpan): SilentSpan {
  const live = span as LiveSpan
  if (live.view !== undefined) return live.view as OtelSpan
  if (!live.recording) return new SilentSpan(live)
  return new OtelSpan(live)
}

/** Whether a span that OpenTelemetry's API gave us is Milo's. */
export function isView(span: unknown): span is SilentSpan {
  return span instanceof SilentSpan
}

const [UNSET, OK, ERROR] = [0, 1, 2]

/** What the attributes of a span's events, and its links, may take all together. */
const MAX_JSON = 32_768
const MAX_LINKS = 128
const EXCEPTION_TYPE = 'exception.type'
/** The names of docs/wire-format.md. */
const EVENTS = 'otel.events'
const LINKS = 'otel.links'
/** What the semantic conventions say for a failure of no known kind. */
const UNNAMED_ERROR = '_OTHER'

/** A span that is recorded. */
export class OtelSpan extends SilentSpan implements SpanView {
  declare readonly milo: LiveSpan
  private status = UNSET
  private statusMessage: string | undefined
  private exceptionType: string | undefined
  /** Attributes of events, as `"0":{"attributes":{…}}`, by the event's number. */
  private details: string[] | undefined
  private links: string[] | undefined
  /** How many characters these two have. */
  private jsonLength = 0

  constructor(milo: LiveSpan) {
    super(milo)
    milo.view = this
  }

  override isRecording(): boolean {
    return this.milo.endUs === 0
  }

  override setAttribute(key: string, value: unknown): this {
    // An annotation `error` says that the span has failed, whatever its value.
    if (!this.isRecording() || (key === 'error' && value === false)) return this
    // Milo makes text of numbers and booleans itself, and an exporter may want to know that they weren't.
    const whole = typeof value === 'number' || typeof value === 'boolean' ? value : textOf(value)
    if (whole === undefined || key === '') return this
    this.milo.annotate(key, whole)
    if (keeping.types && Array.isArray(value)) this.milo.keepType(key, true)
    return this
  }

  override setAttributes(attributes: Attributes): this {
    for (const [key, value] of entriesOf(attributes)) this.setAttribute(key, value)
    return this
  }

  override addEvent(name: string, attributesOrTime?: Attributes | TimeInput, time?: TimeInput): this {
    if (!this.isRecording()) return this
    const [attributes, at] = isTime(attributesOrTime) ? [undefined, attributesOrTime] : [attributesOrTime, time]
    const { milo } = this
    const number = eventsOf(milo)
    milo.recordAt(this.us(at), name)
    // One more than these is left out.
    if (eventsOf(milo) === number) return this
    const json = jsonOf(attributes)
    if (json !== undefined) this.details = this.added(this.details, `"${number}":{"attributes":${json}}`)
    return this
  }

  override addLink(link: Link): this {
    if (!this.isRecording()) return this
    try {
      const { traceId, spanId, traceState } = link.context
      const state = traceState?.serialize()
      const attributes = jsonOf(link.attributes)
      const json = JSON.stringify({ traceId, spanId, ...(state ? { traceState: state } : {}) })
      const whole = attributes === undefined ? json : `${json.slice(0, -1)},"attributes":${attributes}}`
      if ((this.links?.length ?? 0) < MAX_LINKS) this.links = this.added(this.links, whole)
      else sink.truncated()
    } catch {
      // No link.
    }
    return this
  }

  override addLinks(links: Link[]): this {
    if (Array.isArray(links)) for (const link of links) this.addLink(link)
    return this
  }

  override setStatus(status: SpanStatus): this {
    // OK is what the application has decided. What libraries say later doesn't change it.
    if (!this.isRecording() || this.status === OK) return this
    try {
      const { code, message } = status
      if (code !== OK && code !== ERROR) return this
      this.status = code
      this.statusMessage = code === ERROR && typeof message === 'string' ? message : undefined
    } catch {
      // No status.
    }
    return this
  }

  override updateName(name: string): this {
    if (!this.isRecording() || typeof name !== 'string') return this
    this.milo.name = limited(name, LIMITS.nameLength)
    return this
  }

  override recordException(exception: Exception, time?: TimeInput): void {
    if (!this.isRecording()) return
    const attributes: Attributes = {}
    try {
      if (typeof exception === 'string') attributes['exception.message'] = exception
      else {
        const { code, name, message, stack } = exception
        attributes[EXCEPTION_TYPE] = textOf(code ?? name)
        attributes['exception.message'] = textOf(message)
        attributes['exception.stacktrace'] = textOf(stack)
      }
    } catch {
      // An exception whose properties throw, or none at all: what could be read is noted.
    }
    this.exceptionType = textOf(attributes[EXCEPTION_TYPE])
    this.addEvent('exception', attributes, time)
  }

  override end(time?: TimeInput): void {
    this.milo.endAt(this.us(time))
  }

  /** Writes what a later call might have changed. */
  ending(): void {
    const { milo, details, links } = this
    if (this.status === ERROR) {
      const has = (key: string) => milo.annotations?.some((one, i) => i % 2 === 0 && one === key)
      if (!has('error.type')) milo.annotate('error.type', this.exceptionType || UNNAMED_ERROR)
      if (this.statusMessage && !has('error.message')) milo.annotate('error.message', this.statusMessage)
    }
    const json: string[] = []
    if (details !== undefined) json.push(EVENTS, `{${details.join(',')}}`)
    if (links !== undefined) json.push(LINKS, `[${links.join(',')}]`)
    // Past the limit of a value: a part of JSON is none.
    if (json.length > 0) milo.adopt(json)
    this.details = this.links = undefined
  }

  private added(list: string[] | undefined, json: string): string[] | undefined {
    if (this.jsonLength + json.length > MAX_JSON) {
      sink.truncated()
      return list
    }
    this.jsonLength += json.length
    if (list === undefined) return [json]
    list.push(json)
    return list
  }

  private us(time: TimeInput | undefined): number | undefined {
    return time === undefined ? undefined : microseconds(time, this.milo.trace.clockOffsetUs)
  }
}

function eventsOf(span: LiveSpan): number {
  return (span.events?.length ?? 0) / 2
}

/** Attributes as a JSON object; undefined if there are none. */
function jsonOf(attributes: unknown): string | undefined {
  const entries: [string, unknown][] = []
  for (const [key, value] of entriesOf(attributes)) {
    const isPlain = typeof value === 'boolean' || Number.isFinite(value)
    const text = textOf(value)
    if (text === undefined || key === '') continue
    if (entries.length === LIMITS.annotations) {
      sink.truncated()
      break
    }
    entries.push([limited(key, LIMITS.keyLength), isPlain ? value : limited(text, LIMITS.valueLength)])
  }
  return entries.length === 0 ? undefined : JSON.stringify(Object.fromEntries(entries))
}

/** The entries of an object. A getter that throws costs what comes behind it. */
function* entriesOf(object: unknown): Iterable<[string, unknown]> {
  if (typeof object !== 'object' || object === null) return
  try {
    for (const key of Object.keys(object)) yield [key, (object as Record<string, unknown>)[key]]
  } catch {
    sink.truncated()
  }
}

export function limited(text: string, limit: number): string {
  if (text.length <= limit) return text
  sink.truncated()
  return cut(text, limit)
}
