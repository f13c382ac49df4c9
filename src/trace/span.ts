import { EventType } from '../codec/span'
import { errorName, isError } from '../process/error-name'
import { clock } from '../process/genuine'
import { spanEnd, tell } from './channels'
import { toHex } from './id'

/** Which side of a call a span reports, and so which events it carries. */
export const Kind = { LOCAL: 0, CLIENT: 1, SERVER: 2 } as const
export type Kind = (typeof Kind)[keyof typeof Kind]

/** What all spans of a trace have in common within this process. A span refers to it and never to its parent span. */
export class Trace {
  readonly hi: number
  readonly lo: number
  /** The high half of a 128-bit trace id, 0 and 0 when it has none. */
  readonly highHi: number
  readonly highLo: number
  readonly sampled: boolean
  readonly debug: boolean
  /** The probability with which the trace was kept, a float32; 0 = forced, NaN = unknown. */
  readonly probability: number
  /** Wall clock minus monotonic clock in microseconds: durations in a trace never see the wall clock step. */
  readonly clockOffsetUs: number
  /** W3C's tracestate as it came, to be passed on. */
  state: string | undefined = undefined
  /** W3C's flag that its id is random, as it came. */
  isRandom = false
  /** Not sampled, but some process records it into its history, so its ids travel all the same. Set when the trace is made. */
  recorded = false
  /** Whether this process's spans take annotations: the trace is sampled, or recorded here. Set when the trace is made. */
  recording: boolean

  constructor(
    hi: number,
    lo: number,
    highHi: number,
    highLo: number,
    sampled: boolean,
    debug: boolean,
    probability: number,
    clockOffsetUs: number,
  ) {
    this.hi = hi
    this.lo = lo
    this.highHi = highHi
    this.highLo = highLo
    this.sampled = sampled
    this.recording = sampled
    this.debug = debug
    this.probability = probability
    this.clockOffsetUs = clockOffsetUs
  }

  /** Microseconds since the epoch. */
  nowUs(): number {
    return this.clockOffsetUs + clock.now() * 1000
  }
}

/** Takes spans when they end, and counts what was cut from them. The tracer gives every span the same one. */
export interface SpanSink {
  add(span: LiveSpan): void
  truncated(): void
}

export const LIMITS = {
  /** Characters of a name, a key, an annotation's value, an event's value. */
  nameLength: 256,
  keyLength: 256,
  valueLength: 4096,
  /** How many of each a span may have. */
  annotations: 128,
  /** How many annotations it may have besides, of those that say how it ended. */
  outcome: 16,
  events: 256,
  counters: 128,
}

/** What Milo and its plugins say once a span ends: an application that has filled it, often with what failed, doesn't cut that away. */
const OUTCOME = /^(error|milo|http|thrift)\b|\.status_code$/

/** Of these, what always finds room: a span has each of them once at most. */
const RESULTS = new Set(
  `error error.type error.message http.response.status_code http.status_code db.response.status_code rpc.response.status_code
  rpc.grpc.status_code thrift.result thrift.unknown_method milo.keep milo.keep_span milo.left_out milo.history`.split(
    /\s+/,
  ),
)

/** Whether spans keep which values weren't strings: only for an exporter that tells them apart. */
export const keeping = { types: false }

/** A span as an application sees it. All methods are safe at any time: on a span that isn't sampled, and after its end. */
export interface Span {
  /** The span's name. */
  name: string
  /** Whether its trace is kept from its beginning. Other spans aren't sent, unless the trace is kept later: see `keep`. */
  readonly sampled: boolean
  /** Whether it takes annotations: it is sampled, or recorded into the process's history (the option `retroactive`). */
  readonly recording: boolean
  /** 16 lower-case hex digits, or 32 when the trace id has a high half. All zero when nothing is being traced. */
  readonly traceId: string
  /** 16 lower-case hex digits. */
  readonly spanId: string
  /** 16 lower-case hex digits; all zero for a root. */
  readonly parentId: string
  /** Microseconds since the epoch. */
  readonly startUs: number
  /** Microseconds since the epoch; 0 until the span ends. */
  readonly endUs: number
  /** Attaches a searchable key and value; a second value for a key takes the first one's place. */
  annotate(key: string, value: string | number | boolean | bigint): this
  /** Notes that something happened, now. */
  record(event: string): this
  /** Adds `n` (a whole number, 1 by default) to a counter of the span. */
  count(key: string, n?: number): this
  /** Marks the span as failed: `error.type` is the error's name, `error.message` its message. For a value that isn't an `Error`, `error.type` is its `typeof`; a string is also the message. */
  fail(error: unknown): this
  /** Ends the span, once: later calls do nothing. */
  end(): void
}

