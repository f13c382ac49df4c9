import { CodecError, Reader, T, Writer } from './binary'
import type { SpanEvent } from './events'

/**
 * A span record is what one process reports of one span. In a Scribe message it has this form:
 *
 *     i32 0x8badf00d │ i32 length │ Span struct in the binary protocol
 *
 * Records follow each other without a separator. Field numbers: src/idl/milo.thrift.
 */

export const DELIMITER = 0x8badf00d
/** Bytes before the struct: delimiter and length. */
export const RECORD_HEADER = 8

export { EventType, type SpanEvent } from './events'

/** A decoded record. A field is undefined when the sender left it out, which is not the same as empty. */
export interface SpanRecord {
  traceId?: bigint
  name?: string
  id?: bigint
  parentId?: bigint
  clientHost?: string
  serverHost?: string
  events?: SpanEvent[]
  annotations?: Map<string, string>
  counters?: Map<string, bigint>
  traceIdHigh?: bigint
  service?: string
  /** The probability with which the trace was kept; 0 = forced, undefined = unknown. */
  probability?: number
}

/** Appends the record's struct (no delimiter) in the order of the field ids, as every Thrift generator does. */
export function writeSpanStruct(w: Writer, r: SpanRecord): void {
  if (r.traceId !== undefined) i64Field(w, 1, r.traceId)
  if (r.name !== undefined) stringField(w, 2, r.name)
  if (r.id !== undefined) i64Field(w, 3, r.id)
  if (r.parentId !== undefined) i64Field(w, 4, r.parentId)
  if (r.clientHost !== undefined) stringField(w, 5, r.clientHost)
  if (r.serverHost !== undefined) stringField(w, 6, r.serverHost)
  if (r.events !== undefined) {
    w.field(T.LIST, 7)
    w.byte(T.STRUCT)
    w.i32(r.events.length)
    for (const event of r.events) {
      if (event.timestamp !== undefined) i64Field(w, 1, event.timestamp)
      if (event.eventType !== undefined) {
        w.field(T.I32, 2)
        w.i32(event.eventType)
      }
      if (event.value !== undefined) stringField(w, 3, event.value)
      w.byte(T.STOP)
    }
  }
  if (r.annotations !== undefined) {
    mapField(w, 8, T.STRING, r.annotations.size)
    for (const [key, value] of r.annotations) {
      w.string(key)
      w.string(value)
    }
  }
  if (r.counters !== undefined) {
    mapField(w, 9, T.I64, r.counters.size)
    for (const [key, value] of r.counters) {
      w.string(key)
      putBigInt(w, value)
    }
  }
  if (r.traceIdHigh !== undefined) i64Field(w, 10, r.traceIdHigh)
  if (r.service !== undefined) stringField(w, 11, r.service)
  if (r.probability !== undefined) {
    w.field(T.DOUBLE, 12)
    w.double(r.probability)
  }
  w.byte(T.STOP)
}

/** Appends a whole record. `write` appends the struct; the length is filled in afterwards. */
export function writeRecord(w: Writer, write: (w: Writer) => void): void {
  const start = w.pos
  w.i32(DELIMITER)
  w.i32(0)
  write(w)
  w.buf.writeInt32BE(w.pos - start - RECORD_HEADER, start + 4)
}

export function encodeRecord(r: SpanRecord): Buffer {
  const w = new Writer(512)
  writeRecord(w, () => writeSpanStruct(w, r))
  return w.take()
}

/**
 * Reads the struct at the reader's position. Unknown fields, and known ones of another type, are skipped as Thrift does.
 * Strings that aren't UTF-8 come out with U+FFFD.
 * @throws CodecError when the bytes aren't a struct, or end within it
 */
