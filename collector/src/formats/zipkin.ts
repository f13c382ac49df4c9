import { isIP, isIPv4 } from 'node:net'
import { EventType, type SpanEvent, type SpanRecord } from '../../../src/codec/span'
import {
  attempt,
  BadInput,
  bool,
  EntryCount,
  type Fields,
  hexOf,
  isEmpty,
  list,
  MAX_SPAN_BYTES,
  object,
  plainObject,
  type Spans,
  signed,
  text,
  Unusable,
  u64,
} from './fields'
import { decode, fieldBytes, messageType } from './protobuf'

/**
 * Zipkin's spans, version 2, as JSON and protobuf, into records and back. A tag becomes an annotation of its name; what a
 * record has no place for stands in annotations that begin with `zipkin.`. docs/wire-format.md has the whole table.
 */

const KINDS = ['', 'CLIENT', 'SERVER', 'PRODUCER', 'CONSUMER']
const OURS = {
  /** PRODUCER or CONSUMER: the others are told by the events. */
  kind: 'zipkin.kind',
  shared: 'zipkin.shared',
  /** Microseconds, of a span without a timestamp. */
  duration: 'zipkin.duration',
  localIp: 'zipkin.local.ip',
  localPort: 'zipkin.local.port',
  remoteService: 'zipkin.remote.service',
  remoteIp: 'zipkin.remote.ip',
  remotePort: 'zipkin.remote.port',
  /** JSON of tags that have one of these names. */
  tags: 'zipkin.tags',
} as const
const OUR_NAMES = new Set<string>(Object.values(OURS))

/**
 * @param json what JSON.parse made of the body: a list of spans, or of such lists, as Zipkin's own API answers
 * @throws BadInput before the first span
 */
export function* readZipkinJson(json: unknown): Spans {
  if (!Array.isArray(json)) throw new BadInput('not Zipkin: there should be a list of spans')
  const count = new EntryCount()
  for (const entry of json) count.add(1 + (Array.isArray(entry) ? entry.length : 0))
  for (const entry of json) {
    if (Array.isArray(entry)) for (const span of entry) yield () => attempt(() => readSpan(fieldsOf(span)))
    else yield () => attempt(() => readSpan(fieldsOf(entry)))
  }
}

/** @throws BadInput before the first span, when the bytes aren't a list of spans */
export function* readZipkinProtobuf(body: Uint8Array): Spans {
  const listType = messageType('zipkin.proto3.ListOfSpans')
  const spanType = messageType('zipkin.proto3.Span')
  const count = new EntryCount()
  for (const _ of fieldBytes(body, listType, 'spans')) count.add(1)
  for (const bytes of fieldBytes(body, listType, 'spans')) {
    yield () =>
      attempt(() => {
        if (bytes.length > MAX_SPAN_BYTES) throw new Unusable('too_large', `a span is over ${MAX_SPAN_BYTES} bytes`)
        return readSpan(decode(bytes, spanType))
      })
  }
}

function fieldsOf(span: unknown): Fields {
  return object(span, 'a span') ?? {}
}

/**
 * @param tags where they don't stand in `raw`
 * @throws Unusable
 */
