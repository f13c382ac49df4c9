import { CodecError, Reader, T } from '../../../../src/codec/binary'
import type { SpanRecord } from '../../../../src/codec/span'
import {
  anyBool,
  attempt,
  BadInput,
  type Converted,
  FieldReader,
  type Fields,
  hexOf,
  instead,
  isObject,
  MAX_SPAN_BYTES,
  MAX_SPAN_PARTS,
  Reading,
  type Spans,
  Unusable,
} from '../fields'
import { ipOfBytes, microseconds, readSpan } from './v2'

/**
 * Zipkin's spans, version 1, into records. One of them holds what client and server say of a call, each annotation with the
 * endpoint of who said it, so it is taken apart into spans of version 2, one of each side, which v2.ts reads:
 *
 *     Thrift → the fields of JSON → one or two sides, in version 2's fields → records
 *
 * Which side has what is decided as Zipkin's V1SpanConverter does it, but never for more than two.
 */

/** What is one span's on the wire: a struct, as Scribe's entries hold it. What follows it is left alone. */
export function readZipkinV1Span(bytes: Buffer, reading = new Reading()): Converted[] {
  const read = new FieldReader('zipkin', reading)
  return convert(() => readThrift(bytes), read)
}

/** @throws BadInput before the first span, when the bytes aren't a list of structs: nothing says where the next one begins */
export function* readZipkinV1Thrift(body: Buffer, reading = new Reading()): Spans {
  const read = new FieldReader('zipkin', reading)
  let start = LIST_HEADER
  for (const end of endsOfStructs(body, reading)) {
    const bytes = body.subarray(start, end)
    for (const converted of convert(() => readThrift(bytes), read)) yield () => converted
    start = end
  }
}

/**
 * Spans of either version, told apart one by one.
 * @param json what JSON.parse made of the body: a list of spans, or of such lists, as Zipkin's own API answers, or one span
 * @throws BadInput before the first span, when it is none of them
 */
export function* readZipkinJson(json: unknown, reading = new Reading()): Spans {
  if (!Array.isArray(json) && !isZipkinSpan(json)) {
    throw new BadInput(`not Zipkin: there should be a list of spans${instead(json)}`)
  }
  const read = new FieldReader('zipkin', reading)
  for (const entry of Array.isArray(json) ? json : [json]) {
    reading.addEntries(1 + (Array.isArray(entry) ? entry.length : 0))
  }
  for (const entry of Array.isArray(json) ? json : [json]) {
    for (const span of Array.isArray(entry) ? entry : [entry]) {
      const fields = isObject(span) ? span : {}
      if (!isVersion1(fields)) yield () => attempt(() => readSpan(fields, read))
      else for (const converted of convert(() => fields, read)) yield () => converted
    }
  }
}

export function isZipkinSpan(json: unknown): boolean {
  return isObject(json) && json.traceId !== undefined && json.id !== undefined
}

/** Version 2 has no binary annotations, and no endpoint in an annotation. */
function isVersion1({ annotations, binaryAnnotations }: Fields): boolean {
  if (Array.isArray(binaryAnnotations)) return true
  return Array.isArray(annotations) && annotations.some(annotation => isObject(annotation?.endpoint))
}

function convert(fields: () => Fields, read: FieldReader): Converted[] {
  const records = attempt(() => toRecords(fields(), read))
  return records instanceof Unusable ? [records] : records
}

/** How a side begins and ends, which is also how it is told. */
const CORE = new Map<unknown, { kind: 'CLIENT' | 'SERVER'; edge: 'begin' | 'end' }>([
  ['cs', { kind: 'CLIENT', edge: 'begin' }],
  ['cr', { kind: 'CLIENT', edge: 'end' }],
  ['sr', { kind: 'SERVER', edge: 'begin' }],
  ['ss', { kind: 'SERVER', edge: 'end' }],
])
/** Binary annotations of these keys that are true name the other side. zipkin-js's Thrift has no key for a broker's. */
const ADDRESSES = ['ca', 'sa', 'ma', '']

