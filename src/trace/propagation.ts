import { randomHigh, randomLow, toHex } from './id'
import type { PluginSpan } from './span'

/**
 * How a trace travels from caller to callee: three 64-bit ids and the sampling decision, over Thrift in one of these carriers
 * (plugins/thrift/carriers has their bytes),
 *
 *   field              Milo's own field in the arguments struct, the default: unaware servers skip it
 *   compat             W3C trace context in field 8888, as OpenTelemetry's Java agent and SkyWalking do
 *   calltrace          the original's message type 5, for peers that are known to understand it
 *   calltrace-legacy16 the same with 32-bit span ids, for the original's Java servers
 *   off                nothing
 *
 * and over HTTP in headers: see http-headers.ts. docs/wire-format.md has the bytes.
 */
export const CARRIERS = ['field', 'compat', 'calltrace', 'calltrace-legacy16', 'off'] as const
export type Carrier = (typeof CARRIERS)[number]

/** What is used for each peer: by `host:port`, else by `host`, else by the longest `*.domain`, else the default. */
export interface ByPeer<C> {
  default: C
  peers: Map<string, C>
}

/** Over Thrift, in both directions. */
export type Propagation = ByPeer<Carrier>

/** What http-headers.ts writes over HTTP, as bits of a number: a host may get several, or 0 for none. */
export const HTTP_FORMATS = { w3c: 1, b3: 2, b3multi: 4 } as const
/** A sum of HTTP_FORMATS; 0 for none. */
export type HttpFormats = number

/** What one setting says for both. */
export interface BothPropagations {
  thrift: Propagation
  http: ByPeer<HttpFormats>
}

export interface HttpPropagation {
  /** What is written, by the host that is called. */
  formats: ByPeer<HttpFormats>
  /** Whether the headers of a caller at this address are believed; undefined: those of all are. */
  trusts: ((address: string | undefined) => boolean) | undefined
  /** The keys of baggage that are read and written; undefined: none. */
  baggage: BaggageKeys | undefined
}

/** `*` is all keys. */
export type BaggageKeys = ReadonlySet<string>

export function carrierFor<C>({ peers, default: otherwise }: ByPeer<C>, host: unknown, port: unknown): C {
  if (peers.size === 0) return otherwise
  const name = String(host).toLowerCase()
  const exact = peers.get(`${name}:${port}`) ?? peers.get(name)
  if (exact !== undefined) return exact
  for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
    const domain = peers.get(`*${name.slice(dot)}`)
    if (domain !== undefined) return domain
  }
  return otherwise
}

/** What a request brought. Ids are signed 32-bit halves. */
export interface RemoteContext {
  hi: number
  lo: number
  highHi: number
  highLo: number
  spanHi: number
  spanLo: number
  /** The caller's span's parent; used only with sharesSpan. */
  parentHi: number
  parentLo: number
  sampled: boolean
  /** Not sampled, but recorded into some process's history: the ids are to travel on. */
  recorded: boolean
  /** The caller leaves the decision to the sampler here; `sampled` is true then. */
  undecided: boolean
  debug: boolean
  /** NaN when the carrier doesn't say. */
  probability: number
  /** Unsampled calls may come without. */
  hasIds: boolean
  /** W3C's tracestate, to be passed on as it is. */
  state: string | undefined
  /** W3C's flag that the trace's id is random, to be passed on. */
  isRandom: boolean
  /** Milo's carriers: client and server report halves of one span. W3C's: the server's span is a child of the caller's. */
  sharesSpan: boolean
}

/** What a carrier says before its ids are read: they are zero. */
export function remoteContext(sampled: boolean, debug: boolean, probability: number): RemoteContext {
  return {
    hi: 0,
    lo: 0,
    highHi: 0,
    highLo: 0,
    spanHi: 0,
    spanLo: 0,
    parentHi: 0,
    parentLo: 0,
    sampled,
    recorded: false,
    undecided: false,
    debug,
    probability,
    hasIds: false,
    state: undefined,
    isRandom: false,
    sharesSpan: true,
  }
}

