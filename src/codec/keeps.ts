import { MessageType, Reader, T, type Writer, writeMessageBegin } from './binary'

/** The caller's end of `keeps` (src/idl/milo.thrift): a process asks its collector which traces to keep. */

export interface KeepsRequest {
  /** Microseconds since the epoch: what was announced after that is told. */
  sinceUs: number
  waitMs: number
  service: string
  host: string
  /** Random, one for each history. */
  processHi: number
  processLo: number
  /** When the history began, in microseconds since the epoch. */
  historyUs: number
  /** Where the process takes calls, as `placeOf` writes it; empty: it doesn't say. */
  listening: string[]
  /** When the history was made, in microseconds since the epoch; 0: it doesn't say. */
  madeUs: number
  /** What time it is for the process, in microseconds since the epoch; 0: it doesn't say. */
  nowUs: number
}

/** Returns `address:port`. */
export function placeOf(address: string, port: string | number): string {
  const name = address.replace(/^::ffff:/, '').toLowerCase()
  return name.includes(':') ? `[${name}]:${port}` : `${name}:${port}`
}

/** Of an entry: kind, 64 bits of an id, n. */
export const KEEP_BYTES = 10
/** A trace is to be kept, or the next n of an operation. */
export const KEEP_TRACE = 0
export const KEEP_OPERATION = 1
/** KEEP_OPERATION with the number of the request in the id's last two bytes. It comes before the one without, which is for older processes. */
export const KEEP_REQUEST = 2

export interface KeepsReply {
  seqid: number
  /** Undefined: the peer has answered with an exception, of this type, or with something else. */
  reply: { nextUs: number; keeps: Buffer } | undefined
  exception: number | undefined
}

/** What a TApplicationException says of a method that the peer doesn't have. */
export const UNKNOWN_METHOD = 1

/** Writes the whole call, frame length included. */
export function writeKeepsFrame(w: Writer, seqid: number, request: KeepsRequest): void {
  const frame = w.pos
  w.i32(0)
  writeMessageBegin(w, { strict: true, type: MessageType.CALL, name: 'keeps', seqid })
  w.field(T.STRUCT, 1)
  w.field(T.I64, 1)
  w.i64FromNumber(request.sinceUs)
  w.field(T.I32, 2)
  w.i32(request.waitMs)
  w.field(T.STRING, 3)
  w.string(request.service)
  w.field(T.STRING, 4)
  w.string(request.host)
  w.field(T.I64, 5)
  w.i64(request.processHi, request.processLo)
  w.field(T.I64, 6)
  w.i64FromNumber(request.historyUs)
  if (request.listening.length > 0) {
    w.field(T.LIST, 7)
    w.strings(request.listening)
  }
  if (request.madeUs > 0) {
    w.field(T.I64, 8)
    w.i64FromNumber(request.madeUs)
  }
  if (request.nowUs > 0) {
    w.field(T.I64, 9)
    w.i64FromNumber(request.nowUs)
  }
  w.byte(T.STOP)
  w.byte(T.STOP)
  w.buf.writeInt32BE(w.pos - frame - 4, frame)
}

/** @throws CodecError for what is no Thrift message */
export function readKeepsReply(message: Buffer): KeepsReply {
  const reader = new Reader(message)
  const { type, name, seqid } = reader.messageBegin()
  const read: KeepsReply = { seqid, reply: undefined, exception: undefined }
  if (type === MessageType.EXCEPTION) {
    // npm's Thrift says nothing but words of a method that it doesn't know.
    read.exception = UNKNOWN_METHOD
    reader.eachField((id, type) => {
      if (id !== 2 || type !== T.I32) return false
      read.exception = reader.i32()
      return true
    })
  } else if (type === MessageType.REPLY && name === 'keeps') {
    reader.eachField((id, type) => {
      if (id !== 0 || type !== T.STRUCT) return false
      const reply: KeepsReply['reply'] & {} = { nextUs: 0, keeps: Buffer.alloc(0) }
      reader.eachField((id, type) => {
        if (id === 1 && type === T.I64) reply.nextUs = Number(reader.i64())
        else if (id === 2 && type === T.STRING) reply.keeps = reader.bytes()
        else return false
        return true
      })
      read.reply = reply
      return true
    })
  }
  return read
}
