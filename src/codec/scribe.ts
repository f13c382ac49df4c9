import { MessageType, Reader, T, Writer, writeMessageBegin } from './binary'

/** Both ends of Scribe's `Log` call on the wire. The callers handle frames (an i32 length before each message). */

export const CATEGORY = 'Milo-Trace'
export const ResultCode = { OK: 0, TRY_LATER: 1 } as const
export type ResultCode = (typeof ResultCode)[keyof typeof ResultCode]

export interface LogEntry {
  category: string
  /** A view into the frame it came in. */
  message: Buffer
}

/** A whole `Log` call with one entry, frame length included, as what goes before the message, the message itself, and what goes after. */
export function logFrame(seqid: number, category: string, message: Buffer): Buffer[] {
  const w = new Writer(64 + category.length)
  w.i32(0)
  writeMessageBegin(w, { strict: true, type: MessageType.CALL, name: 'Log', seqid })
  w.field(T.LIST, 1)
  w.byte(T.STRUCT)
  w.i32(1)
  w.field(T.STRING, 1)
  w.string(category)
  w.field(T.STRING, 2)
  w.i32(message.length)
  const head = w.empty()
  head.writeInt32BE(head.length - 4 + message.length + ENDS.length)
  return [head, message, ENDS]
}

/** Of the entry and of the arguments. */
const ENDS = Buffer.from([T.STOP, T.STOP])

/** Reads the arguments of `Log`, after the message header. Entries without a message are left out. */
export function readLogArgs(reader: Reader): LogEntry[] {
  return [...logEntries(reader)]
}

/**
 * Reads the same entries one by one, because two million fit into a frame of 16 MiB.
 * @throws CodecError at the first entry that can't be read
 */
export function* logEntries(reader: Reader): Generator<LogEntry, void> {
  for (;;) {
    const type = reader.byte()
    if (type === T.STOP) return
    const id = reader.i16()
    if (id !== 1 || type !== T.LIST) {
      reader.skip(type)
      continue
    }
    const elementType = reader.byte()
    const n = reader.size(1)
    for (let i = 0; i < n; i++) {
      if (elementType !== T.STRUCT) {
        reader.skip(elementType)
        continue
      }
      const entry = readLogEntry(reader)
      if (entry !== undefined) yield entry
    }
  }
}

function readLogEntry(reader: Reader): LogEntry | undefined {
  let category = ''
  let message: Buffer | undefined
  for (;;) {
    const type = reader.byte()
    if (type === T.STOP) return message && { category, message }
    const id = reader.i16()
    if (id === 1 && type === T.STRING) category = reader.string()
    else if (id === 2 && type === T.STRING) message = reader.bytes()
    else reader.skip(type)
  }
}

/** Reads a reply to `Log`. `code` is undefined for an exception and for anything else without a result code. */
export function readLogReply(frame: Buffer): { seqid: number; code: number | undefined } {
  const reader = new Reader(frame)
  const header = reader.messageBegin()
  let code: number | undefined
  if (header.type === MessageType.REPLY && header.name === 'Log') {
    for (;;) {
      const type = reader.byte()
      if (type === T.STOP) break
      const id = reader.i16()
      if (id === 0 && type === T.I32) code = reader.i32()
      else reader.skip(type)
    }
  }
  return { seqid: header.seqid, code }
}
