import {
  type Span as ApiSpan,
  type Context,
  type Exception,
  INVALID_SPANID,
  INVALID_TRACEID,
  type SpanContext,
  SpanStatusCode,
} from '@opentelemetry/api'
import { errorName, isError } from '../process/error-name'
import { logRarely, describe as textOf } from '../process/log'
import type { Kind, PluginSpan, Trace } from '../trace/span'
import { typed } from './conventions'

/** A span of OpenTelemetry's as the plugin sees it. */
export class OtelSpan implements PluginSpan {
  readonly api: ApiSpan
  /** The context that it was started in, or is current in; with its own span in the place of that context's, it is current. */
  readonly base: Context
  readonly kind: Kind
  /** The plugin's list of what the span was started with. */
  readonly known: readonly string[] | undefined
  /** Both: whether it is recorded. What its trace says of sampling may be another thing. */
  readonly sampled: boolean
  readonly recording: boolean
  readonly startUs = 0
  endUs = 0
  private title: string
  private ids: Ids | undefined = undefined
  private message: string | undefined = undefined
  private counters: Map<string, number> | undefined = undefined

  constructor(
    api: ApiSpan,
    base: Context,
    kind: Kind,
    name: string,
    known: readonly string[] | undefined,
    like?: OtelSpan,
  ) {
    this.api = api
    this.base = base
    this.kind = kind
    this.title = name
    this.known = known
    this.sampled = this.recording = api.isRecording()
    if (like === undefined) return
    const trace = like.trace as Ids
    if (trace.context.traceId === api.spanContext().traceId) this.ids = trace
  }

  /** Without an SDK, or where tracing is suppressed, it isn't. Propagators look at the ids more closely. */
  get isValid(): boolean {
    const { traceId, spanId } = this.api.spanContext()
    return traceId !== INVALID_TRACEID && spanId !== INVALID_SPANID
  }

  get name(): string {
    return this.title
  }

  set name(name: string) {
    this.title = name
    this.api.updateName(name)
  }

  /** The same object for all spans of a trace that the plugin compares. */
  get trace(): Trace {
    this.ids ??= new Ids(this.api.spanContext())
    return this.ids
  }

  get traceId(): string {
    return this.api.spanContext().traceId
  }

  get spanId(): string {
    return this.api.spanContext().spanId
  }

  get parentId(): string {
    const { parentSpanContext, parentSpanId } = this.api as { parentSpanContext?: SpanContext; parentSpanId?: string }
    return parentSpanContext?.spanId ?? parentSpanId ?? '0'.repeat(16)
  }

  get idHi(): number {
    return word(this.spanId, 0)
  }

  get idLo(): number {
    return word(this.spanId, 8)
  }

  get parentHi(): number {
    return word(this.parentId, 0)
  }

  get parentLo(): number {
    return word(this.parentId, 8)
  }

  annotate(key: string, value: string | number | boolean | bigint): this {
    if (key === 'error.message') this.message = String(value)
    else this.api.setAttribute(key, typeof value === 'bigint' ? String(value) : value)
    if (key === 'error.type' || (key === 'error.message' && this.sampled))
      this.api.setStatus({ code: SpanStatusCode.ERROR, ...(this.message !== undefined && { message: this.message }) })
    return this
  }

  record(event: string): this {
    this.api.addEvent(event)
    return this
  }

  count(key: string, n = 1): this {
    this.counters ??= new Map()
    const sum = (this.counters.get(key) ?? 0) + n
    this.counters.set(key, sum)
    this.api.setAttribute(key, sum)
    return this
  }

  fail(error: unknown): this {
    if (!this.sampled) return this
    try {
      if (isError(error)) {
        this.api.recordException(exceptionOf(error))
        if (error.message) this.annotate('error.message', error.message)
        return this.annotate('error.type', errorName(error))
      }
      this.api.recordException(exceptionOf(error))
      if (typeof error === 'string' && error !== '') this.annotate('error.message', error)
      return this.annotate('error.type', typeof error)
    } catch {
      // An error whose name or message throws when it is read.
      return this.annotate('error.type', 'unreadable')
    }
  }

  /** The lists' own keys; a list that begins with what the span was started with has nothing new there. */
  adopt(annotations: string[], counters?: (string | number)[]): void {
    const { api, known } = this
    const begin = known !== undefined && annotations[0] === known[0] ? known.length : 0
    for (let i = begin; i < annotations.length; i += 2) {
      const key = annotations[i]!
      api.setAttribute(key, typed(key, annotations[i + 1]!))
    }
    if (counters === undefined) return
    for (let i = 0; i < counters.length; i += 2) api.setAttribute(counters[i] as string, counters[i + 1] as number)
  }

  share(annotations: readonly string[], more?: readonly string[]): void {
    this.adopt(annotations as string[])
    if (more !== undefined) this.adopt(more as string[])
  }

  /** What a processor of the application's throws doesn't come out. */
  end(): void {
    try {
      this.api.end()
    } catch (error) {
      logRarely('end', 'error', `a span couldn't be ended: ${textOf(error)}`)
    }
  }
}

/**
 * SDKs take an exception's `code` for its type. Of a system's error it is; of an exception that is declared in Thrift, it is a field.
 * thrift-typescript's exceptions are no Errors.
 */
function exceptionOf(error: unknown): Exception {
  if (error === null || typeof error !== 'object') return textOf(error)
  const { code, message, stack } = error as Error & { code?: unknown }
  if (isError(error) && typeof code === 'string') return error
  return {
    name: errorName(error),
    message: typeof message === 'string' ? message : textOf(error),
    ...(typeof stack === 'string' && { stack }),
  }
}

/** A trace's ids, for the carriers that have them as numbers. */
class Ids implements Trace {
  readonly context: SpanContext
  readonly debug = false
  /** OpenTelemetry doesn't say it. */
  readonly probability = Number.NaN
  readonly clockOffsetUs = 0
  state: string | undefined = undefined
  readonly isRandom = false
  readonly recorded = false
  readonly recording = true

  constructor(context: SpanContext) {
    this.context = context
  }

  get sampled(): boolean {
    return (this.context.traceFlags & 1) === 1
  }

  get highHi(): number {
    return word(this.context.traceId, 0)
  }

  get highLo(): number {
    return word(this.context.traceId, 8)
  }

  get hi(): number {
    return word(this.context.traceId, 16)
  }

  get lo(): number {
    return word(this.context.traceId, 24)
  }

  nowUs(): number {
    return 0
  }
}

function word(hex: string, pos: number): number {
  return Number.parseInt(hex.slice(pos, pos + 8), 16) | 0
}