/** Whether its trace id or its span id is zero, which no tracer gives. */
export function hasZeroId(c: RemoteContext): boolean {
  return (c.hi === 0 && c.lo === 0) || (c.spanHi === 0 && c.spanLo === 0)
}

/**
 * What W3C's, Zipkin's and Jaeger's carriers say: the server's span is a child of the caller's.
 * @param trace hex digits, 32 at most
 * @param span hex digits, 16 at most
 * @returns undefined when an id is zero
 */
export function childContext(trace: string, span: string, sampled: boolean, debug: boolean): RemoteContext | undefined {
  const t = trace.padStart(32, '0')
  const s = span.padStart(16, '0')
  const context = remoteContext(sampled, debug, Number.NaN)
  context.sharesSpan = false
  context.hasIds = true
  context.highHi = word(t, 0)
  context.highLo = word(t, 8)
  context.hi = word(t, 16)
  context.lo = word(t, 24)
  context.spanHi = word(s, 0)
  context.spanLo = word(s, 8)
  return hasZeroId(context) ? undefined : context
}

function word(hex: string, pos: number): number {
  return Number.parseInt(hex.slice(pos, pos + 8), 16) | 0
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Reads W3C's traceparent, version 00 and what later versions keep of it. Undefined when it isn't valid. */
export function parseTraceparent(header: unknown, state?: unknown): RemoteContext | undefined {
  if (typeof header !== 'string' || header.length > 512) return undefined
  const match = TRACEPARENT.exec(header.trim())
  if (match === null) return undefined
  const [, version, trace, span, flags, more] = match as unknown as [string, string, string, string, string, string?]
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined
  const bits = Number.parseInt(flags, 16)
  const context = childContext(trace, span, (bits & SAMPLED) !== 0, false)
  if (context === undefined) return undefined
  context.isRandom = (bits & RANDOM) !== 0
  context.state = readTracestate(state)
  return context
}

/** Flags of a traceparent. The others have no meaning yet, and aren't passed on. */
const SAMPLED = 1
const RANDOM = 2

/** W3C's limits for a tracestate: list members, and characters, of which long members go first. */
const MAX_MEMBERS = 32
const MAX_STATE_LENGTH = 512
const LONG_MEMBER_LENGTH = 128
/** More than this isn't read at all. */
const MAX_READ_LENGTH = 8192

const MEMBER = /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/

/**
 * Reads W3C's tracestate, to be passed on. Of members with the same key the first, which is the newest, is kept. One
 * that is longer than 512 characters is cut as W3C demands: members of more than 128 characters, then others, from the end.
 * @returns undefined for one that is empty, isn't valid, or has more than 32 members
 */
export function readTracestate(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '' || value.length > MAX_READ_LENGTH) return undefined
  const members = new Map<string, string>()
  let count = 0
  for (const part of value.split(',')) {
    const member = trim(part)
    if (member === '') continue
    if (++count > MAX_MEMBERS || !MEMBER.test(member)) return undefined
    const key = member.slice(0, member.indexOf('='))
    if (!members.has(key)) members.set(key, member)
  }
  const kept = [...members.values()]
  let length = kept.reduce((sum, member) => sum + member.length + 1, -1)
  for (const shortest of [LONG_MEMBER_LENGTH + 1, 0]) {
    for (let i = kept.length - 1; i >= 0 && length > MAX_STATE_LENGTH; i--) {
      if (kept[i]!.length < shortest) continue
      length -= kept[i]!.length + 1
      kept.splice(i, 1)
    }
  }
  return kept.length === 0 ? undefined : kept.join(',')
}

/** Without the spaces and tabs around it: HTTP's optional whitespace, which is less than String's. */
export function trim(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return start === 0 && end === text.length ? text : text.slice(start, end)
}

function isBlank(c: number): boolean {
  return c === 32 || c === 9
}