export function readSpanStruct(reader: Reader): SpanRecord {
  const r: SpanRecord = {}
  for (;;) {
    const type = reader.byte()
    if (type === T.STOP) return r
    const id = reader.i16()
    switch ((id << 8) | type) {
      case (1 << 8) | T.I64:
        r.traceId = reader.i64()
        break
      case (2 << 8) | T.STRING:
        r.name = reader.string()
        break
      case (3 << 8) | T.I64:
        r.id = reader.i64()
        break
      case (4 << 8) | T.I64:
        r.parentId = reader.i64()
        break
      case (5 << 8) | T.STRING:
        r.clientHost = reader.string()
        break
      case (6 << 8) | T.STRING:
        r.serverHost = reader.string()
        break
      case (7 << 8) | T.LIST:
        r.events = readEvents(reader)
        break
      case (8 << 8) | T.MAP:
        r.annotations = readAnnotations(reader)
        break
      case (9 << 8) | T.MAP:
        r.counters = readCounters(reader)
        break
      case (10 << 8) | T.I64:
        r.traceIdHigh = reader.i64()
        break
      case (11 << 8) | T.STRING:
        r.service = reader.string()
        break
      case (12 << 8) | T.DOUBLE:
        r.probability = reader.double()
        break
      default:
        reader.skip(type)
    }
  }
}

function readEvents(reader: Reader): SpanEvent[] | undefined {
  const elementType = reader.byte()
  const n = reader.size(1)
  if (elementType !== T.STRUCT) {
    for (let i = 0; i < n; i++) reader.skip(elementType)
    return undefined
  }
  // An array that grows by push gets room for 17 elements, and most records have two events.
  const events = new Array<SpanEvent>(n)
  for (let i = 0; i < n; i++) events[i] = readEvent(reader)
  return events
}

function readEvent(reader: Reader): SpanEvent {
  const event: SpanEvent = {}
  for (;;) {
    const type = reader.byte()
    if (type === T.STOP) return event
    const id = reader.i16()
    if (id === 1 && type === T.I64) event.timestamp = reader.i64()
    else if (id === 2 && type === T.I32) event.eventType = reader.i32()
    else if (id === 3 && type === T.STRING) event.value = reader.string()
    else reader.skip(type)
  }
}

function readAnnotations(reader: Reader): Map<string, string> | undefined {
  const n = readMapHeader(reader, T.STRING)
  if (n === -1) return undefined
  const map = new Map<string, string>()
  for (let i = 0; i < n; i++) {
    const key = reader.string()
    map.set(key, reader.string())
  }
  return map
}

function readCounters(reader: Reader): Map<string, bigint> | undefined {
  const n = readMapHeader(reader, T.I64)
  if (n === -1) return undefined
  const map = new Map<string, bigint>()
  for (let i = 0; i < n; i++) {
    const key = reader.string()
    map.set(key, reader.i64())
  }
  return map
}

/** The size of a map from strings to `valueType`; −1 for one of other types, which is skipped. */
function readMapHeader(reader: Reader, valueType: number): number {
  const keyType = reader.byte()
  const type = reader.byte()
  const n = reader.size(2)
  // Some generators write an empty map with types of 0, which is still a map, with nothing to skip.
  if (n === 0 || (keyType === T.STRING && type === valueType)) return n
  for (let i = 0; i < n; i++) {
    reader.skip(keyType)
    reader.skip(type)
  }
  return -1
}

/** Reads one record at `pos`. @throws CodecError with code bad_delimiter, negative_length, truncated … */
export function readRecord(buf: Buffer, pos: number): { record: SpanRecord; end: number } {
  const reader = new Reader(buf, pos)
  const delimiter = reader.i32() >>> 0
  if (delimiter !== DELIMITER) {
    throw new CodecError('bad_delimiter', `0x${delimiter.toString(16)} where 0x8badf00d should be, at offset ${pos}`)
  }
  const length = reader.size(1)
  const end = reader.pos + length
  return { record: readSpanStruct(new Reader(buf, reader.pos, end)), end }
}

function stringField(w: Writer, id: number, value: string): void {
  w.field(T.STRING, id)
  w.string(value)
}

function i64Field(w: Writer, id: number, value: bigint): void {
  w.field(T.I64, id)
  putBigInt(w, value)
}

function putBigInt(w: Writer, value: bigint): void {
  w.reserve(8)
  w.pos = w.buf.writeBigInt64BE(BigInt.asIntN(64, value), w.pos)
}

function mapField(w: Writer, id: number, valueType: number, size: number): void {
  w.field(T.MAP, id)
  w.byte(T.STRING)
  w.byte(valueType)
  w.i32(size)
}