/** A span as plugins see it: with what carriers take, and with lists of a plugin's own keys. */
export interface PluginSpan extends Span {
  readonly kind: Kind
  readonly trace: Trace
  readonly idHi: number
  readonly idLo: number
  readonly parentHi: number
  readonly parentLo: number
  /**
   * Adds annotations (key, value, key, value …) and counters (key, n, …) that the span has none of yet, within the limits,
   * without looking at each. The lists become the span's. After the span's end this does nothing.
   */
  adopt(annotations: string[], counters?: (string | number)[]): void
  /**
   * Adds annotations that many spans have: those of an operation, and those of a peer. Best called first of all. The lists stay the
   * plugin's, which never changes them: their bytes are made once for all records, and a history has each of them once a page.
   */
  share(annotations: readonly string[], more?: readonly string[]): void
}

/** Another API's view of a span. */
export interface SpanView {
  /** Called once, before the span ends. It may still annotate it, and doesn't throw. */
  ending(): void
}

/** One or two lists of annotations that other spans have as well. */
export interface Shared {
  readonly first: readonly string[]
  readonly second: readonly string[] | undefined
}

/** The span behind those interfaces. With one field more, making a root costs twice as much in one process of three, by V8's choice. */
export class LiveSpan implements PluginSpan {
  readonly trace: Trace
  readonly idHi: number
  readonly idLo: number
  readonly parentHi: number
  readonly parentLo: number
  readonly kind: Kind
  name: string
  /** Microseconds since the epoch. */
  startUs: number
  /** Microseconds since the epoch; 0 until it ends. */
  endUs = 0
  /** Its own annotations, behind those that it shares: key, value, key, value … */
  own: string[] | undefined = undefined
  /** What it shares with other spans, while it has no copy of it. */
  shared: Shared | undefined = undefined
  /** The keys of annotations whose values weren't strings, while `keeping.types`. */
  typed: string[] | undefined = undefined
  /** key, n, key, n … */
  counters: (string | number)[] | undefined = undefined
  /** time in µs, value, time, value … */
  events: (number | string)[] | undefined = undefined
  /** For the buffers: about how many bytes of memory it takes. */
  bytes = 0
  /** Another API's view of this span, which has the last word before it ends: see otel/span.ts. */
  view: SpanView | undefined = undefined
  private readonly sink: SpanSink

  constructor(
    sink: SpanSink,
    trace: Trace,
    idHi: number,
    idLo: number,
    parentHi: number,
    parentLo: number,
    kind: Kind,
    name: string,
    startUs: number,
  ) {
    this.sink = sink
    this.trace = trace
    this.idHi = idHi
    this.idLo = idLo
    this.parentHi = parentHi
    this.parentLo = parentLo
    this.kind = kind
    this.name = name
    this.startUs = startUs
  }

  get sampled(): boolean {
    return this.trace.sampled
  }

  /** All annotations: key, value, key, value … */
  get annotations(): readonly string[] | undefined {
    const { shared, own = [] } = this
    return shared === undefined ? this.own : [...shared.first, ...(shared.second ?? []), ...own]
  }

  get recording(): boolean {
    return this.trace.recording
  }

  get traceId(): string {
    const t = this.trace
    const low = toHex(t.hi, t.lo)
    return t.highHi === 0 && t.highLo === 0 ? low : toHex(t.highHi, t.highLo) + low
  }

  get spanId(): string {
    return toHex(this.idHi, this.idLo)
  }

  get parentId(): string {
    return toHex(this.parentHi, this.parentLo)
  }

