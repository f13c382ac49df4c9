import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import { ResultCode, readLogReply } from '../codec/scribe'
import { clearTimeout } from '../process/genuine'
import { after, guarded, soon } from '../process/later'
import { describe } from '../process/log'

/**
 * One connection to one Scribe, over TCP or TLS, and one call at a time on it. Whatever the peer does (nothing, garbage,
 * a reset, an unsolicited reply), the caller learns of it once, through `done`, within the time limits.
 */

export interface ScribeAddress {
  host: string
  port: number
  /** Undefined: plain TCP. */
  tls?: ScribeTls | undefined
}

export interface ScribeTls {
  /** The authorities to trust and the certificate to show. Made at init, so that an unusable one is an error there. */
  context: SecureContext
  rejectUnauthorized: boolean
}

/** The outcome of a call. `failed`: the connection is gone, and Scribe may or may not have the batch. */
export type Answer = { code: 'ok' | 'try_later' | 'refused' } | { code: 'failed'; reason: string }

/** A reply to Log takes about 20 bytes and an exception about 100. A peer that sends more than this isn't a Scribe. */
const MAX_REPLY_BYTES = 16 * 1024

export class ScribeConnection {
  /** Closed, or about to be. */
  isClosed = false
  readonly address: ScribeAddress
  private socket: Socket | undefined
  private readonly replyTimeoutMs: number
  private timer: NodeJS.Timeout | undefined
  private reply: Buffer[] = []
  private replyBytes = 0
  /** The length of the reply's frame, including its length word; 0 until that has come. */
  private replyLength = 0
  private call: { frame: Buffer; seqid: number; done: (answer: Answer) => void } | undefined
  private ready = false
  /** Why the connection couldn't even be begun. */
  private refusal: string | undefined

  constructor(address: ScribeAddress, connectTimeoutMs: number, replyTimeoutMs: number) {
    this.address = address
    this.replyTimeoutMs = replyTimeoutMs
    try {
      this.connect(address, connectTimeoutMs)
    } catch (error) {
      // Node refuses the host, or the process isn't allowed to connect.
      this.refusal = describe(error)
      this.destroy()
    }
  }

  private connect({ host, port, tls }: ScribeAddress, connectTimeoutMs: number): void {
    // Loaded late: a program that ends no span doesn't pay for them.
    const net = require('node:net') as typeof import('node:net')
    let socket: Socket
    if (tls === undefined) {
      socket = net.connect({ host, port, noDelay: true, keepAlive: true })
    } else {
      const { connect } = require('node:tls') as typeof import('node:tls')
      socket = connect({
        host,
        port,
        secureContext: tls.context,
        rejectUnauthorized: tls.rejectUnauthorized,
        // SNI takes names alone. The certificate is checked against an address all the same.
        ...(net.isIP(host) === 0 && { servername: host }),
      })
      socket.setNoDelay(true)
      socket.setKeepAlive(true)
    }
    this.socket = socket
    socket.unref()
    this.timer = after(connectTimeoutMs, () => this.fail('no connection in time'))
    const ready = guarded(() => {
      clearTimeout(this.timer)
      this.ready = true
      this.write()
    })
    socket.on(tls === undefined ? 'connect' : 'secureConnect', ready)
    socket.on(
      'data',
      guarded((data: Buffer) => this.received(data)),
    )
    socket.on(
      'error',
      guarded((error: Error) => this.fail(describe(error))),
    )
    socket.on(
      'close',
      guarded(() => this.fail('closed by the peer')),
    )
  }

  /** Sends a Log call as soon as the connection is established. The previous call must have been answered. */
  send(frame: Buffer, seqid: number, done: (answer: Answer) => void): void {
    this.call = { frame, seqid, done }
    // The connection failed before this call.
    if (this.isClosed) soon(() => this.answer({ code: 'failed', reason: this.refusal ?? 'refused at once' }))
    else if (this.ready) this.write()
  }

  /** Closes the connection. `done` isn't called for a call that is under way. */
  destroy(): void {
    this.isClosed = true
    this.call = undefined
    clearTimeout(this.timer)
    this.socket?.destroy()
  }

  private write(): void {
    if (this.call === undefined) return
    this.timer = after(this.replyTimeoutMs, () => this.fail('no reply in time'))
    this.socket?.write(this.call.frame)
  }

  private received(data: Buffer): void {
    if (this.isClosed) return
    if (this.call === undefined || !this.ready) return void this.fail('a reply to no call')
    this.reply.push(data)
    this.replyBytes += data.length
    if (this.replyLength === 0) {
      if (this.replyBytes < 4) return
      const length = Buffer.concat(this.reply).readInt32BE(0)
      if (length <= 0 || length > MAX_REPLY_BYTES)
        return void this.fail(`a reply of ${length} bytes: this isn't a Scribe`)
      this.replyLength = 4 + length
    }
    if (this.replyBytes < this.replyLength) return
    if (this.replyBytes > this.replyLength) return void this.fail('more than one reply to a call')
    const bytes = Buffer.concat(this.reply)
    this.reply = []
    this.replyBytes = this.replyLength = 0
    let reply: ReturnType<typeof readLogReply>
    try {
      reply = readLogReply(bytes.subarray(4))
    } catch (error) {
      return void this.fail(describe(error))
    }
    if (reply.seqid !== this.call.seqid) return void this.fail('a reply to another call')
    const { OK, TRY_LATER } = ResultCode
    this.answer({ code: reply.code === OK ? 'ok' : reply.code === TRY_LATER ? 'try_later' : 'refused' })
  }

  private fail(reason: string): void {
    if (this.isClosed) return
    this.isClosed = true
    this.socket?.destroy()
    this.answer({ code: 'failed', reason })
  }

  private answer(answer: Answer): void {
    clearTimeout(this.timer)
    const { call } = this
    this.call = undefined
    call?.done(answer)
  }
}
