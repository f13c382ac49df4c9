import { MessageType, T, Writer, writeMessageBegin } from 'milo/codec/binary'
import { type LogEntry, ResultCode, readLogReply } from 'milo/codec/scribe'
import { ScribeConnection, type UpstreamAddress } from './scribe-connection'

/** Forwards to one Scribe server over one connection, one call of Log at a time. */
interface Upstream {
  /**
   * Forwards a call of Log. Never rejects. After `failed` it is unknown whether the server has the call. Then `reached` tells
   * whether the server accepted the connection, so that the call may be the cause.
   */
  log(entries: LogEntry[]): Promise<LogAnswer>
  close(): void
}

export type LogAnswer = { is: 'ok' | 'try later' } | { is: 'failed'; reason: string; reached: boolean }

const REPLY_MS = 30_000
/** A reply to Log has some 20 bytes, an exception a few hundred. */
const MAX_REPLY_BYTES = 64 * 1024

export function createUpstream(address: UpstreamAddress): Upstream {
  const connection = new ScribeConnection(address, MAX_REPLY_BYTES)
  return {
    async log(entries) {
      let reached = false
      const write = (seqid: number) => {
        reached = true
        return logFrame(entries, seqid)
      }
      try {
        const { code } = await connection.call(write, readLogReply, REPLY_MS)
        if (code === ResultCode.OK) return { is: 'ok' }
        if (code === ResultCode.TRY_LATER) return { is: 'try later' }
        return { is: 'failed', reason: 'an exception in place of an answer', reached }
      } catch (error) {
        const { message, code } = error as NodeJS.ErrnoException
        // Node leaves the message empty when it has tried several addresses.
        return { is: 'failed', reason: message || code || String(error), reached }
      }
    },
    close: () => connection.close(),
  }
}

/** Encodes a whole call of Log, including its frame's length. */
function logFrame(entries: LogEntry[], seqid: number): Buffer {
  const w = new Writer(entries.reduce((bytes, { message }) => bytes + message.length + 64, 128))
  w.i32(0)
  writeMessageBegin(w, { strict: true, type: MessageType.CALL, name: 'Log', seqid })
  w.field(T.LIST, 1)
  w.byte(T.STRUCT)
  w.i32(entries.length)
  for (const { category, message } of entries) {
    w.field(T.STRING, 1)
    w.string(category)
    w.field(T.STRING, 2)
    w.bytes(message)
    w.byte(T.STOP)
  }
  w.byte(T.STOP)
  const frame = w.buf.subarray(0, w.pos)
  frame.writeInt32BE(frame.length - 4, 0)
  return frame
}
