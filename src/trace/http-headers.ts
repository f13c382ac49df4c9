import { running } from '../start/instance'
import { limitBaggage } from './baggage'
import { currentFrame } from './context'
import { toHex } from './id'
import {
  type BaggageKeys,
  b3Decision,
  carrierFor,
  type Entries,
  formatB3,
  formatTraceparent,
  HTTP_FORMATS,
  type Multi,
  parseB3,
  parseMulti,
  parseTraceparent,
  type RemoteContext,
} from './propagation'
import { type PluginSpan, SUPPRESSED } from './span'

/**
 * How a trace travels over HTTP: what is written into the headers of a request, and what is taken from them. Everything that
 * speaks HTTP asks here, and so does Thrift's field 8888, which has W3C's headers as entries of a map.
 *
 *   w3c      traceparent, tracestate: the default
 *   b3       Zipkin's single header
 *   b3multi  Zipkin's x-b3-traceid, x-b3-spanid, x-b3-parentspanid, x-b3-sampled, x-b3-flags
 *
 * All of them are read, from callers that are trusted: W3C's counts before b3, and that before the x-b3 headers. What is written is
 * a matter of the host that is called. W3C's `baggage` is read and written beside any of them, the keys that the settings name.
 */

/** The headers that are read, for carriers that can be asked for a name only. */
export const HTTP_HEADERS = [
  'traceparent',
  'tracestate',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-sampled',
  'x-b3-flags',
  'baggage',
] as const

/** The socket by which a request came. */
interface Caller {
  remoteAddress?: string | undefined
}

/** A header that came twice with values that can't be joined: it says nothing that could be believed. */
const REPEATED = ''

/**
 * What the headers of a request say about its trace.
 * @param raw name, value, name, value … as they came: names in any case, some of them repeated
 * @param caller undefined where nobody's address is known
 */
export function contextOfHeaders(
  raw: readonly unknown[],
  caller: Caller | null | undefined,
): RemoteContext | undefined {
  let traceparent: unknown
  let tracestate: unknown
  let b3: unknown
  let multi: Multi | undefined
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]
    if (typeof name !== 'string') continue
    // Few headers have one of these lengths, and every request pays for the search.
    switch (name.length) {
      case 2:
        if (isName(name, 'b3')) b3 = once(b3, raw[i + 1])
        break
      case 10:
        if (isName(name, 'tracestate')) tracestate = joined(tracestate, raw[i + 1])
        else if (isName(name, 'x-b3-flags')) (multi ??= {}).flags = once(multi?.flags, raw[i + 1])
        break
      case 11:
        if (isName(name, 'traceparent')) traceparent = once(traceparent, raw[i + 1])
        else if (isName(name, 'x-b3-spanid')) (multi ??= {}).span = once(multi?.span, raw[i + 1])
        break
      case 12:
        if (isName(name, 'x-b3-traceid')) (multi ??= {}).trace = once(multi?.trace, raw[i + 1])
        else if (isName(name, 'x-b3-sampled')) (multi ??= {}).sampled = once(multi?.sampled, raw[i + 1])
    }
  }
  if (traceparent === undefined && b3 === undefined && multi === undefined) return undefined
  if (!isTrusted(caller)) return undefined
  return (
    (traceparent === undefined ? undefined : parseTraceparent(traceparent, tracestate)) ??
    (b3 === undefined ? undefined : parseB3(b3)) ??
    (multi === undefined ? undefined : parseMulti(multi))
  )
}

/** The baggage that a request brings, as a header that may be written; undefined when it has none that the settings want. */
export function baggageOfHeaders(raw: readonly unknown[], caller: Caller | null | undefined): string | undefined {
  const keys = running.settings?.http.baggage
  if (keys === undefined) return undefined
  let baggage: unknown
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (isName(raw[i], 'baggage')) baggage = joined(baggage, raw[i + 1])
  }
  return baggage === undefined ? undefined : baggageOf(baggage, caller)
}

/** As much of a `baggage` header as the settings want; undefined where they want none, or none of a caller at this address. */
export function baggageOf(header: unknown, caller: Caller | null | undefined): string | undefined {
  const keys = running.settings?.http.baggage
  return keys !== undefined && isTrusted(caller) ? limitBaggage(header, keys) : undefined
}

function isTrusted(caller: Caller | null | undefined): boolean {
  const trusts = running.settings?.http.trusts
  return trusts === undefined || trusts(caller?.remoteAddress)
}

