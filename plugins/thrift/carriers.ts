import { FIELD_ID, fieldLength, putField, putIds, type RemoteContext, readField, type Span } from 'milo/plugin'

/** The bytes of the carriers in the binary and the compact protocol. docs/wire-format.md draws them. */

const STOP = 0

/** Milo's field and the STOP behind it, in the binary protocol: type, id, element type, i32 size, content. */
export function binaryField(span: Span): Buffer {
  const length = fieldLength(span)
  const b = Buffer.allocUnsafe(3 + 5 + length + 1)
  b[0] = 15
  b[1] = FIELD_ID >> 8
  b[2] = FIELD_ID & 0xff
  b[3] = 3
  b.writeInt32BE(length, 4)
  putField(b, 8, span, length)
  b[8 + length] = STOP
  return b
}

/** The same in the compact protocol, with the long field header, which doesn't depend on the field before. */
export function compactField(span: Span): Buffer {
  const length = fieldLength(span)
  const header = length < 15 ? 1 : 2
  const b = Buffer.allocUnsafe(3 + header + length + 1)
  b[0] = 9
  // The id, zigzag, as a varint of two bytes.
  b[1] = ((FIELD_ID * 2) & 0x7f) | 0x80
  b[2] = (FIELD_ID * 2) >> 7
  if (header === 1) b[3] = (length << 4) | 3
  else {
    b[3] = 0xf3
    b[4] = length
  }
  putField(b, 3 + header, span, length)
  b[3 + header + length] = STOP
  return b
}

/** CALLTRACE's three ids. */
export function idBlock(span: Span): Buffer {
  const b = Buffer.allocUnsafe(24)
  putIds(b, 0, span)
  return b
}

/** What of a transport's input has been received, and how far it has been read. */
export interface Input {
  buf: Buffer
  readIndex: number
  writeIndex: number
}

/** Reads Milo's field where the binary protocol is about to skip a list: its header has just been read. */
export function readBinaryField({ buf, readIndex: at, writeIndex }: Input): RemoteContext | undefined {
  if (at < 3 || buf[at - 3] !== 15 || buf[at - 2] !== FIELD_ID >> 8 || buf[at - 1] !== (FIELD_ID & 0xff))
    return undefined
  if (at + 5 > writeIndex || buf[at] !== 3) return undefined
  const length = buf.readInt32BE(at + 1)
  if (length < 1 || at + 5 + length > writeIndex) return undefined
  return readField(buf, at + 5, length)
}

/** The same in the compact protocol, which keeps the id of the field that it is in. */
export function readCompactField({ buf, readIndex, writeIndex }: Input, fieldId: number): RemoteContext | undefined {
  if (fieldId !== FIELD_ID || readIndex >= writeIndex) return undefined
  let at = readIndex
  const header = buf[at++]!
  if ((header & 0x0f) !== 3) return undefined
  let length = header >> 4
  if (length === 15) {
    length = 0
    for (let shift = 0; ; shift += 7) {
      if (at >= writeIndex || shift > 21) return undefined
      const byte = buf[at++]!
      length |= (byte & 0x7f) << shift
      if ((byte & 0x80) === 0) break
    }
  }
  if (length < 1 || at + length > writeIndex) return undefined
  return readField(buf, at, length)
}
