import { AsyncResource } from 'node:async_hooks'
import type { Socket } from 'node:net'
import type { SpanBuffer } from './buffer'
import { Writer } from './codec/binary'
import { CATEGORY, ResultCode, readLogReply, writeLogFrame } from './codec/scribe'
import { describe, logRarely } from './log'
import type { Span } from './span'

/**
 * Sends spans to Scribe, one `Log` call at a time:
 *
 *      a span waits ──100 ms, or a full batch──▶ encode ──▶ connect ──▶ Log ──▶ OK: sent
 *                                                  ▲           │          │
 *                                                  │           └─ error ──┴─ TRY_LATER, no reply
 *                                                  └──── the same batch, after a pause ◀──┘
 *
 * A batch is kept until Scribe answers OK, so a span may arrive twice but isn't lost while the buffer has room. Nothing
 * here keeps the process alive: sockets and timers are unref'd, and only flush() holds it, until its deadline.
 */

export interface ScribeAddress {
  host: string
  port: number
}

export interface ScribeOptions {
  addresses: ScribeAddress[]
  /** How long a span waits for company. */
  delayMs: number
  batchSpans: number
  batchBytes: number
  connectTimeoutMs: number
  replyTimeoutMs: number
  firstPauseMs: number
  longestPauseMs: number
}

export const SCRIBE_DEFAULTS: Omit<ScribeOptions, 'addresses'> = {
  delayMs: 100,
  batchSpans: 500,
  batchBytes: 512 * 1024,
  connectTimeoutMs: 2_000,
  replyTimeoutMs: 5_000,
  firstPauseMs: 50,
  longestPauseMs: 10_000,
}

/** A record above this isn't sent: the collector refuses it as well. */
const MAX_RECORD_BYTES = 1024 * 1024
/** A reply to Log has 20-odd bytes; an exception some hundred. More than this is no Scribe. */
const MAX_REPLY_BYTES = 64 * 1024
/** So often Scribe may answer a batch with an exception before it is dropped. */
const MAX_REFUSALS = 5

interface Batch {
  frame: Buffer
  seqid: number
  spans: number
  refusals: number
}

interface Flusher {
  /** Whether one round of failures is enough to give up. */
  impatient: boolean
  done: (allSent: boolean) => void
}

export class ScribeEmitter {
  tryLater = 0
  failures = 0
  private readonly options: ScribeOptions
  private readonly buffer: SpanBuffer
  private readonly writeSpan: (w: Writer, span: Span) => number
  private readonly writer = new Writer(64 * 1024)
  /** Timers and sockets are made in here, so that they don't keep the context of whichever request ended a span. */
  private readonly scope = new AsyncResource('MiloScribe')
  private socket: Socket | undefined
  private connected = false
  private replyBytes: Buffer = Buffer.alloc(0)
  private batch: Batch | undefined
  /** The batch has been written and its reply is awaited. */
  private awaiting = false
  private timer: NodeJS.Timeout | undefined
  private replyTimer: NodeJS.Timeout | undefined
  private pausing = false
  private pumpSoon = false
  private address = 0
  private pauseMs: number
  private lastSeqid = 0
  private flushers: Flusher[] = []
  private closed = false
  /** Scribe's last answer was TRY_LATER. */
  private refusing = false
  private lastTryLaterMs = Number.NEGATIVE_INFINITY

  /** @param writeSpan appends a span as a record and returns its length in bytes */
  constructor(options: ScribeOptions, buffer: SpanBuffer, writeSpan: (w: Writer, span: Span) => number) {
    this.options = options
    this.buffer = buffer
    this.writeSpan = writeSpan
    this.pauseMs = options.firstPauseMs
  }

  /**
   * How hard it is to get spans out, for the sampler: 1 from a TRY_LATER until Scribe takes spans again, and for a second
   * at least; else how full the buffer is, from 0.
   */
  pressure(): number {
    if (this.refusing || performance.now() - this.lastTryLaterMs < 1000) return 1
    return this.buffer.fullness
  }

