import { entriesOf, type PluginHandle, type Span } from 'milo/plugin'
import { COMPAT_ID, MAX_TEXT_BYTES, OPENTRACING_ID, readEntries } from '../carriers/entries'
import { FIELD_ID, fieldLength, putField, readField } from '../carriers/field'
import { type Found, found, type Input, RANK_FIELD } from '../carriers/found'
import { byteLength, putUtf8, textAt } from '../carriers/text'
import {
  addInPlaceOfStop,
  type Dialect,
  type Library,
  patchProtocol,
  position,
  textWritten,
  writtenFrom,
} from '../protocol'
import { BYTE, LIST, MAP, STOP, STRING } from '../wire'

/** The binary protocol: where its carriers are, and their bytes. docs/wire-format.md draws them. */

export function patchBinaryProtocol(prototype: any, plugin: PluginHandle, library?: Library): void {
  const dialect: Dialect = {
    callTrace: true,
    addCarrier(protocol, { carrier, span }) {
      if (carrier === 'field') addInPlaceOfStop(protocol, binaryField, span)
      else if (carrier === 'compat') addInPlaceOfStop(protocol, binaryCompat, span)
    },
    readCarrier: (protocol, type) => readBinaryCarrier(protocol.trans.borrow?.(), type),
    findUnread({ trans }) {
      const type = trans.inBuf?.[position(trans)]
      if (type !== LIST && type !== MAP) return undefined
      const input = trans.borrow?.()
      return input && readBinaryCarrier({ ...input, readIndex: input.readIndex + 3 }, type)
    },
    isSuccess({ trans: { outBuffers: out } }, at) {
      if (out?.[at] === undefined || out[at]![0] === STOP) return true
      // The first field's id: 0 is the return value's, any other an exception's.
      const id = out[at + 1]
      return id === undefined || (id[0] === 0 && id[1] === 0)
    },
    messageOf(protocol, at) {
      const b = writtenFrom(protocol, at)
      // The field 1, a string, with its length.
      return b.length < 7 || b[0] !== STRING || b.readInt16BE(1) !== 1 ? undefined : textWritten(b, 7, b.readInt32BE(3))
    },
    written: protocol => protocol.trans.outCount,
  }
  patchProtocol(prototype, plugin, dialect, library)
}

/** What an unsampled call carries is always the same; nobody writes into it. */
const UNSAMPLED_BINARY = Buffer.from([LIST, FIELD_ID >> 8, FIELD_ID & 0xff, BYTE, 0, 0, 0, 1, 0, STOP])

/** Milo's field and the STOP behind it: type, id, element type, i32 size, content. */
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

export function binaryCompat(span: Span): Buffer {
  const entries = entriesOf(span)
  if (entries.length === 0) return Buffer.of(STOP)
  // One buffer, because each costs more than what it holds.
  let bytes = 0
  let characters = 0
  for (const [key, value] of entries) {
    bytes += byteLength(key) + byteLength(value)
    characters += key.length + value.length
  }
  const isAscii = bytes === characters
  const b = Buffer.allocUnsafe(10 + 8 * entries.length + bytes)
  b[0] = MAP
  b[1] = COMPAT_ID >> 8
  b[2] = COMPAT_ID & 0xff
  b[3] = STRING
  b[4] = STRING
  b.writeInt32BE(entries.length, 5)
  let at = 9
  for (const [key, value] of entries) at = putText(b, putText(b, at, key, isAscii), value, isAscii)
  b[at] = STOP
  return b
}

/** @returns where what follows it begins */
function putText(b: Buffer, at: number, text: string, isAscii: boolean): number {
  const length = putUtf8(b, at + 4, text, isAscii)
  b.writeInt32BE(length, at)
  return at + 4 + length
}

/** Looks at a field that is about to be skipped: its header, type and id, has just been read. */
function readBinaryCarrier(input: Input | undefined, type: number): Found | undefined {
  if (input === undefined) return undefined
  const { buf, readIndex: at, writeIndex } = input
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
  const carrier = readEntries(id, entries, () => {
    if (pos + 4 > writeIndex) return undefined
    const length = buf.readInt32BE(pos)
    const start = pos + 4
    if (length < 0 || start + length > writeIndex) return undefined
    pos = start + length
    return length > MAX_TEXT_BYTES ? null : textAt(buf, start, pos)
  })
  if (carrier !== undefined) carrier.bytes = pos - at
  return carrier
}
