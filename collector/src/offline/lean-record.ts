import { Reader, T } from 'milo/codec/binary'
import { isCall, type SpanEvent, sideOf } from 'milo/codec/events'
import { RECORD_HEADER, type SpanRecord } from 'milo/codec/span'
import { ERROR_KEYS, VERSION_KEYS } from '../record/half'
import { keyWord } from '../store/activity/rows'
import { PEER_KEYS } from '../trace/peer'

/** The annotations that analyses get: what trees are built by, and the version. Others would be most of a giant trace's memory. */
export const KEPT_ANNOTATIONS = [
  ...PEER_KEYS,
  ...ERROR_KEYS,
  ...VERSION_KEYS,
  'otel.kind',
  'zipkin.kind',
  'thrift.result',
  'thrift.oneway',
]

/** Their keys, by the number of their bytes. */
const KEYS: { key: string; bytes: Buffer }[][] = []
for (const key of KEPT_ANNOTATIONS) (KEYS[key.length] ??= []).push({ key, bytes: Buffer.from(key) })

/** Which events there may be of one record: the first and the last of each side, and those of no call. */
const [CLIENT, SERVER, LOCAL] = [0, 1, 2]

/**
 * Reads what analyses need of a valid record: no counters, few annotations, and of events only when the first and the last of each side
 * were. All words are as the live figures have them.
 * @param start where the record begins
 */
export function readLean(buf: Buffer, start: number): SpanRecord {
  const reader = new Reader(buf, start + RECORD_HEADER)
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
        r.name = word(reader.string())
        break
      case (3 << 8) | T.I64:
        r.id = reader.i64()
        break
      case (4 << 8) | T.I64:
        r.parentId = reader.i64()
        break
      case (5 << 8) | T.STRING:
        r.clientHost = word(reader.string())
        break
      case (6 << 8) | T.STRING:
        r.serverHost = word(reader.string())
        break
      case (7 << 8) | T.LIST:
        readEvents(reader, r)
        break
      case (8 << 8) | T.MAP:
        readAnnotations(reader, r)
        break
      case (10 << 8) | T.I64:
        r.traceIdHigh = reader.i64()
        break
      case (11 << 8) | T.STRING:
        r.service = word(reader.string())
        break
      case (12 << 8) | T.DOUBLE:
        r.probability = reader.double()
        break
      default:
        reader.skip(type)
    }
  }
}

function word(text: string): string {
  return text.length > 200 || text.includes('\0') ? keyWord(text) : text
}

function readEvents(reader: Reader, r: SpanRecord): void {
  if (r.events !== undefined) r.events = undefined
  if (reader.buf[reader.pos] !== T.STRUCT) {
    reader.skip(T.LIST)
    return
  }
  reader.pos++
  const first: (SpanEvent | undefined)[] = [undefined, undefined, undefined]
  const last: (SpanEvent | undefined)[] = [undefined, undefined, undefined]
  const events: SpanEvent[] = []
  for (let n = reader.i32(); n > 0; n--) {
    const event: SpanEvent = {}
    for (;;) {
      const type = reader.byte()
      if (type === T.STOP) break
      const id = reader.i16()
      if (id === 1 && type === T.I64) event.timestamp = reader.i64()
      else if (id === 2 && type === T.I32) event.eventType = reader.i32()
      else reader.skip(type)
    }
    const { timestamp, eventType } = event
    const side = !isCall(eventType) ? LOCAL : sideOf(eventType) === 'client' ? CLIENT : SERVER
    // What a custom event is called says nothing of its span, and its type would have it made into an event of the tree.
    if (side === LOCAL && eventType !== undefined) event.eventType = undefined
    const [begin, end] = [first[side], last[side]]
    if (begin === undefined) {
      first[side] = event
      events.push(event)
    } else if (timestamp === undefined) {
      // It says nothing more.
    } else if (begin.timestamp === undefined) begin.timestamp = timestamp
    else if (end === undefined) {
      last[side] = event
      events.push(event)
      if (timestamp < begin.timestamp) [begin.timestamp, event.timestamp] = [timestamp, begin.timestamp]
    } else if (timestamp < begin.timestamp) begin.timestamp = timestamp
    else if (timestamp > end.timestamp!) end.timestamp = timestamp
  }
  r.events = events
}

function readAnnotations(reader: Reader, r: SpanRecord): void {
  if (r.annotations !== undefined) r.annotations = undefined
  const { buf } = reader
  if (buf[reader.pos] !== T.STRING || buf[reader.pos + 1] !== T.STRING) {
    // Some generators write an empty map with types of 0: there is nothing to skip then.
    if (buf.readInt32BE(reader.pos + 2) === 0) reader.pos += 6
    else reader.skip(T.MAP)
    return
  }
  reader.pos += 2
  for (let n = reader.i32(); n > 0; n--) {
    const length = reader.i32()
    const at = reader.pos
    reader.pos += length
    const key = KEYS[length]?.find(({ bytes }) => isAt(buf, at, bytes))?.key
    if (key === undefined) reader.skip(T.STRING)
    else (r.annotations ??= new Map()).set(key, word(reader.string()))
  }
}

function isAt(buf: Buffer, at: number, bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (buf[at + i] !== bytes[i]) return false
  return true
}
