import { randomHigh, randomLow, toHex } from './id'
import type { Span } from './span'

/**
 * How a trace travels from caller to callee: three 64-bit ids and the sampling decision, in one of these carriers.
 *
 *   field              Milo's own field in the arguments struct, the default: unaware servers skip it
 *   compat             W3C trace context in field 8888, as OpenTelemetry's Java agent and SkyWalking do
 *   calltrace          the original's message type 5, for peers that are known to understand it
 *   calltrace-legacy16 the same with 32-bit span ids, for the original's Java servers
 *   off                nothing
 *
 * and W3C's traceparent over HTTP. docs/wire-format.md has the bytes.
 */
export const CARRIERS = ['field', 'compat', 'calltrace', 'calltrace-legacy16', 'off'] as const
export type Carrier = (typeof CARRIERS)[number]

/** Which carrier towards, and from, whom: by `host:port`, by `host`, else the default. */
export interface Propagation {
  default: Carrier
  peers: Map<string, Carrier>
}

export function carrierFor({ peers, default: otherwise }: Propagation, host: unknown, port: unknown): Carrier {
  if (peers.size === 0) return otherwise
  return peers.get(`${host}:${port}`) ?? peers.get(String(host)) ?? otherwise
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
  debug: boolean
  /** NaN when the carrier doesn't say. */
  probability: number
  /** Unsampled calls may come without. */
  hasIds: boolean
  /** W3C's tracestate, to be passed on as it is. */
  state: string | undefined
  /** Milo's carriers: client and server report halves of one span. W3C's: the server's span is a child of the caller's. */
  sharesSpan: boolean
}

/**
 * Milo's field in the arguments struct of a call. Fixed for good: 6456 is MILO on a telephone's keys, is below 8192 (two
 * bytes in the compact protocol), and is neither 3333 nor 8888, which other tracers use.
 *
 *     list<byte>:  flags │ trace 8 │ span 8 │ parent 8 │ probability float32 │ trace's high half 8, if flagged
 *
 * Flags: version (0) in the high nibble; 1 sampled, 2 debug, 4 has a high half. An unsampled call sends the flags alone.
 */
export const FIELD_ID = 6456
export const FIELD_BYTES = 29
const FIELD_BYTES_HIGH = 37
const SAMPLED = 1
const DEBUG = 2
const HAS_HIGH = 4
const VERSION_MASK = 0xf0

/** The field's length in bytes for this span. */
export function fieldLength(span: Span): number {
  if (!span.trace.sampled) return 1
  return span.trace.highHi === 0 && span.trace.highLo === 0 ? FIELD_BYTES : FIELD_BYTES_HIGH
}

/** Puts the field's content at `pos`. */
export function putField(b: Buffer, pos: number, span: Span, length: number): void {
  const t = span.trace
  if (length === 1) {
    b[pos] = 0
    return
  }
  b[pos] = SAMPLED | (t.debug ? DEBUG : 0) | (length === FIELD_BYTES_HIGH ? HAS_HIGH : 0)
  putIds(b, pos + 1, span)
  b.writeFloatBE(t.probability, pos + 25)
  if (length === FIELD_BYTES_HIGH) {
    b.writeInt32BE(t.highHi, pos + 29)
    b.writeInt32BE(t.highLo, pos + 33)
  }
}

/** Trace, span and parent id: 24 bytes, as CALLTRACE and Milo's field carry them. */
export function putIds(b: Buffer, pos: number, span: Span): void {
  b.writeInt32BE(span.trace.hi, pos)
  b.writeInt32BE(span.trace.lo, pos + 4)
  b.writeInt32BE(span.idHi, pos + 8)
  b.writeInt32BE(span.idLo, pos + 12)
  b.writeInt32BE(span.parentHi, pos + 16)
  b.writeInt32BE(span.parentLo, pos + 20)
}

/**
 * Reads the field's content: `length` bytes at `pos`. A longer tail than this version knows is ignored.
 * @returns undefined when it isn't one: another version, too short for what its flags say, ids of zero
 */
export function readField(b: Buffer, pos: number, length: number): RemoteContext | undefined {
  if (length < 1) return undefined
  const flags = b[pos]!
  if ((flags & VERSION_MASK) !== 0) return undefined
  const sampled = (flags & SAMPLED) !== 0
  const high = (flags & HAS_HIGH) !== 0
  if (length < (high ? FIELD_BYTES_HIGH : FIELD_BYTES)) {
    // Too short for ids: the decision not to sample needs none.
    return sampled ? undefined : remote(false, false, Number.NaN)
  }
  const probability = b.readFloatBE(pos + 25)
  const context = remote(
    sampled,
    (flags & DEBUG) !== 0,
    probability >= 0 && probability <= 1 ? probability : Number.NaN,
  )
  readIds(context, b, pos + 1)
  if (high) {
    context.highHi = b.readInt32BE(pos + 29)
    context.highLo = b.readInt32BE(pos + 33)
  }
  return hasZeroId(context) ? undefined : context
}

