import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { CodecError, MessageType, T, Writer, writeMessageBegin } from 'milo/codec/binary'
import { type LogEntry, ResultCode, readLogReply } from 'milo/codec/scribe'

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

export interface UpstreamAddress {
  host: string
  port: number
  /** If undefined, the connection is plain TCP. */
  tls: ConnectionOptions | undefined
}

const CONNECT_MS = 5_000
const REPLY_MS = 30_000
/** A reply to Log has some 20 bytes, an exception a few hundred. */
const MAX_REPLY_BYTES = 64 * 1024

export function createUpstream({ host, port, tls }: UpstreamAddress): Upstream {
  let socket: Socket | undefined
  let seqid = 0

  function connect(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const opening =
        tls === undefined
          ? connectTcp({ host, port, noDelay: true })
          : connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ...tls })
      const timer = setTimeout(() => opening.destroy(new Error(`no connection in ${CONNECT_MS} ms`)), CONNECT_MS)
      opening.once(tls === undefined ? 'connect' : 'secureConnect', () => {
        clearTimeout(timer)
        opening.removeAllListeners('error')
        // An error without a listener would end the process, between calls too.
        opening.on('error', () => {})
        opening.on('close', () => {
          if (socket === opening) socket = undefined
        })
        resolve(opening)
      })
      opening.once('error', error => {
        clearTimeout(timer)
        reject(error)
      })
    })
  }

  function call(open: Socket, frame: Buffer, id: number): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      let received: Buffer = Buffer.alloc(0)
      const done = (settle: () => void) => {
        clearTimeout(timer)
        open.off('data', onData).off('close', onClose).off('error', onError)
        settle()
      }
      const fail = (message: string) => done(() => reject(new Error(message)))
      const onClose = () => fail('closed by the server')
      const onError = (error: Error) => fail(error.message)
      const onData = (data: Buffer) => {
        received = Buffer.concat([received, data])
        if (received.length < 4) return
        const length = received.readInt32BE(0)
        if (length <= 0 || length > MAX_REPLY_BYTES) return fail('the server did not send a reply to Log')
        if (received.length < 4 + length) return
        try {
          const reply = readLogReply(received.subarray(4, 4 + length))
          if (reply.seqid !== id) return fail('the server answered another call')
          done(() => resolve(reply.code))
        } catch (error) {
          if (!(error instanceof CodecError)) throw error
          fail('the server did not send a reply to Log')
        }
      }
      const timer = setTimeout(() => fail(`no reply in ${REPLY_MS} ms`), REPLY_MS)
      open.on('data', onData).on('close', onClose).on('error', onError)
      open.write(frame)
    })
  }

  return {
    async log(entries) {
      let reached = false
      try {
        socket ??= await connect()
        reached = true
        const id = (seqid = (seqid + 1) & 0x7fffffff)
        const code = await call(socket, logFrame(entries, id), id)
        if (code === ResultCode.OK) return { is: 'ok' }
        if (code === ResultCode.TRY_LATER) return { is: 'try later' }
        return { is: 'failed', reason: 'an exception in place of an answer', reached }
      } catch (error) {
        socket?.destroy()
        socket = undefined
        const { message, code } = error as NodeJS.ErrnoException
        // Node leaves the message empty when it has tried several addresses.
        return { is: 'failed', reason: message || code || String(error), reached }
      }
    },
    close() {
      socket?.destroy()
      socket = undefined
    },
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
