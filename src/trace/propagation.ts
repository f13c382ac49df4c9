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
 * and W3C's traceparent over HTTP. docs/wire-format.md has the bytes.
 */
export const CARRIERS = ['field', 'compat', 'calltrace', 'calltrace-legacy16', 'off'] as const
export type Carrier = (typeof CARRIERS)[number]

/** The carrier for each peer, in both directions: by `host:port`, else by `host`, else the default. */
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
    debug,
    probability,
    hasIds: false,
    state: undefined,
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

/** The traceparent of a call made in `span`. One that isn't sampled and has no ids gets some: W3C demands them. */
export function formatTraceparent(span: PluginSpan): string {
  const t = span.trace
  if (t.hi === 0 && t.lo === 0) {
    return `00-0000000000000000${toHex(randomHigh(), randomLow())}-${toHex(randomHigh(), randomLow())}-00`
  }
  return `00-${toHex(t.highHi, t.highLo)}${toHex(t.hi, t.lo)}-${toHex(span.idHi, span.idLo)}-${t.sampled ? '01' : '00'}`
}