  /** A span was added to the buffer. */
  wake(): void {
    if (this.closed || this.batch !== undefined || this.pausing) return
    if (this.buffer.length >= this.options.batchSpans) {
      if (this.pumpSoon) return
      this.pumpSoon = true
      this.scope.runInAsyncScope(() => {
        setImmediate(() => {
          this.pumpSoon = false
          this.pump()
        }).unref()
      })
    } else if (this.timer === undefined) {
      this.pumpAfter(this.options.delayMs)
    }
  }

  /**
   * Sends everything that waits, now.
   * @param impatient give up after one failure of every address rather than at the deadline
   * @returns whether all was sent
   */
  flush(deadlineMs: number, impatient = false): Promise<boolean> {
    if (this.closed || (this.batch === undefined && this.buffer.length === 0)) return Promise.resolve(!this.closed)
    return new Promise(resolve => {
      const flusher: Flusher = {
        impatient,
        done: allSent => {
          clearTimeout(deadline)
          this.flushers = this.flushers.filter(other => other !== flusher)
          resolve(allSent)
        },
      }
      // The one timer that keeps the process alive.
      const deadline = setTimeout(() => flusher.done(false), deadlineMs)
      this.flushers.push(flusher)
      this.pausing = false
      this.pump()
    })
  }

  /** Gives up what waits and what flies, and counts it under `reason`. */
  abandon(reason: 'exit' | 'shutdown'): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.pausing = false
    this.dropSocket()
    if (this.batch !== undefined) this.buffer.settle(this.batch.spans, reason)
    this.batch = undefined
    this.buffer.drop(reason)
    for (const flusher of [...this.flushers]) flusher.done(false)
  }

  /** The same, for good. */
  close(): void {
    this.closed = true
    this.abandon('shutdown')
  }

  private pumpAfter(ms: number): void {
    clearTimeout(this.timer)
    this.scope.runInAsyncScope(() => {
      this.timer = setTimeout(() => {
        this.timer = undefined
        this.pausing = false
        this.pump()
      }, ms)
      this.timer.unref()
    })
  }

  private pump(): void {
    if (this.closed || this.awaiting || this.pausing) return
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.batch === undefined) this.batch = this.encode()
    if (this.batch === undefined) return
    if (this.connected) this.send(this.batch)
    else if (this.socket === undefined) this.connect()
  }

  private encode(): Batch | undefined {
    const { batchSpans, batchBytes } = this.options
    while (this.buffer.length > 0) {
      const spans = this.buffer.take(batchSpans)
      const seqid = (this.lastSeqid = (this.lastSeqid % 0x7fffffff) + 1)
      const w = this.writer
      let count = 0
      w.pos = 0
      writeLogFrame(w, seqid, CATEGORY, w => {
        let next = 0
        while (next < spans.length && (next === 0 || w.pos < batchBytes)) {
          const start = w.pos
          const length = this.writeSpan(w, spans[next++]!)
          if (length > MAX_RECORD_BYTES) {
            w.pos = start
            this.buffer.settle(1, 'too_large')
            logRarely(
              'too_large',
              'warn',
              `a span of ${length} bytes was dropped: at most ${MAX_RECORD_BYTES} are sent`,
            )
          } else count++
        }
        this.buffer.untake(spans.slice(next))
      })
      if (count > 0) return { frame: w.take(), seqid, spans: count, refusals: 0 }
    }
    return undefined
  }

  private connect(): void {
    const { host, port } = this.options.addresses[this.address]!
    this.scope.runInAsyncScope(() => {
      // Loaded late: a program that ends no span doesn't pay for it.
      const net = require('node:net') as typeof import('node:net')
      const socket = net.connect({ host, port, noDelay: true, keepAlive: true })
      this.socket = socket
      socket.unref()
      const timeout = setTimeout(
        () => socket.destroy(new Error('no connection in time')),
        this.options.connectTimeoutMs,
      )
      timeout.unref()
      let reason = 'closed by the peer'
      socket.on('connect', () => {
        clearTimeout(timeout)
        this.connected = true
        this.replyBytes = Buffer.alloc(0)
        if (this.batch !== undefined) this.send(this.batch)
      })
      socket.on('data', data => this.received(socket, data))
      socket.on('error', error => {
        reason = describe(error)
      })
      socket.on('close', () => {
        clearTimeout(timeout)
        if (this.socket !== socket) return
        this.dropSocket()
        if (this.batch !== undefined) this.failed(`${host}:${port}: ${reason}`)
      })
    })
  }

  private send(batch: Batch): void {
    this.awaiting = true
    this.scope.runInAsyncScope(() => {
      this.replyTimer = setTimeout(
        () => this.socket?.destroy(new Error('no reply in time')),
        this.options.replyTimeoutMs,
      )
      this.replyTimer.unref()
      this.socket!.write(batch.frame)
    })
  }

  private received(socket: Socket, data: Buffer): void {
    if (this.socket !== socket) return
    const bytes = this.replyBytes.length === 0 ? data : Buffer.concat([this.replyBytes, data])
    this.replyBytes = bytes
    if (bytes.length < 4) return
    const length = bytes.readInt32BE(0)
    if (length <= 0 || length > MAX_REPLY_BYTES) {
      socket.destroy(new Error(`a reply of ${length} bytes: this is no Scribe`))
      return
    }
    if (bytes.length < 4 + length) return
    this.replyBytes = bytes.subarray(4 + length)
    let reply: ReturnType<typeof readLogReply>
    try {
      reply = readLogReply(bytes.subarray(4, 4 + length))
    } catch (error) {
      socket.destroy(error as Error)
      return
    }
    const batch = this.batch
    if (batch === undefined || !this.awaiting || reply.seqid !== batch.seqid) {
      socket.destroy(new Error('a reply to nothing that was asked'))
      return
    }
    this.answered(batch, reply.code)
  }

  private answered(batch: Batch, code: number | undefined): void {
    clearTimeout(this.replyTimer)
    this.awaiting = false
    if (code === ResultCode.OK) {
      this.pauseMs = this.options.firstPauseMs
      this.refusing = false
      this.finish(batch, 'sent')
    } else if (code === ResultCode.TRY_LATER) {
      this.tryLater++
      this.refusing = true
      this.lastTryLaterMs = performance.now()
      this.pause()
    } else if (++batch.refusals >= MAX_REFUSALS) {
      logRarely(
        'refused',
        'warn',
        `Scribe refused a batch of ${batch.spans} spans ${MAX_REFUSALS} times; it was dropped`,
      )
      this.finish(batch, 'refused')
    } else {
      this.pause()
    }
  }

  private finish(batch: Batch, outcome: 'sent' | 'refused'): void {
    this.batch = undefined
    this.buffer.settle(batch.spans, outcome)
    if (this.buffer.length === 0) for (const flusher of [...this.flushers]) flusher.done(outcome === 'sent')
    else if (this.flushers.length > 0) this.pump()
    else this.wake()
  }

  private failed(reason: string): void {
    this.failures++
    const { addresses } = this.options
    logRarely('scribe', 'warn', `Scribe at ${reason}; spans wait, ${this.buffer.length} of them now`)
    this.address = (this.address + 1) % addresses.length
    // Another address is tried at once; a pause comes after each has failed.
    if (this.address !== 0) this.pump()
    else this.pause()
  }

  private pause(): void {
    for (const flusher of this.flushers.filter(flusher => flusher.impatient)) flusher.done(false)
    if (this.closed) return
    this.pausing = true
    // Between half of it and all of it, so that a thousand processes don't come back in one instant.
    this.pumpAfter(this.pauseMs * (0.5 + Math.random() / 2))
    this.pauseMs = Math.min(this.pauseMs * 2, this.options.longestPauseMs)
  }

  private dropSocket(): void {
    clearTimeout(this.replyTimer)
    this.socket?.destroy()
    this.socket = undefined
    this.connected = false
    this.awaiting = false
  }
}