/** Reads CALLTRACE's 24 bytes: only sampled calls carry them, and they leave the probability unknown. */
export function readCallTrace(b: Buffer): RemoteContext | undefined {
  const context = remote(true, false, Number.NaN)
  readIds(context, b, 0)
  return hasZeroId(context) ? undefined : context
}

/** The same in the 16 bytes of the original's Java server: i64 trace id, and i32 span and parent id. */
export function readCallTrace16(b: Buffer): RemoteContext | undefined {
  const context = remote(true, false, Number.NaN)
  context.hasIds = true
  context.hi = b.readInt32BE(0)
  context.lo = b.readInt32BE(4)
  context.spanLo = b.readInt32BE(8)
  context.spanHi = context.spanLo >> 31
  context.parentLo = b.readInt32BE(12)
  context.parentHi = context.parentLo >> 31
  return hasZeroId(context) ? undefined : context
}

/** Puts those 16 bytes: a span that is to travel so has an id of 31 bits; of its parent's, the low half remains. */
export function putIds16(b: Buffer, pos: number, span: Span): void {
  b.writeInt32BE(span.trace.hi, pos)
  b.writeInt32BE(span.trace.lo, pos + 4)
  b.writeInt32BE(span.idLo, pos + 8)
  b.writeInt32BE(span.parentLo, pos + 12)
}

function readIds(context: RemoteContext, b: Buffer, pos: number): void {
  context.hi = b.readInt32BE(pos)
  context.lo = b.readInt32BE(pos + 4)
  context.spanHi = b.readInt32BE(pos + 8)
  context.spanLo = b.readInt32BE(pos + 12)
  context.parentHi = b.readInt32BE(pos + 16)
  context.parentLo = b.readInt32BE(pos + 20)
  context.hasIds = true
}

function remote(sampled: boolean, debug: boolean, probability: number): RemoteContext {
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
    debug,
    probability,
    hasIds: false,
    state: undefined,
    sharesSpan: true,
  }
}

function hasZeroId(c: RemoteContext): boolean {
  return (c.hi === 0 && c.lo === 0) || (c.spanHi === 0 && c.spanLo === 0)
}

/** A span of W3C's, Zipkin's or Jaeger's: ids in hex, and the server's span is a child of it. */
function childContext(trace: string, span: string, sampled: boolean, debug: boolean): RemoteContext | undefined {
  const t = trace.padStart(32, '0')
  const s = span.padStart(16, '0')
  const context = remote(sampled, debug, Number.NaN)
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

/**
 * What W3C lets a tracestate be made of: a header takes nothing else. W3C asks for 512 characters at least; more than this
 * is nobody's state.
 */
const TRACESTATE = /^[\t\x20-\x7e]{1,2048}$/

/** Reads W3C's traceparent, version 00 and what later versions keep of it. Undefined when it isn't valid. */
export function parseTraceparent(header: unknown, state?: unknown): RemoteContext | undefined {
  if (typeof header !== 'string' || header.length > 512) return undefined
  const match = TRACEPARENT.exec(header.trim())
  if (match === null) return undefined
  const [, version, trace, span, flags, more] = match as unknown as [string, string, string, string, string, string?]
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined
  const context = childContext(trace, span, (Number.parseInt(flags, 16) & 1) === 1, false)
  if (context !== undefined && typeof state === 'string' && TRACESTATE.test(state)) context.state = state
  return context
}

const B3 = /^([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?$/

/** Reads Zipkin's single b3 header; without a decision it counts as sampled. */
export function parseB3(header: string): RemoteContext | undefined {
  if (header === '0') return remote(false, false, Number.NaN)
  const match = B3.exec(header)
  if (match === null) return undefined
  return childContext(match[1]!, match[2]!, match[3] !== '0', match[3] === 'd')
}

const UBER = /^([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:([0-9a-f]{1,2})$/

/** Reads Jaeger's uber-trace-id, also where its colons were escaped. */
export function parseUber(header: string): RemoteContext | undefined {
  const match = UBER.exec(header.replace(/%3A/gi, ':'))
  if (match === null) return undefined
  const flags = Number.parseInt(match[3]!, 16)
  return childContext(match[1]!, match[2]!, (flags & 1) === 1, (flags & 2) === 2)
}

/** The traceparent of a call made in `span`. One that isn't sampled and has no ids gets some: W3C demands them. */
export function formatTraceparent(span: Span): string {
  const t = span.trace
  if (t.hi === 0 && t.lo === 0) {
    return `00-0000000000000000${toHex(randomHigh(), randomLow())}-${toHex(randomHigh(), randomLow())}-00`
  }
  return `00-${toHex(t.highHi, t.highLo)}${toHex(t.hi, t.lo)}-${toHex(span.idHi, span.idLo)}-${t.sampled ? '01' : '00'}`
}
