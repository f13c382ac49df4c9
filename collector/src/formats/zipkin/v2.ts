import { isIP } from 'node:net'
import { EventType, type SpanEvent, type SpanRecord } from 'milo/codec/span'
import { anyInteger, type FieldReader, type Fields, isEmpty, plainObject, requiredId, shortId, signed } from '../fields'
import { probabilityOf } from '../probability'
import { KINDS, OUR_NAMES, OURS, windowOf } from './names'

/**
 * Converts a span into a record. Leaves out what Zipkin's own reader leaves out, or would refuse the whole list for.
 * @param tags the span's tags, if they aren't in `raw`
 * @throws Unusable if the span has no usable ids
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
  const debug = read.bool(raw.debug, 'debug')
  const probability = debug ? 0 : probabilityOf(annotations, annotations.get('w3c.tracestate') ?? '')
  if (probability !== undefined) record.probability = probability

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
  // A host that is a service's name is for people to read. Only addresses go back into the endpoint.
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

/** Converts a value to a string: some senders write numbers, lists and objects where Zipkin has strings. */
function anyText(v: unknown): string {
  if (typeof v === 'string') return v
  return v === undefined || v === null ? '' : typeof v === 'object' ? JSON.stringify(v) : String(v)
}

/** Reads Zipkin's or OpenTelemetry's name of a kind, or protobuf's number. Work within a process has no kind. */
function readKind(v: unknown, read: FieldReader): string {
  if (isEmpty(v)) return ''
  const kind = typeof v === 'number' ? KINDS[v] : /[^._]*$/.exec(read.text(v, 'kind').toUpperCase())![0]
  return kind !== undefined && KINDS.includes(kind) ? kind : read.leave('kind', 'unknown', '')
}

/** Reads a time or duration; 0 is absent, as in Zipkin. Less than a microsecond becomes one. */
export function microseconds(v: unknown, field: string, read: FieldReader): bigint | undefined {
  return read.time(typeof v === 'number' && v > 0 && v < 1 ? 1 : v, field, 1000n)
}

interface Endpoint {
  service: string
  /** IPv4 comes first. */
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

/** Reads an address of either version from either field, as Zipkin does. Anything else, also a name, is left out. */
function readIp(v: unknown, field: string, read: FieldReader): string {
  if (isEmpty(v)) return ''
  let ip = v instanceof Uint8Array ? ipOfBytes(v) : typeof v === 'string' ? v.trim() : ''
  // Earlier versions of zipkin-js write 0 for no address.
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
