import { MAX_DEPTH, T } from './binary'
import { isCall } from './events'

/**
 * Finds a span's ids, its start and its end in its bytes, which is what storing it needs, for a fifth of what decoding
 * costs. The scan makes no strings and no objects, but checks every length and type by the same rules as
 * readSpanStruct: both accept the same input, and both end at the same byte.
 */

/**
 * What a scan found; one object serves many scans. Ids and times are offsets of eight bytes, −1 for absent ones: small
 * integers cost nothing to keep, and the reader of an id chooses between a BigInt, two halves and a copy.
 */
export class SpanScan {
  traceIdAt = -1
  idAt = -1
  traceIdHighAt = -1
  /** The earliest time of a client or server event; without such an event, the earliest time of any. */
  startAt = -1
  /** How many events, annotations and counters are on the wire. A repeated key counts twice. */
  parts = 0
  /** The value of the annotation milo.keep, its length included; the last one, if there are several. */
  keepAt = -1
}

const KEEP = Uint8Array.from('milo.keep', c => c.charCodeAt(0))

/**
 * Scans the struct at `pos`.
 * @param found is filled in when the struct is valid, and has no meaning otherwise
 * @returns the offset where the struct ends; −1 when readSpanStruct would throw, which names the reason
 */
export function scanSpanStruct(buf: Uint8Array, pos: number, end: number, found: SpanScan): number {
  let traceIdAt = -1
  let idAt = -1
  let traceIdHighAt = -1
  let annotations = 0
  let counters = 0
  found.startAt = -1
  found.parts = 0
  found.keepAt = -1
  let p = pos
  for (;;) {
    if (p >= end) return -1
    const type = buf[p]!
    if (type === T.STOP) {
      found.traceIdAt = traceIdAt
      found.idAt = idAt
      found.traceIdHighAt = traceIdHighAt
      found.parts += annotations + counters
      return p + 1
    }
    if (p + 3 > end) return -1
    const field = (buf[p + 1]! << 16) | (buf[p + 2]! << 8) | type
    p += 3
    switch (field) {
      case (1 << 8) | T.I64:
        traceIdAt = p
        p += 8
        break
      case (3 << 8) | T.I64:
        idAt = p
        p += 8
        break
      case (10 << 8) | T.I64:
        traceIdHighAt = p
        p += 8
        break
      case (7 << 8) | T.LIST:
        p = scanEvents(buf, p, end, found)
        break
      case (8 << 8) | T.MAP:
        annotations = mapSize(buf, p, T.STRING)
        found.keepAt = -1
        p = annotations > 0 ? scanAnnotations(buf, p, end, found) : skipMap(buf, p, end, 0)
        break
      case (9 << 8) | T.MAP:
        counters = mapSize(buf, p, T.I64)
        p = skipMap(buf, p, end, 0)
        break
      default:
        p = skip(buf, p, end, type, 0)
    }
    if (p < 0 || p > end) return -1
  }
}

function scanEvents(buf: Uint8Array, pos: number, end: number, found: SpanScan): number {
  // A second list replaces the first one, even when it holds no events.
  found.startAt = -1
  found.parts = 0
  if (pos + 5 > end) return -1
  const n = int32(buf, pos + 1)
  let p = pos + 5
  if (n < 0 || n > end - p) return -1
  if (buf[pos] !== T.STRUCT) return skipList(buf, pos, end, 0)
  let ofAny = -1
  let ofCall = -1
  for (let i = 0; i < n; i++) {
    let timeAt = -1
    let eventType = 0
    for (;;) {
      if (p >= end) return -1
      const type = buf[p]!
      if (type === T.STOP) break
      if (p + 3 > end) return -1
      const field = (buf[p + 1]! << 16) | (buf[p + 2]! << 8) | type
      p += 3
      if (field === ((1 << 8) | T.I64)) {
        timeAt = p
        p += 8
      } else if (field === ((2 << 8) | T.I32)) {
        if (p + 4 > end) return -1
        eventType = int32(buf, p)
        p += 4
      } else {
        p = skip(buf, p, end, type, 0)
      }
      if (p < 0 || p > end) return -1
    }
    p++
    if (timeAt === -1) continue
    if (ofAny === -1 || isEarlier(buf, timeAt, ofAny)) ofAny = timeAt
    const call = isCall(eventType)
    if (call && (ofCall === -1 || isEarlier(buf, timeAt, ofCall))) ofCall = timeAt
  }
  found.startAt = ofCall === -1 ? ofAny : ofCall
  found.parts = n
  return p
}

