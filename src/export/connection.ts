import type { Socket } from 'node:net'
import { builtin } from '../process/builtin'
import { clearTimeout } from '../process/genuine'
import { after, guarded, soon } from '../process/later'
import { describe } from '../process/log'
import type { Answer, Call } from './protocol'

/**
 * One connection to one peer, over TCP or TLS, and one call at a time on it. Whatever the peer does (nothing, garbage,
 * a reset, an unsolicited reply), the caller learns of it once, through `done`, within the time limits.
 *
 * It is Milo's own use of sockets, for HTTP too: what traces, mocks or limits an application's requests never sees Milo's.
 */

export interface Address {
  host: string
  port: number
  /** Undefined: plain TCP. */
  tls?: Tls | undefined
}

export interface Tls {
  /** Begins a connection. What it takes is made at init, so that an unusable certificate is an error there. */
  connect(host: string, port: number): Socket
}

export class Connection {
  /** Closed, or about to be. */
  isClosed = false
  readonly address: Address
  private socket: Socket | undefined
  private readonly replyTimeoutMs: number
  private timer: NodeJS.Timeout | undefined
  private call: Call | undefined
  /** Called once: with the answer to the call, or without a call once the connection has ended. */
  done: ((answer: Answer) => void) | undefined
  private ready = false
  /** Whether the peer has answered a call, and whether it has begun to answer the one that is under way. */
  private hasAnswered = false
  private isAnswering = false
  /** Why the connection couldn't even be begun. */
  private refusal: string | undefined

  constructor(address: Address, connectTimeoutMs: number, replyTimeoutMs: number) {
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

  private connect({ host, port, tls }: Address, connectTimeoutMs: number): void {
    // Loaded late: a program that ends no span doesn't pay for it.
    const net = builtin('node:net', () => require('node:net'))
    const socket = tls?.connect(host, port) ?? net.connect({ host, port, noDelay: true, keepAlive: true })
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
      guarded((error: Error) => this.lost(describe(error))),
    )
    socket.on(
      'close',
      guarded(() => this.closed()),
    )
  }

  /** Makes a call as soon as the connection is established. The previous call must have been answered. */
  send(call: Call, done: (answer: Answer) => void): void {
    this.call = call
    this.done = done
    // The connection failed before this call.
    if (this.isClosed) soon(() => this.answer({ code: 'failed', reason: this.refusal ?? 'refused at once' }))
    else if (this.ready) this.write()
  }

  /** Whether nothing that was given to it is still to be sent. */
  get hasSentAll(): boolean {
    return this.socket?.writableLength === 0
  }

  /** Closes the connection. `done` isn't called for a call that is under way. */
  destroy(): void {
    this.isClosed = true
    this.call = this.done = undefined
    clearTimeout(this.timer)
    this.socket?.destroy()
  }

  private write(): void {
    if (this.call === undefined) return
    this.isAnswering = false
    this.timer = after(this.replyTimeoutMs, () => this.fail('no reply in time'))
    const { socket } = this
    // As one: they aren't copied together.
    socket?.cork()
    for (const part of this.call.parts) socket?.write(part)
    socket?.uncork()
  }

  private received(data: Buffer): void {
    if (this.isClosed) return
    if (this.call === undefined || !this.ready) return void this.fail('a reply to no call')
    this.isAnswering = true
    let answer: Answer | undefined
    try {
      answer = this.call.read(data)
    } catch (error) {
      return void this.fail(describe(error))
    }
    if (answer === undefined) return
    if (answer.closes || answer.code === 'failed') this.close()
    this.answer(answer)
  }

  private closed(): void {
    if (this.isClosed) return
    const answer = this.isAnswering ? this.call?.end?.() : undefined
    if (answer === undefined) return void this.lost('closed by the peer')
    this.close()
    this.answer(answer)
  }

  /** The peer has gone. A connection that has served before may have been closed just as it was used again. */
  private lost(reason: string): void {
    this.fail(reason, this.hasAnswered && !this.isAnswering ? 'stale' : 'failed')
  }

  private fail(reason: string, code: 'failed' | 'stale' = 'failed'): void {
    if (this.isClosed) return
    this.close()
    this.answer({ code, reason })
  }

  private close(): void {
    this.isClosed = true
    this.socket?.destroy()
  }

  private answer(answer: Answer): void {
    clearTimeout(this.timer)
    const { done } = this
    this.call = this.done = undefined
    this.hasAnswered = true
    done?.(answer)
  }
}
