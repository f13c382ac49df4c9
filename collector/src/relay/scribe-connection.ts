import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { CodecError } from 'milo/codec/binary'

export interface UpstreamAddress {
  host: string
  port: number
  /** If undefined, the connection is plain TCP. */
  tls: ConnectionOptions | undefined
}

const CONNECT_MS = 5_000

/** One connection to a Scribe server, and one call at a time on it. It connects when it is first needed. */
export class ScribeConnection {
  private readonly address: UpstreamAddress
  /** What a message that isn't too long has at most. */
  private readonly maxReplyBytes: number
  private socket: Socket | undefined
  private seqid = 0

  constructor(address: UpstreamAddress, maxReplyBytes: number) {
    this.address = address
    this.maxReplyBytes = maxReplyBytes
  }

  /**
   * Makes a call. After a rejection the connection is closed.
   * @param write makes the whole frame
   * @param read reads the reply; a CodecError means that it isn't one
   */
  async call<R extends { seqid: number }>(
    write: (seqid: number) => Buffer,
    read: (message: Buffer) => R,
    replyMs: number,
  ): Promise<R> {
    try {
      this.socket ??= await this.connect()
      const id = (this.seqid = (this.seqid + 1) & 0x7fffffff)
      return await this.exchange(this.socket, write(id), id, read, replyMs)
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    this.socket?.destroy()
    this.socket = undefined
  }

  private connect(): Promise<Socket> {
    const { host, port, tls } = this.address
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
          if (this.socket === opening) this.socket = undefined
        })
        resolve(opening)
      })
      opening.once('error', error => {
        clearTimeout(timer)
        reject(error)
      })
    })
  }

  private exchange<R extends { seqid: number }>(
    open: Socket,
    frame: Buffer,
    id: number,
    read: (message: Buffer) => R,
    replyMs: number,
  ): Promise<R> {
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
        if (length <= 0 || length > this.maxReplyBytes) return fail('the server did not send a reply to the call')
        if (received.length < 4 + length) return
        try {
          const reply = read(received.subarray(4, 4 + length))
          if (reply.seqid !== id) return fail('the server answered another call')
          done(() => resolve(reply))
        } catch (error) {
          if (!(error instanceof CodecError)) throw error
          fail('the server did not send a reply to the call')
        }
      }
      const timer = setTimeout(() => fail(`no reply in ${replyMs} ms`), replyMs)
      open.on('data', onData).on('close', onClose).on('error', onError)
      open.write(frame)
    })
  }
}