interface Side {
  kind: string
  begin?: bigint
  end?: bigint
  endpoint?: Fields
  annotations: Fields[]
  tags: [string, unknown][]
}

function toRecords(raw: Fields, read: FieldReader): SpanRecord[] {
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
    // Said again, of another attempt.
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
    // Ruby's have '1'.
    if (!anyBool(fields.value) || endpoint === undefined || !ADDRESSES.includes(key)) tags.push(entry)
    else if (key === 'ca') clientAddress = endpoint
    else serverAddress = endpoint
  }

  const { CLIENT: client, SERVER: server } = sides
  // Work within a process, or of a server that is told by its client's address alone.
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
    // Without a value, a local component only says whose the span is.
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

/** Finagle's servers know the client's address, and put their own name to it. */
function clientOf({ endpoint }: Side, address: Fields | undefined): Fields | undefined {
  if (address === undefined || isSame(address, endpoint)) return undefined
  return address.serviceName === endpoint?.serviceName ? { ...address, serviceName: undefined } : address
}

/** @param owns whether the span's own times are this side's: the client's, where there are two */
function writeSide(raw: Fields, side: Side, remote: Fields | undefined, owns: boolean, read: FieldReader): SpanRecord {
  const timestamp = owns ? microseconds(raw.timestamp, 'timestamp', read) : undefined
  const duration = owns ? microseconds(raw.duration, 'duration', read) : undefined
  let { begin = timestamp, end } = side
  if (begin !== undefined && duration !== undefined) {
    // What was measured as one is more exact than two events.
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
    // By convention: who hasn't begun a span leaves its timestamp to who has.
    shared: side.kind === 'SERVER' && timestamp === undefined,
  }
  const record = readSpan(v2, read, side.tags)
  if (end !== undefined) record.events!.at(-1)!.timestamp = end
  return record
}

/** An annotation, and who made it. */
interface Entry {
  fields: Fields
  endpoint: Fields | undefined
}

function readEntry(fields: Fields, read: FieldReader): Entry {
  return { fields, endpoint: read.object(fields.endpoint, 'endpoint') }
}

/** Whether it is that side's: services tell, and only where both are the same one, addresses. */
function isOf(endpoint: Fields | undefined, { endpoint: mine }: Side, other: Side): boolean {
  if (endpoint === undefined || mine === undefined) return false
  return mine.serviceName === other.endpoint?.serviceName
    ? isSame(endpoint, mine)
    : endpoint.serviceName === mine.serviceName
}

function isSame(a: Fields, b: Fields | undefined): boolean {
  return a.serviceName === b?.serviceName && a.ipv4 === b?.ipv4 && a.ipv6 === b?.ipv6 && a.port === b?.port
}

/** A struct's fields by their ids: what each is called in JSON, its type, and how it is read. */
type Layout = Record<number, readonly [name: string, type: T, read: (r: Reader) => unknown]>

const readId = (r: Reader) => hexOf(r.i64(), 16)
const readI64 = (r: Reader) => r.i64()
const readString = (r: Reader) => r.string()

const ENDPOINT: Layout = {
  1: ['ipv4', T.I32, r => readIpv4(r.i32())],
  2: ['port', T.I16, r => r.i16() & 0xffff],
  3: ['serviceName', T.STRING, readString],
  4: ['ipv6', T.STRING, r => readIpv6(r.bytes())],
}
const readEndpoint = (r: Reader) => readStruct(r, ENDPOINT)

