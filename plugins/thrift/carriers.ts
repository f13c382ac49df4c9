import {
  FIELD_ID,
  fieldLength,
  formatTraceparent,
  parseB3,
  parseTraceparent,
  parseUber,
  putField,
  putIds,
  putIds16,
  type RemoteContext,
  readField,
  type Span,
} from 'milo/plugin'

/** The bytes of the carriers in each protocol. docs/wire-format.md draws them. */

const STOP = 0
const LIST = 15
const MAP = 13
const BYTE = 3
const STRING = 11

/** W3C trace context in a map: OpenTelemetry's Java agent and SkyWalking. */
export const COMPAT_ID = 8888
/** The same place in opentracing-contrib's java-thrift: traceparent, b3 or uber-trace-id. */
const OPENTRACING_ID = 3333
/** A map of more entries than this carries no trace, or somebody means ill: it isn't looked through. */
const MAX_ENTRIES = 64
const MAX_TEXT_BYTES = 2048

/** What an unsampled call carries is always the same; nobody writes into it. */
const UNSAMPLED_BINARY = Buffer.from([LIST, FIELD_ID >> 8, FIELD_ID & 0xff, BYTE, 0, 0, 0, 1, 0, STOP])
const UNSAMPLED_COMPACT = Buffer.from([
  9,
  ((FIELD_ID * 2) & 0x7f) | 0x80,
  (FIELD_ID * 2) >> 7,
  (1 << 4) | BYTE,
  0,
  STOP,
])

/** Milo's field and the STOP behind it, in the binary protocol: type, id, element type, i32 size, content. */
export function binaryField(span: Span): Buffer {
  const length = fieldLength(span)
  if (length === 1) return UNSAMPLED_BINARY
  const b = Buffer.allocUnsafe(3 + 5 + length + 1)
  b[0] = LIST
  b[1] = FIELD_ID >> 8
  b[2] = FIELD_ID & 0xff
  b[3] = BYTE
  b.writeInt32BE(length, 4)
  putField(b, 8, span, length)
  b[8 + length] = STOP
  return b
}

/** The same in the compact protocol, with the long field header, which doesn't depend on the field before. */
export function compactField(span: Span): Buffer {
  const length = fieldLength(span)
  if (length === 1) return UNSAMPLED_COMPACT
  const b = Buffer.allocUnsafe(5 + length + 1)
  b[0] = 9
  putVarint(b, 1, FIELD_ID * 2)
  // A list of 15 or more has its length in a byte of its own.
  b[3] = 0xf3
  b[4] = length
  putField(b, 5, span, length)
  b[5 + length] = STOP
  return b
}

/** The same as a member of JSON's object of arguments, without the comma before it. */
export function jsonField(span: Span): string {
  const length = fieldLength(span)
  const b = Buffer.allocUnsafe(length)
  putField(b, 0, span, length)
  return `"${FIELD_ID}":{"lst":["i8",${length}${[...new Int8Array(b)].map(byte => `,${byte}`).join('')}]}`
}

/** The entries of field 8888. */
function w3c(span: Span): [string, string][] {
  const entries: [string, string][] = [['traceparent', formatTraceparent(span)]]
  if (span.trace.state !== undefined) entries.push(['tracestate', span.trace.state])
  return entries
}

export function binaryCompat(span: Span): Buffer {
  const entries = w3c(span)
  const parts: Buffer[] = [
    Buffer.from([MAP, COMPAT_ID >> 8, COMPAT_ID & 0xff, STRING, STRING, 0, 0, 0, entries.length]),
  ]
  for (const text of entries.flat()) {
    const bytes = Buffer.from(text)
    const length = Buffer.allocUnsafe(4)
    length.writeInt32BE(bytes.length)
    parts.push(length, bytes)
  }
  parts.push(Buffer.of(STOP))
  return Buffer.concat(parts)
}

export function compactCompat(span: Span): Buffer {
  const entries = w3c(span)
  const parts: Buffer[] = [Buffer.from([0x0b, 0xf0, 0x8a, 0x01, entries.length, 0x88])]
  for (const text of entries.flat()) {
    const bytes = Buffer.from(text)
    const length = Buffer.allocUnsafe(bytes.length < 128 ? 1 : 2)
    putVarint(length, 0, bytes.length)
    parts.push(length, bytes)
  }
  parts.push(Buffer.of(STOP))
  return Buffer.concat(parts)
}

export function jsonCompat(span: Span): string {
  const entries = w3c(span)
  return `"${COMPAT_ID}":{"map":["str","str",${entries.length},${JSON.stringify(Object.fromEntries(entries))}]}`
}

/** CALLTRACE's three ids. */
export function idBlock(span: Span): Buffer {
  const b = Buffer.allocUnsafe(24)
  putIds(b, 0, span)
  return b
}

/** The same for the original's Java servers. */
export function idBlock16(span: Span): Buffer {
  const b = Buffer.allocUnsafe(16)
  putIds16(b, 0, span)
  return b
}

/** A varint of one byte, or of two where it needs them (or the buffer's place has them). */
function putVarint(b: Buffer, at: number, value: number): void {
  if (value < 128) b[at] = value
  else {
    b[at] = (value & 0x7f) | 0x80
    b[at + 1] = value >> 7
  }
}

/** What of a transport's input has been received, and how far it has been read. */
export interface Input {
  buf: Buffer
  readIndex: number
  writeIndex: number
}

/** What a field turned out to be. Milo's own takes precedence, then 8888, then 3333. */
export interface Found {
  remote: RemoteContext
  rank: number
  /** Of the field in the input, where it has been read whole: it needn't be skipped again. Else 0. */
  bytes: number
}

export const RANK_FIELD = 3
export const RANK_CALLTRACE = 2.5
const RANK_COMPAT = 2
const RANK_OPENTRACING = 1