/** The traceparent of a call made in `span`. One that isn't sampled and has no ids gets some: W3C demands them. */
export function formatTraceparent(span: PluginSpan): string {
  const t = span.trace
  if (t.hi === 0 && t.lo === 0) {
    return `00-0000000000000000${toHex(randomHigh(), randomLow())}-${toHex(randomHigh(), randomLow())}-00`
  }
  return `00-${toHex(t.highHi, t.highLo)}${toHex(t.hi, t.lo)}-${toHex(span.idHi, span.idLo)}-0${(t.sampled ? SAMPLED : 0) | (t.isRandom ? RANDOM : 0)}`
}

const B3 = /^([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?$/

/** Reads Zipkin's single b3 header. One that has a decision alone is a context without ids. Undefined when it isn't valid. */
export function parseB3(header: unknown): RemoteContext | undefined {
  if (typeof header !== 'string' || header.length > 80) return undefined
  const b3 = trim(header)
  if (b3 === '0' || b3 === '1' || b3 === 'd') return remoteContext(b3 !== '0', b3 === 'd', Number.NaN)
  const match = B3.exec(b3)
  if (match === null) return undefined
  const [, trace, span, decision] = match as unknown as [string, string, string, string?]
  return b3Context(trace, span, decision)
}

/** @param decision `0`, `1`, `d` for debug, or undefined where the caller leaves it to the sampler */
function b3Context(trace: string, span: string, decision: string | undefined): RemoteContext | undefined {
  const context = childContext(trace, span, decision !== '0', decision === 'd')
  if (context !== undefined) context.undecided = decision === undefined
  return context
}

/** Zipkin's headers `x-b3-traceid` and so on, as they came. */
export interface Multi {
  trace?: unknown
  span?: unknown
  sampled?: unknown
  flags?: unknown
}

const TRACE_ID = /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/
const SPAN_ID = /^[0-9a-f]{16}$/

/** Reads Zipkin's x-b3 headers. The decision may come alone. Undefined when they aren't valid. */
export function parseMulti({ trace, span, sampled, flags }: Multi): RemoteContext | undefined {
  const decision = flags === '1' ? 'd' : decisionOf(sampled)
  if (trace === undefined && span === undefined) return decision === undefined ? undefined : parseB3(decision)
  if (typeof trace !== 'string' || !TRACE_ID.test(trace) || typeof span !== 'string' || !SPAN_ID.test(span))
    return undefined
  return b3Context(trace, span, decision)
}

function decisionOf(sampled: unknown): string | undefined {
  switch (sampled) {
    case '1':
    case 'true':
      return '1'
    case '0':
    case 'false':
      return '0'
    default:
      return undefined
  }
}

/** What came as a map of strings: a Map, or what has these of its methods. Keys are in lower case. */
export interface Entries {
  get(key: string): string | undefined
  keys(): Iterable<string>
}

/** What Zipkin's headers say that came as entries of a map. */
export function b3OfEntries(entries: Entries): RemoteContext | undefined {
  return (
    parseB3(entries.get('b3')) ??
    parseMulti({
      trace: entries.get('x-b3-traceid'),
      span: entries.get('x-b3-spanid'),
      sampled: entries.get('x-b3-sampled'),
      flags: entries.get('x-b3-flags'),
    })
  )
}

/** The b3 header of a call made in `span`. An unsampled one that has no ids is the decision alone. */
export function formatB3(span: PluginSpan): string {
  const t = span.trace
  if (t.hi === 0 && t.lo === 0) return '0'
  const ids = `${span.traceId}-${toHex(span.idHi, span.idLo)}-${b3Decision(span)}`
  return span.parentHi === 0 && span.parentLo === 0 ? ids : `${ids}-${toHex(span.parentHi, span.parentLo)}`
}

export function b3Decision({ trace }: PluginSpan): string {
  if (!trace.sampled) return '0'
  return trace.debug ? 'd' : '1'
}