function isEarlier(buf: Uint8Array, a: number, b: number): boolean {
  const difference = int32(buf, a) - int32(buf, b)
  return difference !== 0 ? difference < 0 : int32(buf, a + 4) >>> 0 < int32(buf, b + 4) >>> 0
}

/** Like skipMap, for a map of strings: most of a record's bytes are in this one. */
function scanAnnotations(buf: Uint8Array, pos: number, end: number, found: SpanScan): number {
  if (pos + 6 > end) return -1
  const n = int32(buf, pos + 2)
  let p = pos + 6
  if (n * 2 > end - p) return -1
  for (let i = 0; i < n; i++) {
    if (p + 4 > end) return -1
    const keyLength = int32(buf, p)
    const valueAt = p + 4 + keyLength
    if (keyLength < 0 || valueAt + 4 > end) return -1
    const valueLength = int32(buf, valueAt)
    if (keyLength === KEEP.length && isKeep(buf, p + 4)) found.keepAt = valueAt
    p = valueAt + 4 + valueLength
    if (valueLength < 0 || p > end) return -1
  }
  return p
}

function isKeep(buf: Uint8Array, at: number): boolean {
  for (let i = 0; i < KEEP.length; i++) if (buf[at + i] !== KEEP[i]) return false
  return true
}

/** The size of a map from strings to `valueType`, 0 for any other. It is valid only once the map has been skipped. */
function mapSize(buf: Uint8Array, pos: number, valueType: number): number {
  return buf[pos] === T.STRING && buf[pos + 1] === valueType ? int32(buf, pos + 2) : 0
}

/** @returns the offset after the value; −1, or an offset beyond `end`, when the value isn't whole */
function skip(buf: Uint8Array, pos: number, end: number, type: number, depth: number): number {
  if (depth > MAX_DEPTH) return -1
  switch (type) {
    case T.STRING: {
      if (pos + 4 > end) return -1
      const n = int32(buf, pos)
      return n < 0 ? -1 : pos + 4 + n
    }
    case T.STRUCT:
      for (let p = pos; ; ) {
        if (p >= end) return -1
        const fieldType = buf[p]!
        if (fieldType === T.STOP) return p + 1
        p = skip(buf, p + 3, end, fieldType, depth + 1)
        if (p < 0 || p > end) return -1
      }
    case T.MAP:
      return skipMap(buf, pos, end, depth + 1)
    case T.SET:
    case T.LIST:
      return skipList(buf, pos, end, depth + 1)
    default: {
      const width = type < WIDTHS.length ? WIDTHS[type]! : 0
      return width === 0 ? -1 : pos + width
    }
  }
}

/** @param depth the depth of its elements */
function skipMap(buf: Uint8Array, pos: number, end: number, depth: number): number {
  if (pos + 6 > end) return -1
  const keyType = buf[pos]!
  const valueType = buf[pos + 1]!
  const n = int32(buf, pos + 2)
  let p = pos + 6
  if (n < 0 || n * 2 > end - p) return -1
  for (let i = 0; i < n; i++) {
    p = skip(buf, p, end, keyType, depth)
    if (p < 0 || p > end) return -1
    p = skip(buf, p, end, valueType, depth)
    if (p < 0 || p > end) return -1
  }
  return p
}

/** @param depth the depth of its elements */
function skipList(buf: Uint8Array, pos: number, end: number, depth: number): number {
  if (pos + 5 > end) return -1
  const type = buf[pos]!
  const n = int32(buf, pos + 1)
  let p = pos + 5
  if (n < 0 || n > end - p) return -1
  for (let i = 0; i < n; i++) {
    p = skip(buf, p, end, type, depth)
    if (p < 0 || p > end) return -1
  }
  return p
}

/** How many bytes a value takes, by its type; 0 for types of variable size and unknown types. */
const WIDTHS = new Uint8Array(17)
WIDTHS[T.BOOL] = 1
WIDTHS[T.BYTE] = 1
WIDTHS[T.I16] = 2
WIDTHS[T.I32] = 4
WIDTHS[T.I64] = 8
WIDTHS[T.DOUBLE] = 8
WIDTHS[T.UUID] = 16

function int32(b: Uint8Array, p: number): number {
  return (b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!
}
