import { isIP, isIPv4 } from 'node:net'
import { EventType, type SpanEvent, type SpanRecord } from '../../../../src/codec/span'
import { IdSet } from '../../record/ids'
import {
  anyInteger,
  attempt,
  FieldReader,
  type Fields,
  hexOf,
  isEmpty,
  plainObject,
  Reading,
  requiredId,
  type Spans,
  shortId,
  signed,
} from '../fields'
import { decode, fieldBytes } from '../protobuf'
import { ZIPKIN_TYPES } from './schema'

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

/** @throws BadInput before the first span, when the bytes aren't a list of spans */
export function* readZipkinProtobuf(body: Uint8Array, reading = new Reading()): Spans {
  const spans = [ZIPKIN_TYPES.ListOfSpans.fields.spans!.id]
  for (const _ of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, spans)) reading.addEntries(1)
  for (const bytes of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, spans, true))
    reading.passOver([`field ${bytes[0]! >> 3} of ListOfSpans`])
  const read = new FieldReader('zipkin', reading)
  for (const bytes of fieldBytes(body, ZIPKIN_TYPES.ListOfSpans, spans)) {
    yield () => attempt(() => readSpan(decode(bytes, ZIPKIN_TYPES.Span, read), read))
  }
}

/**
 * Leaves out what Zipkin's own reader leaves out or would refuse the whole list for.
 * @param tags where they don't stand in `raw`
 * @throws Unusable
 */
export function readSpan(
  raw: Fields,
  read: FieldReader,
  tags = Object.entries(read.object(raw.tags, 'tags') ?? {}),
): SpanRecord {
  const traceId = requiredId(raw.traceId, 16, 'trace_id', shortId)
  const id = requiredId(raw.id, 8, 'span_id', shortId)
  const parentId = read.id(raw.parentId, 8, 'parent_id', shortId) ?? 0n
  const record: SpanRecord = {
    traceId: signed(traceId),
    id: signed(id),
    parentId: parentId === id ? read.leave('parent_id', 'self', 0n) : signed(parentId),
  }
  const high = signed(traceId >> 64n)
  if (high !== 0n) record.traceIdHigh = high
  const name = read.text(raw.name, 'name')
  if (name !== '') record.name = name

  const annotations = new Map<string, string>()
  const ownTags: [string, string][] = []
  for (const [key, v] of tags) {
    const value = anyText(v)
    if (OUR_NAMES.has(key)) ownTags.push([key, value])
    else annotations.set(key, value)
  }
  const add = (key: string, value: string | number | undefined) => {
    if (value !== undefined && value !== '' && value !== 0) annotations.set(key, String(value))
  }
  if (ownTags.length > 0) add(OURS.tags, JSON.stringify(plainObject(ownTags)))

  const kind = readKind(raw.kind, read)
  if (kind === 'PRODUCER' || kind === 'CONSUMER') add(OURS.kind, kind)
  if (read.bool(raw.shared, 'shared')) add(OURS.shared, 'true')
  if (read.bool(raw.debug, 'debug')) record.probability = 0

  const start = microseconds(raw.timestamp, 'timestamp', read)
  const duration = microseconds(raw.duration, 'duration', read)
  const events: SpanEvent[] = []
  const [first, last] = windowOf(kind)
  events.push({ timestamp: start, ...first })
  for (const { timestamp, value } of read.objects(raw.annotations, 'annotation')) {
    events.push({
      timestamp: microseconds(timestamp, 'annotation_timestamp', read),
      eventType: EventType.CUSTOM,
      value: anyText(value),
    })
  }
  if (start === undefined) add(OURS.duration, duration?.toString())
  const isTimed = start !== undefined && duration !== undefined
  events.push({ timestamp: isTimed ? start + duration : undefined, ...last })
  record.events = events

  const local = readEndpoint(raw.localEndpoint, 'local_endpoint', read)
  const remote = readEndpoint(raw.remoteEndpoint, 'remote_endpoint', read)
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

/** Some senders leave numbers, lists and objects as they are. */
function anyText(v: unknown): string {
  if (typeof v === 'string') return v
  return v === undefined || v === null ? '' : typeof v === 'object' ? JSON.stringify(v) : String(v)
}

/** By its name, or OpenTelemetry's name for it; protobuf has numbers. Work within a process has none. */
function readKind(v: unknown, read: FieldReader): string {
  if (isEmpty(v)) return ''
  const kind = typeof v === 'number' ? KINDS[v] : /[^._]*$/.exec(read.text(v, 'kind').toUpperCase())![0]
  return kind !== undefined && KINDS.includes(kind) ? kind : read.leave('kind', 'unknown', '')
}

function windowOf(kind: string): readonly [SpanEvent, SpanEvent] {
  if (kind === 'CLIENT') return [{ eventType: EventType.CLIENT_SEND }, { eventType: EventType.CLIENT_RECV }]
  if (kind === 'SERVER') return [{ eventType: EventType.SERVER_RECV }, { eventType: EventType.SERVER_SEND }]
  return [
    { eventType: EventType.CUSTOM, value: 'milo.start' },
    { eventType: EventType.CUSTOM, value: 'milo.end' },
  ]
}

/** Undefined for 0, as Zipkin has it. What took less than a microsecond took one. */
export function microseconds(v: unknown, field: string, read: FieldReader): bigint | undefined {
  return read.time(typeof v === 'number' && v > 0 && v < 1 ? 1 : v, field, 1000n)
}

interface Endpoint {
  service: string
  /** IPv4 first. */
  ips: string[]
  port: number
}

function readEndpoint(raw: unknown, field: string, read: FieldReader): Endpoint {
  const { serviceName, ipv4, ipv6, port } = read.object(raw, field) ?? {}
  const ips = new Set([readIp(ipv4, 'ipv4', read), readIp(ipv6, 'ipv6', read)])
  return {
    service: read.text(serviceName, 'service_name'),
    ips: [...ips].filter(ip => ip !== '').sort((a, b) => isIP(a) - isIP(b)),
    port: Number(read.integer(port, 'port', 0n, 65_535n) ?? 0n),
  }
}

/** An address of either version, whichever field it stands in, as Zipkin takes it; anything else, a name too, is left out. */
export function readIp(v: unknown, field: string, read: FieldReader): string {
  if (isEmpty(v)) return ''
  let ip = v instanceof Uint8Array ? ipOfBytes(v) : typeof v === 'string' ? v.trim() : ''
  // Earlier zipkin-js has 0 for no address.
  if (anyInteger(v) === 0n) return ''
  const mapped = /^::(?:ffff:(?:0:)?)?(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1]
  if (mapped !== undefined) ip = mapped
  return isIP(ip) !== 0 ? ip : read.leave(field, 'bad_address', '')
}

export function ipOfBytes(v: Uint8Array): string {
  if (v.length === 4) return v.join('.')
  if (v.length !== 16) return ''
  if (v.subarray(0, 10).every(byte => byte === 0) && v[10] === 0xff && v[11] === 0xff) return v.subarray(12).join('.')
  return new URL(`http://[${Buffer.from(v).toString('hex').match(/.{4}/g)!.join(':')}]`).hostname.slice(1, -1)
}

/** A list of spans in Zipkin's JSON. */
export function toZipkinJson(records: SpanRecord[]): Fields[] {
  const usable = records.filter(({ traceId, id }) => traceId !== undefined && id !== undefined)
  const clients = new IdSet(usable.filter(record => sideOf(record) === 'CLIENT').map(({ id }) => id!))
  return usable.map(record => writeSpan(record, clients.has(record.id!)))
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