export function readSpan(raw: Fields, tags = Object.entries(object(raw.tags, 'tags') ?? {})): SpanRecord {
  const traceId = zipkinId(raw.traceId, 32, 'trace_id')
  if (traceId === 0n) throw new Unusable('no_trace_id', 'traceId is absent or zero')
  const id = zipkinId(raw.id, 16, 'span_id')
  if (id === 0n) throw new Unusable('no_span_id', 'id is absent or zero')
  const record: SpanRecord = {
    traceId: signed(traceId),
    id: signed(id),
    parentId: signed(zipkinId(raw.parentId, 16, 'parent_id')),
  }
  const high = signed(traceId >> 64n)
  if (high !== 0n) record.traceIdHigh = high
  const name = text(raw.name, 'name')
  if (name !== '') record.name = name

  const annotations = new Map<string, string>()
  const ownTags: [string, string][] = []
  for (const [key, v] of tags) {
    // Some senders leave numbers as they are.
    const value = typeof v === 'number' || typeof v === 'boolean' ? String(v) : text(v, 'a tag')
    if (OUR_NAMES.has(key)) ownTags.push([key, value])
    else annotations.set(key, value)
  }
  const add = (key: string, value: string | number | undefined) => {
    if (value !== undefined && value !== '' && value !== 0) annotations.set(key, String(value))
  }
  if (ownTags.length > 0) add(OURS.tags, JSON.stringify(plainObject(ownTags)))

  const kind = typeof raw.kind === 'number' ? (KINDS[raw.kind] ?? '') : text(raw.kind, 'kind').toUpperCase()
  if (!KINDS.includes(kind)) throw new Unusable('bad_type', `kind is none of ${KINDS.slice(1).join(', ')}`)
  if (kind === 'PRODUCER' || kind === 'CONSUMER') add(OURS.kind, kind)
  if (bool(raw.shared, 'shared')) add(OURS.shared, 'true')
  if (bool(raw.debug, 'debug')) record.probability = 0

  const start = microseconds(raw.timestamp, 'timestamp')
  const duration = microseconds(raw.duration, 'duration')
  const events: SpanEvent[] = []
  const [first, last] = windowOf(kind)
  events.push({ timestamp: start, ...first })
  for (const entry of list(raw.annotations, 'annotations')) {
    const { timestamp, value } = object(entry, 'an annotation') ?? {}
    events.push({
      timestamp: microseconds(timestamp, 'timestamp'),
      eventType: EventType.CUSTOM,
      value: text(value, "an annotation's value"),
    })
  }
  if (start === undefined) add(OURS.duration, duration?.toString())
  const isTimed = start !== undefined && duration !== undefined
  events.push({ timestamp: isTimed ? start + duration : undefined, ...last })
  record.events = events

  const local = readEndpoint(raw.localEndpoint, 'localEndpoint')
  const remote = readEndpoint(raw.remoteEndpoint, 'remoteEndpoint')
  if (local.service !== '') record.service = local.service
  const isServer = kind === 'SERVER'
  const localHost = local.ips[0]
  // For people; what is no address isn't taken for one on the way back.
  const remoteHost = remote.ips[0] ?? (isIP(remote.service) === 0 ? remote.service || undefined : undefined)
  if (localHost !== undefined) record[isServer ? 'serverHost' : 'clientHost'] = localHost
  if (remoteHost !== undefined) record[isServer ? 'clientHost' : 'serverHost'] = remoteHost
  add(OURS.localIp, local.ips[1])
  add(OURS.localPort, local.port)
  add(OURS.remoteService, remote.service)
  add(OURS.remoteIp, remote.ips[1])
  add(OURS.remotePort, remote.port)
  if (annotations.size > 0) record.annotations = annotations
  return record
}

function windowOf(kind: string): readonly [SpanEvent, SpanEvent] {
  if (kind === 'CLIENT') return [{ eventType: EventType.CLIENT_SEND }, { eventType: EventType.CLIENT_RECV }]
  if (kind === 'SERVER') return [{ eventType: EventType.SERVER_RECV }, { eventType: EventType.SERVER_SEND }]
  return [
    { eventType: EventType.CUSTOM, value: 'milo.start' },
    { eventType: EventType.CUSTOM, value: 'milo.end' },
  ]
}

/** Up to so many hex digits, or bytes; 0 when absent. */
function zipkinId(v: unknown, digits: number, what: string): bigint {
  if (isEmpty(v)) return 0n
  const hex = v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v
  if (typeof hex !== 'string' || hex.length > digits || !/^[\da-f]*$/i.test(hex)) {
    throw new Unusable(`bad_${what}`, `${what} is not up to ${digits} hex digits`)
  }
  return BigInt(`0x${hex}`)
}

/** Undefined for 0, as Zipkin has it. Some senders have fractions. */
export function microseconds(v: unknown, what: string): bigint | undefined {
  const us = u64(typeof v === 'number' ? Math.floor(v) : v, what)
  if (us >= 2n ** 62n) throw new Unusable('bad_type', `${what} is more than 2^62`)
  return us || undefined
}

interface Endpoint {
  service: string
  /** IPv4 first. */
  ips: string[]
  port: number
}

function readEndpoint(raw: unknown, what: string): Endpoint {
  const endpoint = object(raw, what) ?? {}
  const ips = [readIp(endpoint.ipv4, 4, 'ipv4'), readIp(endpoint.ipv6, 6, 'ipv6')].filter(ip => ip !== '')
  return { service: text(endpoint.serviceName, 'serviceName'), ips, port: Number(u64(endpoint.port, 'port')) }
}

export function readIp(v: unknown, version: 4 | 6, what: string): string {
  if (isEmpty(v)) return ''
  if (v instanceof Uint8Array) {
    if (version === 4 && v.length === 4) return v.join('.')
    if (version === 6 && v.length === 16)
      return new URL(`http://[${Buffer.from(v).toString('hex').match(/.{4}/g)!.join(':')}]`).hostname.slice(1, -1)
  } else {
    const ip = text(v, what)
    if (isIP(ip) === version) return ip
  }
  throw new Unusable('bad_type', `${what} is not an address of version ${version}`)
}

