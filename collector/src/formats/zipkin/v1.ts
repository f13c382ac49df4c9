import type { SpanRecord } from 'milo/codec/span'
import { anyBool, type FieldReader, type Fields, MAX_SPAN_PARTS, Unusable } from '../fields'
import { microseconds, readSpan } from './v2'

/**
 * Converts Zipkin's spans, version 1, into records. A span holds the reports of client and server, each annotation with the
 * endpoint of the process that made it. So the span is split into spans of version 2, one for each side, which v2.ts reads:
 *
 *     Thrift → the fields of JSON → one or two sides, in version 2's fields → records
 *
 * Annotations are given to a side by the rules of Zipkin's V1SpanConverter, but there are never more than two sides.
 */

/** The annotations that begin and end a side. They also name the side. */
const CORE = new Map<unknown, { kind: 'CLIENT' | 'SERVER'; edge: 'begin' | 'end' }>([
  ['cs', { kind: 'CLIENT', edge: 'begin' }],
  ['cr', { kind: 'CLIENT', edge: 'end' }],
  ['sr', { kind: 'SERVER', edge: 'begin' }],
  ['ss', { kind: 'SERVER', edge: 'end' }],
])
/** A binary annotation with one of these keys that is true names the other side. zipkin-js's Thrift has '' for a broker's. */
const ADDRESSES = ['ca', 'sa', 'ma', '']

interface Side {
  kind: string
  begin?: bigint
  end?: bigint
  endpoint?: Fields
  annotations: Fields[]
  tags: [string, unknown][]
}

export function toRecords(raw: Fields, read: FieldReader): SpanRecord[] {
  const annotations = read.objects(raw.annotations, 'annotation').map(entry => readEntry(entry, read))
  const binary = read.objects(raw.binaryAnnotations, 'binary_annotation').map(entry => readEntry(entry, read))
  if (annotations.length + binary.length > MAX_SPAN_PARTS) {
    throw new Unusable('too_large', `a span has more than ${MAX_SPAN_PARTS} annotations`)
  }

  const sides: Record<string, Side> = {}
  const events: Entry[] = []
  for (const entry of annotations) {
    const core = CORE.get(entry.fields.value)
    if (core === undefined) {
      events.push(entry)
      continue
    }
    const { kind, edge } = core
    const side = (sides[kind] ??= { kind, annotations: [], tags: [] })
    // A second one belongs to another attempt.
    if (side[edge] !== undefined) events.push(entry)
    else side[edge] = microseconds(entry.fields.timestamp, 'annotation_timestamp', read)
    side.endpoint ??= entry.endpoint
  }

  let clientAddress: Fields | undefined
  let serverAddress: Fields | undefined
  const tags: Entry[] = []
  for (const entry of binary) {
    const { fields, endpoint } = entry
    const key = read.text(fields.key, 'key')
    // Ruby writes '1' for true.
    if (!anyBool(fields.value) || endpoint === undefined || !ADDRESSES.includes(key)) tags.push(entry)
    else if (key === 'ca') clientAddress = endpoint
    else serverAddress = endpoint
  }

  const { CLIENT: client, SERVER: server } = sides
  // Without cs, cr, sr and ss it is work within a process, or a server's span, which only the address of its client shows.
  const isServed = clientAddress !== undefined && serverAddress === undefined
  const first: Side = client ?? server ?? { kind: isServed ? 'SERVER' : '', annotations: [], tags: [] }
  const second = client && server
  const sideOf = ({ endpoint }: Entry): Side => {
    if (second && isOf(endpoint, second, first) && !isOf(endpoint, first, second)) return second
    first.endpoint ??= endpoint
    return first
  }
  for (const entry of events) sideOf(entry).annotations.push(entry.fields)
  for (const entry of tags) {
    const side = sideOf(entry)
    // A local component (lc) without a value only carries the endpoint.
    const { key, value } = entry.fields
    if (key !== 'lc' || value !== '') side.tags.push([read.text(key, 'key'), value])
  }
  if (first.kind === '') first.endpoint ??= clientAddress

  const all = second ? [first, second] : [first]
  return all.map(side => {
    const remote = side.kind === 'SERVER' ? clientOf(side, clientAddress) : serverAddress
    return writeSide(raw, side, remote, side === first, read)
  })
}

/** Returns the client's endpoint. Finagle's servers report the client's address under their own service name: it is dropped. */
function clientOf({ endpoint }: Side, address: Fields | undefined): Fields | undefined {
  if (address === undefined || isSame(address, endpoint)) return undefined
  return address.serviceName === endpoint?.serviceName ? { ...address, serviceName: undefined } : address
}

/** @param owns true if the span's own times are this side's. If there are two sides, they are the client's */
function writeSide(raw: Fields, side: Side, remote: Fields | undefined, owns: boolean, read: FieldReader): SpanRecord {
  const timestamp = owns ? microseconds(raw.timestamp, 'timestamp', read) : undefined
  const duration = owns ? microseconds(raw.duration, 'duration', read) : undefined
  let { begin = timestamp, end } = side
  if (begin !== undefined && duration !== undefined) {
    // A measured duration is more exact than the difference of two events.
    if (timestamp !== undefined) [begin, end] = [timestamp, timestamp + duration]
    else end ??= begin + duration
  }
  const v2 = {
    traceId: raw.traceId,
    id: raw.id,
    parentId: raw.parentId,
    name: raw.name,
    debug: raw.debug,
    kind: side.kind,
    timestamp: begin,
    duration: begin === undefined ? duration : undefined,
    localEndpoint: side.endpoint,
    remoteEndpoint: remote,
    annotations: side.annotations,
    // By convention, a span's timestamp is set only by the side that began it.
    shared: side.kind === 'SERVER' && timestamp === undefined,
  }
  const record = readSpan(v2, read, side.tags)
  if (end !== undefined) record.events!.at(-1)!.timestamp = end
  return record
}

/** An annotation, and the endpoint of the process that made it. */
interface Entry {
  fields: Fields
  endpoint: Fields | undefined
}

function readEntry(fields: Fields, read: FieldReader): Entry {
  return { fields, endpoint: read.object(fields.endpoint, 'endpoint') }
}

/** Tells whether an endpoint is that side's: by its service or, if both sides have the same service, by its address. */
function isOf(endpoint: Fields | undefined, { endpoint: mine }: Side, other: Side): boolean {
  if (endpoint === undefined || mine === undefined) return false
  return mine.serviceName === other.endpoint?.serviceName
    ? isSame(endpoint, mine)
    : endpoint.serviceName === mine.serviceName
}

function isSame(a: Fields, b: Fields | undefined): boolean {
  return a.serviceName === b?.serviceName && a.ipv4 === b?.ipv4 && a.ipv6 === b?.ipv6 && a.port === b?.port
}