function once(before: unknown, value: unknown): unknown {
  return before === undefined ? value : REPEATED
}

/** Of a header that is a list, whose repetition continues it. Whoever reads it refuses what is too long. */
function joined(before: unknown, value: unknown): unknown {
  return before === undefined ? value : `${before},${value}`
}

/** @param name in lower case */
export function isName(value: unknown, name: string): boolean {
  return (
    typeof value === 'string' &&
    value.length === name.length &&
    (value.charCodeAt(0) | 32) === name.charCodeAt(0) &&
    (value === name || value.toLowerCase() === name)
  )
}

/** How headers are added to whatever holds those of a request. */
export interface HeaderTarget<H> {
  /** @param name in lower case */
  has(headers: H, name: string): boolean
  add(headers: H, name: string, value: string): void
  /** Where the request goes, for settings by host. An IPv6 address has no brackets. */
  host(headers: H): unknown
  port(headers: H): unknown
}

/**
 * Adds the headers of a call that is made in `span`. What the application has set itself stays, and nothing is written
 * beside it that would contradict it. Where tracing is suppressed nothing is written, baggage neither, as in OpenTelemetry.
 */
export function writeHeaders<H>(headers: H, target: HeaderTarget<H>, span: PluginSpan): void {
  const settings = running.settings?.http
  if (settings === undefined || span === SUPPRESSED) return
  const byPeer = settings.formats
  const formats =
    byPeer.peers.size === 0 ? byPeer.default : carrierFor(byPeer, target.host(headers), target.port(headers))
  if (formats === 0) return
  if ((formats & HTTP_FORMATS.w3c) !== 0 && !target.has(headers, 'traceparent')) {
    target.add(headers, 'traceparent', formatTraceparent(span))
    const { state } = span.trace
    if (state !== undefined && !target.has(headers, 'tracestate')) target.add(headers, 'tracestate', state)
  }
  if ((formats & HTTP_FORMATS.b3) !== 0 && !target.has(headers, 'b3')) target.add(headers, 'b3', formatB3(span))
  if ((formats & HTTP_FORMATS.b3multi) !== 0 && !MULTI.some(name => target.has(headers, name)))
    writeMulti(headers, target, span)
  writeBaggage(headers, target, settings.baggage)
}

/** Adds the current baggage, as far as the settings let it go. */
export function writeBaggage<H>(
  headers: H,
  target: Pick<HeaderTarget<H>, 'has' | 'add'>,
  keys: BaggageKeys | undefined,
): void {
  const baggage = baggageToSend(keys)
  if (baggage !== undefined && !target.has(headers, 'baggage')) target.add(headers, 'baggage', baggage)
}

/** The current baggage, as far as a call may take it along. */
function baggageToSend(keys: BaggageKeys | undefined): string | undefined {
  const baggage = keys === undefined ? undefined : currentFrame()?.baggage
  return baggage === undefined ? undefined : limitBaggage(baggage, keys!)
}

/** What a call that is made in `span` takes along as entries of a map: none where tracing is suppressed. */
export function entriesOf(span: PluginSpan): [string, string][] {
  if (span === SUPPRESSED) return []
  const entries: [string, string][] = [['traceparent', formatTraceparent(span)]]
  if (span.trace.state !== undefined) entries.push(['tracestate', span.trace.state])
  const baggage = baggageToSend(running.settings?.http.baggage)
  if (baggage !== undefined) entries.push(['baggage', baggage])
  return entries
}

/** What such entries say of the trace. */
export function contextOfEntries(entries: Entries): RemoteContext | undefined {
  return parseTraceparent(entries.get('traceparent'), entries.get('tracestate'))
}

const MULTI = ['x-b3-traceid', 'x-b3-sampled', 'x-b3-flags']

function writeMulti<H>(headers: H, target: HeaderTarget<H>, span: PluginSpan): void {
  const t = span.trace
  if (t.hi !== 0 || t.lo !== 0) {
    target.add(headers, 'x-b3-traceid', span.traceId)
    target.add(headers, 'x-b3-spanid', toHex(span.idHi, span.idLo))
    if (span.parentHi !== 0 || span.parentLo !== 0)
      target.add(headers, 'x-b3-parentspanid', toHex(span.parentHi, span.parentLo))
  }
  const decision = b3Decision(span)
  // Debug implies sampled, and is written in its place.
  if (decision === 'd') target.add(headers, 'x-b3-flags', '1')
  else target.add(headers, 'x-b3-sampled', decision)
}