/** A list of spans in Zipkin's JSON. */
export function toZipkinJson(records: SpanRecord[]): Fields[] {
  const usable = records.filter(({ traceId, id }) => traceId !== undefined && id !== undefined)
  const clients = new Set(usable.filter(record => sideOf(record) === 'CLIENT').map(({ id }) => id))
  return usable.map(record => writeSpan(record, clients.has(record.id)))
}

function sideOf({ events = [] }: SpanRecord): string {
  for (const { eventType } of events) {
    if (eventType === EventType.CLIENT_SEND || eventType === EventType.CLIENT_RECV) return 'CLIENT'
    if (eventType === EventType.SERVER_SEND || eventType === EventType.SERVER_RECV) return 'SERVER'
  }
  return ''
}

/** @param called whether the client's half is there, too: then the server's shares its id */
function writeSpan(record: SpanRecord, called: boolean): Fields {
  const { events = [] } = record
  const annotations = record.annotations ?? new Map<string, string>()
  const get = (key: string) => annotations.get(key) || undefined
  const side = sideOf(record)
  const isOwn = ownEvents(side, events)
  const times = events
    .flatMap(e => (isOwn(e) && e.timestamp !== undefined ? e.timestamp : []))
    .sort((a, b) => (a < b ? -1 : 1))
  const [start, end] = [times[0], times.at(-1)]
  const tags = [...annotations].filter(([key]) => !OUR_NAMES.has(key))
  for (const [key, value] of record.counters ?? []) tags.push([key, String(value)])
  if (record.probability) tags.push(['milo.probability', String(record.probability)])
  const [localHost, remoteHost] =
    side === 'SERVER' ? [record.serverHost, record.clientHost] : [record.clientHost, record.serverHost]
  return prune({
    traceId: (record.traceIdHigh ? hexOf(record.traceIdHigh, 16) : '') + hexOf(record.traceId!, 16),
    id: hexOf(record.id!, 16),
    parentId: record.parentId ? hexOf(record.parentId, 16) : undefined,
    kind: get(OURS.kind) ?? (side || undefined),
    name: record.name || undefined,
    timestamp: start === undefined ? undefined : Number(start),
    duration: start === undefined ? numberOf(get(OURS.duration)) : Number(end! - start) || undefined,
    localEndpoint: endpoint(record.service, [localHost, get(OURS.localIp)], get(OURS.localPort)),
    remoteEndpoint: endpoint(get(OURS.remoteService), [remoteHost, get(OURS.remoteIp)], get(OURS.remotePort)),
    annotations: events
      .filter(e => !isOwn(e))
      .map(e =>
        prune({
          timestamp: e.timestamp === undefined ? undefined : Number(e.timestamp),
          value: e.value ?? `event ${e.eventType}`,
        }),
      ),
    tags: plainObject([...tags, ...parseTags(get(OURS.tags))]),
    debug: record.probability === 0 || undefined,
    shared: get(OURS.shared) !== undefined || (side === 'SERVER' && called) || undefined,
  })
}

/** Those that say when a span began and ended, and nothing else. */
function ownEvents(side: string, events: SpanEvent[]): (event: SpanEvent) => boolean {
  if (side !== '') {
    const types = windowOf(side).map(({ eventType }) => eventType)
    return event => types.includes(event.eventType)
  }
  const begin = events.find(e => e.eventType === EventType.CUSTOM && e.value === 'milo.start')
  const end = events.findLast(e => e.eventType === EventType.CUSTOM && e.value === 'milo.end')
  return event => event === begin || event === end
}

function endpoint(service: string | undefined, hosts: (string | undefined)[], port: string | undefined) {
  const ips = hosts.filter(host => host !== undefined && isIP(host) !== 0)
  const fields = prune({
    serviceName: service || undefined,
    ipv4: ips.find(ip => isIPv4(ip!)),
    ipv6: ips.find(ip => !isIPv4(ip!)),
    port: numberOf(port),
  })
  return Object.keys(fields).length === 0 ? undefined : fields
}

function numberOf(text: string | undefined): number | undefined {
  return Number(text) || undefined
}

function parseTags(json: string | undefined): [string, string][] {
  try {
    return Object.entries(JSON.parse(json ?? '{}')).map(([key, value]) => [key, String(value)])
  } catch {
    return []
  }
}

function prune(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([, v]) => v !== undefined && !(typeof v === 'object' && v !== null && Object.keys(v).length === 0),
    ),
  )
}
