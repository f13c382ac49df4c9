import { Reader, T } from 'milo/codec/binary'
import { type SpanEvent, sideOf } from 'milo/codec/events'
import { RECORD_HEADER, type SpanRecord } from 'milo/codec/span'
import { ERROR_KEYS, VERSION_KEYS } from '../record/half'
import { keyWord, MAX_WORD_LENGTH } from '../store/activity/rows'
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

/**
 * Reads what analyses need of a valid record: no counters, few annotations, and of events only when the first and the last of each side
 * were. All words are as the live figures have them.
 * @param start where the record begins
 */
export function readLean(buf: Buffer, start: number): SpanRecord {
  const reader = new Reader(buf, start + RECORD_HEADER)
  // All fields at once: an object that grows takes twice as much.
  const r: SpanRecord = {
    traceId: undefined,
    name: undefined,
    id: undefined,
    parentId: undefined,
    clientHost: undefined,
    serverHost: undefined,
    events: undefined,
    annotations: undefined,
    traceIdHigh: undefined,
    service: undefined,
    probability: undefined,
  }
  for (;;) {
    const type = reader.byte()
    if (type === T.STOP) return r
    const id = reader.i16()
    switch ((id << 8) | type) {
      case (1 << 8) | T.I64:
        r.traceId = shared(reader.i64())
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
        r.traceIdHigh = shared(reader.i64())
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

let latest = 0n

/** Returns the same BigInt for the same id, which most records of a trace have: each takes memory. */
function shared(id: bigint): bigint {
  if (id !== latest) latest = id
  return latest
}

function word(text: string): string {
  return text.length > MAX_WORD_LENGTH || text.includes('\0') ? keyWord(text) : text
}

function readEvents(reader: Reader, r: SpanRecord): void {
  r.events = undefined
  if (reader.buf[reader.pos] !== T.STRUCT) {
    reader.skip(T.LIST)
    return
  }
  reader.pos++
  const events: SpanEvent[] = []
  for (let n = reader.i32(); n > 0; n--) {
    let timestamp: bigint | undefined
    let eventType: number | undefined
    for (;;) {
      const type = reader.byte()
      if (type === T.STOP) break
      const id = reader.i16()
      if (id === 1 && type === T.I64) timestamp = reader.i64()
      else if (id === 2 && type === T.I32) eventType = reader.i32()
      else reader.skip(type)
    }
    addEvent(events, timestamp, eventType)
  }
  // An array that has grown by push has room for 17 elements.
  r.events = events.length === 2 ? [events[0]!, events[1]!] : events.slice()
}

/** Adds an event to the first and last ones of all sides, of which there are six at most. */
function addEvent(events: SpanEvent[], timestamp: bigint | undefined, eventType: number | undefined): void {
  const side = sideOf(eventType)
  let first: SpanEvent | undefined
  let last: SpanEvent | undefined
  for (const event of events) {
    if (sideOf(event.eventType) !== side) continue
    if (first === undefined) first = event
    else last = event
  }
  if (first === undefined || (last === undefined && timestamp !== undefined && first.timestamp !== undefined)) {
    // What a custom event is called says nothing of its span, and its type would have it made into an event of the tree.
    const event: SpanEvent = { timestamp, eventType: side === 'local' ? undefined : eventType }
    events.push(event)
    if (first !== undefined && timestamp! < first.timestamp!) {
      event.timestamp = first.timestamp
      first.timestamp = timestamp
    }
  } else if (timestamp === undefined) {
    // It says nothing more.
  } else if (first.timestamp === undefined) first.timestamp = timestamp
  else if (timestamp < first.timestamp) first.timestamp = timestamp
  else if (timestamp > last!.timestamp!) last!.timestamp = timestamp
}

function readAnnotations(reader: Reader, r: SpanRecord): void {
  r.annotations = undefined
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
