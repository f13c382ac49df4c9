import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import { ResultCode, readLogReply } from '../codec/scribe'
import { clearTimeout } from '../process/genuine'
import { after, guarded, soon } from '../process/later'
import { describe } from '../process/log'

/**
 * One connection to one Scribe, over TCP or TLS, and one call at a time on it. Whatever the peer does (nothing, garbage,
 * a reset, an answer nobody asked for), the caller hears of it once, through `done`, within the time limits.
 */

export interface ScribeAddress {
  host: string
  port: number
  /** Undefined: plain TCP. */
  tls?: ScribeTls | undefined
}

export interface ScribeTls {
  /** What Node's TLS trusts and shows: made at init, so that a certificate that can't be used is an error there. */
  context: SecureContext
  rejectUnauthorized: boolean
}

/** What became of a call. `failed`: the connection is gone, and nothing is known of the batch. */
export type Answer = { code: 'ok' | 'try_later' | 'refused' } | { code: 'failed'; reason: string }

/** A reply to Log has 20-odd bytes; an exception some hundred. More than this is no Scribe. */
const MAX_REPLY_BYTES = 16 * 1024

export class ScribeConnection {
  /** Closed, or about to be. */
  dead = false
  readonly address: ScribeAddress
  private socket: Socket | undefined
  private readonly replyTimeoutMs: number
  private timer: NodeJS.Timeout | undefined
  private reply: Buffer[] = []
  private replyBytes = 0
  /** Of the reply's frame, its length word included; 0 until that has come. */
  private replyLength = 0
  private call: { frame: Buffer; seqid: number; done: (answer: Answer) => void } | undefined
  private ready = false
  /** Why it could not even be begun. */
  private refusal: string | undefined

  constructor(address: ScribeAddress, connectTimeoutMs: number, replyTimeoutMs: number) {
    this.address = address
    this.replyTimeoutMs = replyTimeoutMs
    try {
      this.connect(address, connectTimeoutMs)
    } catch (error) {
      // A host that Node refuses, or a process that may not connect.
      this.refusal = describe(error)
      this.destroy()
    }
  }

  private connect({ host, port, tls }: ScribeAddress, connectTimeoutMs: number): void {
    // Loaded late: a program that ends no span pays for neither.
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
        // An address is no name to be asked for; the certificate is checked against it all the same.
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

  /** Sends a Log call, once the connection stands. The call before must have been answered. */
  send(frame: Buffer, seqid: number, done: (answer: Answer) => void): void {
    this.call = { frame, seqid, done }
    // Failed already, before anybody could hear of it.
    if (this.dead) soon(() => this.answer({ code: 'failed', reason: this.refusal ?? 'refused at once' }))
    else if (this.ready) this.write()
  }

  /** Closes; a call that is under way hears nothing more. */
  destroy(): void {
    this.dead = true
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
    if (this.dead) return
    if (this.call === undefined || !this.ready) return void this.fail('a reply to nothing that was asked')
    this.reply.push(data)
    this.replyBytes += data.length
    if (this.replyLength === 0) {
      if (this.replyBytes < 4) return
      const length = Buffer.concat(this.reply).readInt32BE(0)
      if (length <= 0 || length > MAX_REPLY_BYTES)
        return void this.fail(`a reply of ${length} bytes: this is no Scribe`)
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
    if (this.dead) return
    this.dead = true
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