/** Looks at a field that the binary protocol is about to skip: its header, type and id, has just been read. */
export function readBinaryCarrier({ buf, readIndex: at, writeIndex }: Input, type: number): Found | undefined {
  if (at < 3 || buf[at - 3] !== type) return undefined
  const id = (buf[at - 2]! << 8) | buf[at - 1]!
  if (type === LIST) {
    if (id !== FIELD_ID || at + 5 > writeIndex || buf[at] !== BYTE) return undefined
    const length = buf.readInt32BE(at + 1)
    if (length < 1 || at + 5 + length > writeIndex) return undefined
    return found(readField(buf, at + 5, length), RANK_FIELD, 5 + length)
  }
  if ((id !== COMPAT_ID && id !== OPENTRACING_ID) || at + 6 > writeIndex) return undefined
  if (buf[at] !== STRING || buf[at + 1] !== STRING) return undefined
  const entries = buf.readInt32BE(at + 2)
  let pos = at + 6
  return readEntries(id, entries, () => {
    if (pos + 4 > writeIndex) return undefined
    const length = buf.readInt32BE(pos)
    const start = pos + 4
    if (length < 0 || start + length > writeIndex) return undefined
    pos = start + length
    return length > MAX_TEXT_BYTES ? null : buf.toString('utf8', start, pos)
  })
}

/** The same for the compact protocol, which keeps the id of the field that it is in. */
export function readCompactCarrier(input: Input, type: number, id: number): Found | undefined {
  const { buf, writeIndex } = input
  let pos = input.readIndex
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift <= 21 && pos < writeIndex; shift += 7) {
      const byte = buf[pos++]!
      value |= (byte & 0x7f) << shift
      if ((byte & 0x80) === 0) return value
    }
    return -1
  }
  if (pos >= writeIndex) return undefined
  if (type === LIST) {
    if (id !== FIELD_ID) return undefined
    const header = buf[pos++]!
    if ((header & 0x0f) !== BYTE) return undefined
    const length = header >> 4 === 15 ? varint() : header >> 4
    if (length < 1 || pos + length > writeIndex) return undefined
    return found(readField(buf, pos, length), RANK_FIELD, pos + length - input.readIndex)
  }
  if (id !== COMPAT_ID && id !== OPENTRACING_ID) return undefined
  const entries = varint()
  if (entries < 1 || pos >= writeIndex || buf[pos++] !== 0x88) return undefined
  return readEntries(id, entries, () => {
    const length = varint()
    const start = pos
    if (length < 0 || start + length > writeIndex) return undefined
    pos = start + length
    return length > MAX_TEXT_BYTES ? null : buf.toString('utf8', start, pos)
  })
}

/** How far into a JSON message's nested structs carriers are looked for: older clients put theirs into the first one. */
const MAX_JSON_DEPTH = 8

/** Looks for carriers in the arguments of a JSON message, which has been parsed whole. Reads them without taking them. */
export function readJsonCarrier(struct: unknown, depth = 0): Found | undefined {
  if (typeof struct !== 'object' || struct === null || depth > MAX_JSON_DEPTH) return undefined
  const fields = struct as Record<string, any>
  const list = depth === 0 ? fields[FIELD_ID]?.lst : undefined
  if (Array.isArray(list) && list[0] === 'i8' && list.length >= 3 && list.length <= 258) {
    const bytes = list.slice(2)
    if (bytes.length === list[1] && bytes.every(b => Number.isInteger(b) && b >= -128 && b <= 127)) {
      const own = found(readField(Buffer.from(bytes), 0, bytes.length), RANK_FIELD)
      if (own !== undefined) return own
    }
  }
  let best: Found | undefined
  for (const id of [COMPAT_ID, OPENTRACING_ID]) {
    const map = fields[id]?.map
    if (!Array.isArray(map) || map[0] !== 'str' || map[1] !== 'str' || typeof map[3] !== 'object' || map[3] === null)
      continue
    const entries = Object.keys(map[3]).length
    const texts = entries > MAX_ENTRIES ? [] : Object.entries<unknown>(map[3]).flat()
    best ??= readEntries(id, entries, () => {
      const text = texts.shift()
      return typeof text === 'string' && Buffer.byteLength(text) <= MAX_TEXT_BYTES ? text : null
    })
  }
  if (best !== undefined) return best
  for (const field of Object.values(fields)) {
    const nested = readJsonCarrier(field?.rec, depth + 1)
    if (nested !== undefined) return nested
  }
  return undefined
}

/**
 * Looks through a map's entries.
 * @param next the next key or value: null for one that is left out, undefined where the input ends or makes no sense
 */
function readEntries(id: number, entries: number, next: () => string | null | undefined): Found | undefined {
  if (entries < 1 || entries > MAX_ENTRIES) return undefined
  const map = new Map<string, string>()
  for (let i = 0; i < entries; i++) {
    const key = next()
    const value = key === undefined ? undefined : next()
    if (key === undefined || value === undefined) return undefined
    if (key !== null && value !== null) map.set(key.toLowerCase(), value)
  }
  const rank = id === COMPAT_ID ? RANK_COMPAT : RANK_OPENTRACING
  const w3c = found(parseTraceparent(map.get('traceparent'), map.get('tracestate')), rank)
  if (w3c !== undefined || id === COMPAT_ID) return w3c
  const b3 = map.get('b3')
  const uber = map.get('uber-trace-id')
  return found((b3 === undefined ? undefined : parseB3(b3)) ?? (uber === undefined ? undefined : parseUber(uber)), rank)
}

function found(remote: RemoteContext | undefined, rank: number, bytes = 0): Found | undefined {
  return remote === undefined ? undefined : { remote, rank, bytes }
}