  annotate(key: string, value: string | number | boolean | bigint): this {
    if (!this.open()) return this
    const k = this.stringOf(key, LIMITS.keyLength)
    const v = this.stringOf(value, LIMITS.valueLength)
    // A value's toString is the application's code, which may have ended the span.
    if (k === undefined || v === undefined || !this.open()) return this
    if (keeping.types) this.keepType(k, typeof value !== 'string')
    const { shared } = this
    if (shared?.first.includes(k) || shared?.second?.includes(k)) this.unshare()
    const list = (this.own ??= [])
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === k) {
        list[i + 1] = v
        return this
      }
    }
    const others = this.shared === undefined ? 0 : this.shared.first.length + (this.shared.second?.length ?? 0)
    const n = (list.length + others) / 2
    const { annotations: most, outcome } = LIMITS
    if (n < most || (n < most + outcome && OUTCOME.test(k)) || RESULTS.has(k)) list.push(k, v)
    else this.sink.truncated()
    return this
  }

  /** Keeps that the text of an annotation stands for something else: a number, a boolean, JSON. */
  keepType(key: string, isTyped: boolean): void {
    const at = this.typed?.indexOf(key) ?? -1
    if (isTyped && at === -1 && (this.typed?.length ?? 0) < LIMITS.annotations) (this.typed ??= []).push(key)
    if (!isTyped && at !== -1) this.typed!.splice(at, 1)
  }

  record(event: string): this {
    return this.recordAt(undefined, event)
  }

  /** @param timeUs microseconds since the epoch; absent: now */
  recordAt(timeUs: number | undefined, event: string): this {
    if (!this.open()) return this
    const value = this.stringOf(event, LIMITS.valueLength)
    if (value === undefined || !this.open()) return this
    const list = (this.events ??= [])
    if (list.length < LIMITS.events * 2) list.push(timeUs ?? this.trace.nowUs(), value)
    else this.sink.truncated()
    return this
  }

  count(key: string, n = 1): this {
    if (!this.open() || !Number.isSafeInteger(n)) return this
    const k = this.stringOf(key, LIMITS.keyLength)
    if (k === undefined || !this.open()) return this
    const list = (this.counters ??= [])
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === k) {
        const sum = (list[i + 1] as number) + n
        if (Number.isSafeInteger(sum)) list[i + 1] = sum
        return this
      }
    }
    if (list.length < LIMITS.counters * 2) list.push(k, n)
    else this.sink.truncated()
    return this
  }

  fail(error: unknown): this {
    if (!this.open()) return this
    try {
      if (isError(error)) {
        this.annotate('error.type', errorName(error))
        if (error.message) this.annotate('error.message', error.message)
      } else {
        // Its text may be another one each time.
        this.annotate('error.type', typeof error)
        if (typeof error === 'string' && error !== '') this.annotate('error.message', error)
      }
    } catch {
      // An error whose name or message throws when read.
      this.annotate('error.type', 'unreadable')
    }
    return this
  }

  end(): void {
    this.endAt(undefined)
  }

  /** @param timeUs microseconds since the epoch; absent: now */
  endAt(timeUs: number | undefined): void {
    if (!this.open()) return
    this.view?.ending()
    this.endUs = Math.max(timeUs ?? this.trace.nowUs(), this.startUs)
    if (spanEnd.hasSubscribers && this.trace.sampled) tell(spanEnd, { span: this })
    this.sink.add(this)
  }

  adopt(annotations: string[], counters?: (string | number)[]): void {
    if (!this.open()) return
    if (this.own === undefined) this.own = annotations
    else this.own.push(...annotations)
    if (counters === undefined) return
    if (this.counters === undefined) this.counters = counters
    else this.counters.push(...counters)
  }

  share(annotations: readonly string[], more?: readonly string[]): void {
    if (!this.open()) return
    if (this.own !== undefined || this.shared !== undefined) {
      this.adopt(more === undefined ? annotations.slice() : annotations.concat(more))
      return
    }
    this.shared = { first: annotations, second: more }
  }

  /** Gives it a copy of what it shares. */
  unshare(): void {
    this.own = this.annotations as string[] | undefined
    this.shared = undefined
  }

  /**
   * What is left of a span that is too large: its name, times, ids, what Milo has said of it, and the type of its error.
   * @param bytes how many it would have taken
   */
  stub(bytes: number): LiveSpan {
    const { sink, trace, idHi, idLo, parentHi, parentLo, kind, name, startUs, annotations = [] } = this
    const stub = new LiveSpan(sink, trace, idHi, idLo, parentHi, parentLo, kind, name, startUs)
    stub.endUs = this.endUs
    stub.own = ['milo.too_large', String(bytes)]
    let room = 1024
    for (let i = 0; i < annotations.length; i += 2) {
      const key = annotations[i]!
      const isMilos = key.startsWith('milo.') && key !== 'milo.too_large'
      if (key === 'error.type' || (isMilos && (room -= 64) > 0)) stub.own.push(key, cut(annotations[i + 1]!, 512))
    }
    return stub
  }

  private open(): boolean {
    return this.trace.recording && this.endUs === 0
  }

  /** The value as a string within the limit; undefined when it has none. */
  private stringOf(value: unknown, limit: number): string | undefined {
    let s: string
    if (typeof value === 'string') s = value
    else if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') s = String(value)
    else {
      try {
        if (value === undefined || value === null || typeof value === 'symbol') return undefined
        s = String(value)
      } catch {
        return undefined
      }
    }
    if (s.length <= limit) return s
    this.sink.truncated()
    return cut(s, limit)
  }
}

/** The span that is current where a trace isn't sampled and has no ids here. Callees are told of the decision. Its methods do nothing. */
export const UNSAMPLED = nameless()

/**
 * The span that is current where nothing is traced and nobody has decided so of a trace: OpenTelemetry's API suppresses it, or it is
 * Milo's own work. Callees are told nothing, and decide for themselves. Its methods do nothing.
 */
export const SUPPRESSED = nameless()

function nameless(): LiveSpan {
  const trace = new Trace(0, 0, 0, 0, false, false, Number.NaN, 0)
  return new LiveSpan({ add() {}, truncated() {} }, trace, 0, 0, 0, 0, Kind.LOCAL, '', 0)
}

/** The first characters of a string, as a copy: a slice would keep the whole string in memory. */
export function cut(text: string, limit: number): string {
  return Buffer.from(text.slice(0, limit), 'utf16le').toString('utf16le')
}

/** The event types of a span's start and end, by its kind; a local span's are CUSTOM and say which in their value. */
export const START_EVENT = [EventType.CUSTOM, EventType.CLIENT_SEND, EventType.SERVER_RECV] as const
export const END_EVENT = [EventType.CUSTOM, EventType.CLIENT_RECV, EventType.SERVER_SEND] as const
