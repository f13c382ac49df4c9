import { putString, T, Writer } from '../codec/binary'
import { LOCAL_END, LOCAL_START } from '../codec/events'
import { DELIMITER, RECORD_HEADER } from '../codec/span'
import { END_EVENT, Kind, type LiveSpan, START_EVENT } from '../trace/span'
import { memoryOf } from './buffer'

/** The bytes of a record besides its strings and lists, at most. */
const RECORD_BYTES = 256

/**
 * Appends an ended span as a record (src/idl/milo.thrift): the SDK's own encoder, which allocates nothing. Room is made once, and the
 * position is a local variable: the Writer's methods, which keep both for each value, take twice as long.
 * @returns the record's struct length in bytes
 */
export function writeSpan(w: Writer, span: LiveSpan, service: string, host: string): number {
  w.reserve(roomOf(span, service, host))
  const { trace, kind, events, counters, shared, own } = span
  const { buf: b, view, pos: start } = w
  view.setInt32(start, DELIMITER)
  let p = putId(view, start + RECORD_HEADER, 1, trace.hi, trace.lo)
  p = putStringField(b, view, p, 2, span.name)
  p = putId(view, p, 3, span.idHi, span.idLo)
  p = putId(view, p, 4, span.parentHi, span.parentLo)
  p = putStringField(b, view, p, kind === Kind.SERVER ? 6 : 5, host)

  p = putField(view, p, T.LIST, 7)
  b[p] = T.STRUCT
  view.setInt32(p + 1, 2 + (events === undefined ? 0 : events.length / 2))
  p = putEvent(b, view, p + 5, span.startUs, START_EVENT[kind], kind === Kind.LOCAL ? LOCAL_START : undefined)
  if (events !== undefined) {
    for (let i = 0; i < events.length; i += 2)
      p = putEvent(b, view, p, events[i] as number, START_EVENT[Kind.LOCAL], events[i + 1] as string)
  }
  p = putEvent(b, view, p, span.endUs, END_EVENT[kind], kind === Kind.LOCAL ? LOCAL_END : undefined)

  if (shared !== undefined || own !== undefined) {
    const texts = (shared?.first.length ?? 0) + (shared?.second?.length ?? 0) + (own?.length ?? 0)
    p = putMap(b, view, p, 8, T.STRING, texts / 2)
    if (shared !== undefined) p = putList(b, p, shared.first)
    if (shared?.second !== undefined) p = putList(b, p, shared.second)
    if (own !== undefined) for (let i = 0; i < own.length; i++) p = putString(b, view, p, own[i]!)
  }
  if (counters !== undefined) {
    p = putMap(b, view, p, 9, T.I64, counters.length / 2)
    for (let i = 0; i < counters.length; i += 2) {
      p = putString(b, view, p, counters[i] as string)
      p = putNumber(view, p, counters[i + 1] as number)
    }
  }
  if (trace.highHi !== 0 || trace.highLo !== 0) p = putId(view, p, 10, trace.highHi, trace.highLo)
  p = putStringField(b, view, p, 11, service)
  if (!Number.isNaN(trace.probability)) {
    p = putField(view, p, T.DOUBLE, 12)
    view.setFloat64(p, trace.probability)
    p += 8
  }
  b[p++] = T.STOP
  const length = p - start - RECORD_HEADER
  view.setInt32(start + 4, length)
  w.pos = p
  return length
}

/**
 * How many bytes the record takes at most: three for a character, for which `memoryOf` has counted two, and for each string and
 * number less than one and a half times what it has counted. The lists, which have gone cold, aren't looked at again.
 */
function roomOf(span: LiveSpan, service: string, host: string): number {
  const { name, shared } = span
  // It is undefined, or no number, for a name that the application has made something else.
  if (typeof name !== 'string') throw new TypeError('its name must be a string')
  if (span.bytes === 0) span.bytes = memoryOf(span)
  let bytes = RECORD_BYTES + 1.5 * span.bytes + 3 * (name.length + service.length + host.length)
  if (shared !== undefined) bytes += bytesOf(shared.first).length
  if (shared?.second !== undefined) bytes += bytesOf(shared.second).length
  return bytes
}

/** The bytes of a list that spans share: a property of the list. */
const BYTES = Symbol('milo.bytes')
type List = readonly string[] & { [BYTES]?: Buffer }

function bytesOf(list: List): Buffer {
  return list[BYTES] ?? encodeList(list)
}

function encodeList(list: List): Buffer {
  const w = new Writer(256)
  for (const text of list) w.string(text)
  list[BYTES] = w.take()
  return list[BYTES]
}

function putList(b: Buffer, p: number, list: readonly string[]): number {
  const bytes = bytesOf(list)
  b.set(bytes, p)
  return p + bytes.length
}

function putField(view: DataView, p: number, type: number, id: number): number {
  view.setInt8(p, type)
  view.setInt16(p + 1, id)
  return p + 3
}

function putId(view: DataView, p: number, id: number, hi: number, lo: number): number {
  putField(view, p, T.I64, id)
  view.setInt32(p + 3, hi)
  view.setInt32(p + 7, lo)
  return p + 11
}

/** A whole number, as an i64. */
function putNumber(view: DataView, p: number, n: number): number {
  const hi = Math.floor(n / 4294967296)
  view.setInt32(p, hi)
  view.setInt32(p + 4, n - hi * 4294967296)
  return p + 8
}

function putMap(b: Buffer, view: DataView, p: number, id: number, valueType: number, size: number): number {
  putField(view, p, T.MAP, id)
  b[p + 3] = T.STRING
  b[p + 4] = valueType
  view.setInt32(p + 5, size)
  return p + 9
}

function putEvent(
  b: Buffer,
  view: DataView,
  at: number,
  timeUs: number,
  type: number,
  value: string | undefined,
): number {
  let p = putField(view, at, T.I64, 1)
  p = putNumber(view, p, Math.floor(timeUs))
  p = putField(view, p, T.I32, 2)
  view.setInt32(p, type)
  p += 4
  if (value !== undefined) p = putStringField(b, view, p, 3, value)
  b[p] = T.STOP
  return p + 1
}

function putStringField(b: Buffer, view: DataView, p: number, id: number, text: string): number {
  return putString(b, view, putField(view, p, T.STRING, id), text)
}