const ANNOTATION: Layout = {
  1: ['timestamp', T.I64, readI64],
  2: ['value', T.STRING, readString],
  3: ['endpoint', T.STRUCT, readEndpoint],
}
const BINARY_ANNOTATION: Layout = {
  1: ['key', T.STRING, readString],
  2: ['value', T.STRING, r => r.bytes()],
  3: ['type', T.I32, r => r.i32()],
  4: ['endpoint', T.STRUCT, readEndpoint],
}
const SPAN: Layout = {
  1: ['traceId', T.I64, readId],
  3: ['name', T.STRING, readString],
  4: ['id', T.I64, readId],
  5: ['parentId', T.I64, readId],
  6: ['annotations', T.LIST, r => readStructs(r, ANNOTATION)],
  8: ['binaryAnnotations', T.LIST, r => readStructs(r, BINARY_ANNOTATION).map(withValue)],
  9: ['debug', T.BOOL, r => r.byte() !== 0],
  10: ['timestamp', T.I64, readI64],
  11: ['duration', T.I64, readI64],
  12: ['traceIdHigh', T.I64, readId],
}

/** A span as JSON has it. */
function readThrift(bytes: Buffer): Fields {
  if (bytes.length > MAX_SPAN_BYTES) throw new Unusable('too_large', `a span is over ${MAX_SPAN_BYTES} bytes`)
  const span = attemptThrift(
    () => readStruct(new Reader(bytes), SPAN),
    ({ code, message }) => new Unusable(code, message),
  )
  if (span.traceId !== undefined) span.traceId = `${span.traceIdHigh ?? ''}${span.traceId}`
  return span
}

/** @throws what `refuse` makes of a CodecError */
function attemptThrift<V>(read: () => V, refuse: (error: CodecError) => unknown): V {
  // A frame may hold a million bad spans, and most of an error's cost is its stack.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return read()
  } catch (error) {
    throw error instanceof CodecError ? refuse(error) : error
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

function readStruct(r: Reader, layout: Layout): Fields {
  const fields: Fields = {}
  for (;;) {
    const type = r.byte()
    if (type === T.STOP) return fields
    const known = layout[r.i16()]
    if (known?.[1] === type) fields[known[0]] = known[2](r)
    else r.skip(type)
  }
}

function readStructs(r: Reader, layout: Layout): Fields[] {
  const type = r.byte()
  const n = r.size(1)
  if (n > MAX_SPAN_PARTS) throw new Unusable('too_large', `a span has more than ${MAX_SPAN_PARTS} annotations`)
  const structs: Fields[] = []
  for (let i = 0; i < n; i++) {
    if (type === T.STRUCT) structs.push(readStruct(r, layout))
    else r.skip(type)
  }
  return structs
}

/** What is no address stays what it is, to be left out. */
function readIpv6(bytes: Buffer): string | Buffer {
  return ipOfBytes(bytes) || bytes
}

function readIpv4(address: number): string | undefined {
  return address === 0 ? undefined : [24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.')
}

const [BOOL, I16, I32, I64, DOUBLE, STRING] = [0, 2, 3, 4, 5, 6]

/** The value by its type: text, numbers in decimal; what has no type, or another length than its type, in base64. */
function withValue({ key, value, type, endpoint }: Fields): Fields {
  return { key, value: value === undefined ? undefined : readValue(value as Buffer, type), endpoint }
}

function readValue(bytes: Buffer, type: unknown): string | boolean {
  const { length } = bytes
  if (type === STRING) return bytes.toString('utf8')
  if (type === BOOL && length === 1) return bytes[0] !== 0
  if (type === I16 && length === 2) return String(bytes.readInt16BE())
  if (type === I32 && length === 4) return String(bytes.readInt32BE())
  if (type === I64 && length === 8) return String(bytes.readBigInt64BE())
  if (type === DOUBLE && length === 8) return String(bytes.readDoubleBE())
  return bytes.toString('base64')
}

/** The elements' type, and how many they are. */
const LIST_HEADER = 5

function endsOfStructs(body: Buffer, reading: Reading): number[] {
  return attemptThrift(
    () => {
      const r = new Reader(body)
      if (r.byte() !== T.STRUCT) throw new BadInput('not Zipkin: there should be a list of spans')
      const n = r.size(1)
      reading.addEntries(n)
      const ends: number[] = []
      for (let i = 0; i < n; i++) {
        r.skip(T.STRUCT)
        ends.push(r.pos)
      }
      return ends
    },
    ({ message }) => new BadInput(`not Zipkin: ${message}`),
  )
}
