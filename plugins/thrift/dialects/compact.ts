import { entriesOf, type PluginHandle, type Span } from 'milo/plugin'
import { COMPAT_ID, MAX_TEXT_BYTES, OPENTRACING_ID, readEntries } from '../carriers/entries'
import { FIELD_ID, fieldLength, putField, readField } from '../carriers/field'
import { type Found, found, type Input, RANK_FIELD } from '../carriers/found'
import { byteLength, putUtf8, textAt } from '../carriers/text'
import { addInPlaceOfStop, type Dialect, type Library, patchProtocol, textWritten, writtenFrom } from '../protocol'
import { BYTE, LIST, MAP, STOP } from '../wire'

/** The compact protocol: where its carriers are, and their bytes. docs/wire-format.md draws them. */

export function patchCompactProtocol(prototype: any, plugin: PluginHandle, library?: Library): void {
  const dialect: Dialect = {
    callTrace: false,
    addCarrier(protocol, { carrier, span }) {
      if (carrier === 'field') addInPlaceOfStop(protocol, compactField, span)
      else if (carrier === 'compat') addInPlaceOfStop(protocol, compactCompat, span)
    },
    readCarrier: (protocol, type) => readCompactCarrier(protocol.trans.borrow?.(), type, protocol.lastFieldId_),
    findUnread({ trans }) {
      const input = trans.borrow?.()
      if (input === undefined) return undefined
      const { buf, readIndex, writeIndex } = input
      const type = CARRIERS[buf[readIndex]!]
      if (type === undefined || readIndex + 4 > writeIndex) return undefined
      // The long field header, with an id of two bytes, or of three.
      let [id, shift, at] = [0, 0, readIndex + 1]
      for (; at < readIndex + 4; shift += 7) {
        const byte = buf[at++]!
        id |= (byte & 0x7f) << shift
        if ((byte & 0x80) === 0) break
      }
      return readCompactCarrier({ ...input, readIndex: at }, type, id >> 1)
    },
    isSuccess({ trans: { outBuffers: out } }, at) {
      if (out?.[at] === undefined || out[at]![0] === STOP) return true
      // A short header's delta is an id of 1 to 15; the id 0 needs the long form.
      return out[at]![0]! >> 4 === 0
    },
    messageOf(protocol, at) {
      const b = writtenFrom(protocol, at)
      // The field 1, a string, by its short header.
      if (b[0] !== 0x18) return undefined
      let length = 0
      let start = 1
      for (let shift = 0; shift < 35; shift += 7) {
        const byte = b[start++]
        if (byte === undefined) return undefined
        length |= (byte & 0x7f) << shift
        if (byte < 0x80) return textWritten(b, start, length)
      }
      return undefined
    },
    written: protocol => protocol.trans.outCount,
  }
  patchProtocol(prototype, plugin, dialect, library)
}

/** The types of carriers' fields, by how the compact protocol writes them. */
const CARRIERS: Record<number, number | undefined> = { 9: LIST, 11: MAP }

/** What an unsampled call carries is always the same; nobody writes into it. */
const UNSAMPLED_COMPACT = Buffer.from([
  9,
  ((FIELD_ID * 2) & 0x7f) | 0x80,
  (FIELD_ID * 2) >> 7,
  (1 << 4) | BYTE,
  0,
  STOP,
])

/** Milo's field and the STOP behind it, with the long field header, which doesn't depend on the field before. */
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

function compactCompat(span: Span): Buffer {
  const entries = entriesOf(span)
  if (entries.length === 0) return Buffer.of(STOP)
  let length = 7
  let isAscii = true
  for (const text of entries.flat()) {
    const bytes = byteLength(text)
    length += bytes + (bytes < 128 ? 1 : 2)
    isAscii &&= bytes === text.length
  }
  const b = Buffer.allocUnsafe(length)
  b[0] = 0x0b
  b[1] = 0xf0
  b[2] = 0x8a
  b[3] = 0x01
  b[4] = entries.length
  b[5] = 0x88
  let at = 6
  for (const [key, value] of entries) at = putText(b, putText(b, at, key, isAscii), value, isAscii)
  b[at] = STOP
  return b
}

/** @returns where what follows it begins */
function putText(b: Buffer, at: number, text: string, isAscii: boolean): number {
  const length = isAscii ? text.length : byteLength(text)
  putVarint(b, at, length)
  const start = at + (length < 128 ? 1 : 2)
  return start + putUtf8(b, start, text, isAscii)
}

/** A varint of one byte, or of two where it needs them (or the buffer's place has them). */
function putVarint(b: Buffer, at: number, value: number): void {
  if (value < 128) b[at] = value
  else {
    b[at] = (value & 0x7f) | 0x80
    b[at + 1] = value >> 7
  }
}

/** Looks at a field that is about to be skipped: the protocol keeps its id. */
function readCompactCarrier(input: Input | undefined, type: number, id: number): Found | undefined {
  if (input === undefined) return undefined
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
  const carrier = readEntries(id, entries, () => {
    const length = varint()
    const start = pos
    if (length < 0 || start + length > writeIndex) return undefined
    pos = start + length
    return length > MAX_TEXT_BYTES ? null : textAt(buf, start, pos)
  })
  if (carrier !== undefined) carrier.bytes = pos - input.readIndex
  return carrier
}
