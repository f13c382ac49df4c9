import { Reader, T } from 'milo/codec/binary'
import { isCall } from 'milo/codec/events'
import { RECORD_HEADER } from 'milo/codec/span'

/**
 * Reads what the index needs of a record, as offsets into its bytes. It creates no strings, since most words are known already.
 * When a field or key occurs twice, the last one counts, as in readSpanStruct.
 */
export class RecordReader {
  /** Offsets; −1 for an absent field. */
  traceIdAt = -1
  idAt = -1
  parentIdAt = -1
  probabilityAt = -1
  nameAt = -1
  nameEnd = -1
  serviceAt = -1
  serviceEnd = -1
  /** Key's start and end, value's start and end, and so on. */
  annotations: number[] = []
  private annotationsEnd = 0
  /** Offsets of the first and the last of the events that recordStartUs looks at. */
  firstAt = -1
  lastAt = -1
  /** The type of the first client or server event; 0 without one. */
  callType = 0

  /**
   * Reads a valid record.
   * @returns where the record ends
   */
  read(buf: Buffer, pos: number): number {
    const end = pos + RECORD_HEADER + buf.readInt32BE(pos + 4)
    this.nameAt = this.serviceAt = this.firstAt = this.lastAt = this.parentIdAt = this.probabilityAt = -1
    this.callType = 0
    this.annotationsEnd = 0
    const reader = new Reader(buf, pos + RECORD_HEADER, end)
    for (;;) {
      const type = buf[reader.pos++]!
      if (type === T.STOP) break
      const field = (buf[reader.pos]! << 16) | (buf[reader.pos + 1]! << 8) | type
      reader.pos += 2
      switch (field) {
        case (1 << 8) | T.I64:
          this.traceIdAt = reader.pos
          reader.pos += 8
          break
        case (3 << 8) | T.I64:
          this.idAt = reader.pos
          reader.pos += 8
          break
        case (4 << 8) | T.I64:
          this.parentIdAt = reader.pos
          reader.pos += 8
          break
        case (12 << 8) | T.DOUBLE:
          this.probabilityAt = reader.pos
          reader.pos += 8
          break
        case (2 << 8) | T.STRING:
          this.nameEnd = stringEnd(reader)
          this.nameAt = reader.pos
          reader.pos = this.nameEnd
          break
        case (11 << 8) | T.STRING:
          this.serviceEnd = stringEnd(reader)
          this.serviceAt = reader.pos
          reader.pos = this.serviceEnd
          break
        case (7 << 8) | T.LIST:
          this.readEvents(reader)
          break
        case (8 << 8) | T.MAP:
          this.readAnnotations(reader)
          break
        default:
          reader.skip(type)
      }
    }
    // An array that is emptied for each record gives its memory back and takes it again.
    if (this.annotations.length !== this.annotationsEnd) this.annotations.length = this.annotationsEnd
    return end
  }

  private readEvents(reader: Reader): void {
    const { buf } = reader
    this.firstAt = this.lastAt = -1
    this.callType = 0
    if (buf[reader.pos] !== T.STRUCT) {
      reader.skip(T.LIST)
      return
    }
    reader.pos++
    let ofCall = false
    for (let n = reader.i32(); n > 0; n--) {
      let timeAt = -1
      let eventType = 0
      for (;;) {
        const type = buf[reader.pos++]!
        if (type === T.STOP) break
        const field = (buf[reader.pos]! << 16) | (buf[reader.pos + 1]! << 8) | type
        reader.pos += 2
        if (field === ((1 << 8) | T.I64)) {
          timeAt = reader.pos
          reader.pos += 8
        } else if (field === ((2 << 8) | T.I32)) eventType = reader.i32()
        else if (type === T.STRING) reader.pos = stringEnd(reader)
        else reader.skip(type)
      }
      const call = isCall(eventType)
      if (call && this.callType === 0) this.callType = eventType
      if (timeAt === -1) continue
      if (ofCall && !call) continue
      if (this.firstAt === -1 || (call && !ofCall)) {
        this.firstAt = this.lastAt = timeAt
        ofCall = call
      } else if (isEarlier(buf, timeAt, this.firstAt)) this.firstAt = timeAt
      else if (isEarlier(buf, this.lastAt, timeAt)) this.lastAt = timeAt
    }
  }

  private readAnnotations(reader: Reader): void {
    const { buf } = reader
    const { annotations } = this
    this.annotationsEnd = 0
    if (buf[reader.pos] !== T.STRING || buf[reader.pos + 1] !== T.STRING) {
      // Some generators write an empty map with types of 0: there is nothing to skip then.
      if (buf.readInt32BE(reader.pos + 2) === 0) reader.pos += 6
      else reader.skip(T.MAP)
      return
    }
    reader.pos += 2
    let i = 0
    for (let n = reader.i32(); n > 0; n--) {
      const keyEnd = stringEnd(reader)
      const keyAt = reader.pos
      reader.pos = keyEnd
      const valueEnd = stringEnd(reader)
      annotations[i] = keyAt
      annotations[i + 1] = keyEnd
      annotations[i + 2] = reader.pos
      annotations[i + 3] = valueEnd
      i += 4
      reader.pos = valueEnd
    }
    this.annotationsEnd = i
  }
}

/** Leaves the reader where the string's bytes begin. */
function stringEnd(reader: Reader): number {
  const length = reader.i32()
  return reader.pos + length
}

function isEarlier(buf: Buffer, a: number, b: number): boolean {
  const difference = buf.readInt32BE(a) - buf.readInt32BE(b)
  return difference !== 0 ? difference < 0 : buf.readUInt32BE(a + 4) < buf.readUInt32BE(b + 4)
}
