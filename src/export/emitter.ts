import { clearTimeout, clock, GenuinePromise, setTimeout } from '../process/genuine'
import { after, apart, guarded, oncePerTurn } from '../process/later'
import { logRarely } from '../process/log'
import { isThread } from '../process/thread'
import { random } from '../trace/id'
import type { LiveSpan } from '../trace/span'
import { type Batch, Batches, type BatchOptions } from './batches'
import type { SpanBuffer } from './buffer'
import { Connection } from './connection'
import type { Ledger } from './ledger'
import type { Answer, Protocol } from './protocol'
import { type RouteOptions, Routes } from './routes'
import type { SpoolOptions } from './spool'
import type { SpoolPump } from './spool-pump'

/**
 * Sends spans to one peer in its own protocol, one call at a time:
 *
 *      a span waits ──100 ms, or a full batch──▶ encode ──▶ connect ──▶ call ──▶ OK: sent
 *                      (batches.ts)                ▲           │          │
 *            the same batch, to the next address,  │           └─ error ──┴─ TRY_LATER, no reply
 *            after all of them with a pause        └──────────────────────────────┘ (routes.ts)
 *
 * and with a spool, a side way (spool-pump.ts):
 *
 *      all addresses have failed, or the buffer is half full ──▶ encode ──▶ a file ──▶ the peer is back: oldest first,
 *                                                                                      in turn with what is new
 *
 * The next batch is begun early, in a turn of its own, when some spans wait, also while one is under way: young spans are encoded from
 * the processor's cache, and die before the garbage collector copies them.
 *
 * A batch is kept until the peer answers OK, so a span may arrive twice but isn't lost while the buffer has room. Nothing
 * here keeps the process alive: sockets and timers are unref'd. Only flush() and drain() hold it, until their deadline.
 */

export interface EmitterOptions extends BatchOptions, RouteOptions {
  /** How long a span waits for others to share its batch. */
  delayMs: number
  /** How long after a call was begun the next one is, unless a batch is full. */
  spacingMs: number
  /** How many spans must wait before the next batch is begun. */
  aheadSpans: number
  connectTimeoutMs: number
  replyTimeoutMs: number
}

export const SCRIBE_DEFAULTS: Omit<EmitterOptions, 'addresses'> = {
  // A thread may be terminated at any time, and nothing of it runs after that.
  delayMs: isThread ? 10 : 100,
  spacingMs: 0,
  aheadSpans: 32,
  batchSpans: 500,
  batchBytes: 512 * 1024,
  connectTimeoutMs: 2_000,
  replyTimeoutMs: 5_000,
  firstPauseMs: 50,
  longestPauseMs: 10_000,
  returnMs: 30_000,
}

/** A call over HTTP costs the peer more, and may go through a proxy to the other end of the world. */
export const HTTP_DEFAULTS: typeof SCRIBE_DEFAULTS = {
  ...SCRIBE_DEFAULTS,
  spacingMs: isThread ? 10 : 1_000,
  // Zipkin's JSON takes 5 µs a span: this many are encoded in a turn of the loop.
  batchSpans: 250,
  connectTimeoutMs: 5_000,
  replyTimeoutMs: 10_000,
}

/** How many times the peer may refuse a batch before it is dropped. */
const MAX_REFUSALS = 5
/** A peer that asks for a longer pause is asked again after this time all the same. */
const MAX_ASKED_PAUSE_MS = 60_000

interface Flusher {
  /** Whether to give up after one round of failures, and to be content when all is in the spool. */
  impatient: boolean
  done: (allSent: boolean) => void
}

export class Emitter {
  /** The exporter's name. */
  readonly name: string
  readonly buffer: SpanBuffer
  tryLater = 0
  failures = 0
  private readonly options: EmitterOptions
  private readonly protocol: Protocol
  private readonly ledger: Ledger
  private readonly batches: Batches
  private readonly routes: Routes
  private readonly pump: SpoolPump | undefined
  /** Only an idle emitter begins something. */
  private state: 'idle' | 'sending' | 'pausing' | 'closed' = 'idle'
  /** The batch that is being sent, in that state alone. */
  private sending: Batch | undefined
  /** The end of the process is being looked for: nothing may keep the loop alive. */
  private isHeld = false
  private connection: Connection | undefined
  /** When the next call may be begun. */
  private nextMs = 0
  /** Ends the delay or the pause. */
  private timer: NodeJS.Timeout | undefined
  private flushers: Flusher[] = []

  constructor(name: string, options: EmitterOptions, buffer: SpanBuffer, protocol: Protocol, spool?: SpoolOptions) {
    this.name = name
    this.options = options
    this.protocol = protocol
    this.buffer = buffer
    this.ledger = buffer.ledger
    this.batches = new Batches(options, buffer, protocol)
    this.routes = new Routes(options, random)
    if (spool === undefined) return
    // Loaded late, with what it loads of Node: most processes have no spool.
    const { SpoolPump } = require('./spool-pump') as typeof import('./spool-pump')
    const isStopped = () => this.isHeld || this.state === 'closed'
    this.pump = new SpoolPump(spool, this.batches, this.ledger, isStopped, () => this.advanceSoon())
  }

  /** Zero without a spool. */
  get spoolErrors(): number {
    return this.pump?.spool.spoolErrors ?? 0
  }

  get recovered(): number {
    return this.pump?.spool.recovered ?? 0
  }

  /**
   * How hard it is to get spans out, for the sampler: 1 from a TRY_LATER until the peer takes spans again, and for a second
   * at least; otherwise how full the buffer is, from 0 to 1.
   */
  pressure(): number {
    return this.routes.isBusy(clock.now()) ? 1 : this.batches.fullness
  }

  /** Takes a span that has ended. */
  add(span: LiveSpan): void {
    if (this.buffer.add(span)) this.wake()
    else
      logRarely(
        `buffer_full ${this.name}`,
        'warn',
        `the buffer is full: spans are being dropped until ${this.protocol.peer} keeps up again`,
      )
  }

  /** A span was added to the buffer. */
  wake(): void {
    const { pump } = this
    if (pump !== undefined) {
      if (this.state !== 'closed' && this.batches.isHalfFull) pump.divertSoon()
      if (pump.isReading) return
    }
    if (this.state === 'idle') {
      if (this.batches.isDue) return void this.advanceSoon()
      if (this.timer === undefined) this.advanceAfter(Math.max(this.options.delayMs, this.nextMs - clock.now()))
    }
    if (this.mayFill && this.buffer.length >= this.options.aheadSpans) this.fillSoon()
  }

  /**
   * Sends everything that waits, now.
   * @param impatient give up after one failure of every address rather than at the deadline, and when all is in the spool
   * @returns whether all was sent
   */
  flush(deadlineMs: number, impatient = false): Promise<boolean> {
    if (this.state === 'closed') return GenuinePromise.resolve(false)
    const before = this.buffer.counts()
    if (before.buffered + before.inFlight + before.spooled === 0) return GenuinePromise.resolve(true)
    return new GenuinePromise(resolve => {
      const flusher: Flusher = {
        impatient,
        done: allSent => {
          clearTimeout(deadline)
          this.flushers = this.flushers.filter(other => other !== flusher)
          resolve(allSent && this.buffer.counts().dropped === before.dropped)
        },
      }
      // This timer isn't unref'd: a flush keeps the process alive.
      const deadline = setTimeout(() => flusher.done(false), deadlineMs)
      this.flushers.push(flusher)
      this.hurry()
    })
  }

  /** Sends what waits without a delay or a pause. It returns at once, because the process may be about to end. */
  hurry(): void {
    if (this.state === 'pausing') this.state = 'idle'
    guarded(() => this.advance())()
  }

  /** While it is held, the emitter begins nothing that keeps the loop alive. */
  hold(isHeld: boolean): void {
    this.isHeld = isHeld
    if (!isHeld && this.inMemory() > 0) this.advanceSoon()
  }

  /** Writes everything that hasn't been sent to the spool, if there is one. Resolves then, or at the deadline. */
  drain(deadlineMs: number): Promise<void> {
    if (this.state === 'closed' || this.pump === undefined || this.inMemory() === 0) return GenuinePromise.resolve()
    this.stopSending()
    return this.pump.drain(deadlineMs)
  }

  /** Does the same as `drain` in the process's last moment, synchronously. What can't be written stays where it is. */
  drainNow(): void {
    if (this.state === 'closed' || this.pump === undefined) return
    this.stopSending()
    this.pump.drainNow()
  }

  /** Gives up every span in memory, and counts it under `reason`. */
  abandon(reason: 'exit' | 'shutdown'): void {
    for (const { spans } of this.stop()) this.ledger.settle(spans, reason)
    this.buffer.drop(reason)
    this.endPromises()
  }

  /** Closes, and passes what is in memory on to `next`, which has the same name and buffer. The spool's files stay. */
  handOver(next: Emitter): void {
    next.batches.append(...this.stop())
    this.state = 'closed'
    this.ledger.leaveSpooled()
    next.tryLater = this.tryLater
    next.failures = this.failures
    this.endPromises()
    this.closeSpool()
    if (next.inMemory() > 0) next.advanceSoon()
  }

  /**
   * Gives up every span in memory, for good.
   * @returns resolves once the spool's directory is touched no more, or at the deadline
   */
  close(deadlineMs = 0): Promise<void> {
    this.abandon('shutdown')
    this.state = 'closed'
    return this.pump?.close(deadlineMs) ?? GenuinePromise.resolve()
  }

  /** Lets the spool go at the end of the process. */
  closeSpool(): void {
    void this.pump?.spool.close()
  }

  /** How many spans would be lost with the process. */
  inMemory(): number {
    const { buffered, inFlight } = this.buffer.counts()
    return buffered + inFlight
  }

  /** @returns the batches that were in flight */
  private stop(): Batch[] {
    clearTimeout(this.timer)
    this.timer = undefined
    this.stopSending()
    if (this.state === 'pausing') this.state = 'idle'
    this.disconnect()
    const batches = this.batches.takeAll()
    return this.pump === undefined ? batches : [...batches, ...this.pump.letGo()]
  }

  private endPromises(): void {
    for (const flusher of this.flushers) flusher.done(false)
    this.pump?.settleDrained()
  }

  /** The batch that is being sent goes back to where it came from. */
  private stopSending(): void {
    const { sending } = this
    if (sending === undefined) return
    this.disconnect()
    this.giveBack(sending)
  }

  private giveBack(batch: Batch): void {
    this.idle()
    if (batch.file === undefined) this.batches.giveBack(batch)
    else this.pump!.giveBack(batch)
  }

  private idle(): void {
    this.state = 'idle'
    this.sending = undefined
  }

  private disconnect(): void {
    this.connection?.destroy()
    this.connection = undefined
  }

  private advanceAfter(ms: number): void {
    clearTimeout(this.timer)
    this.timer = after(ms, () => {
      this.timer = undefined
      if (this.state === 'pausing') this.state = 'idle'
      this.advance()
    })
  }

  /** A turn of its own: a backlog mustn't hold the loop. */
  private readonly advanceSoon = oncePerTurn(() => this.advance())

  /** A turn of its own: not within the application's call that ended a span. */
  private readonly fillSoon = oncePerTurn(() => {
    if (this.mayFill) this.batches.fill()
  })

  /** While a batch is under way, the next one is begun. What there is besides stays in the buffer, which is bounded. */
  private get mayFill(): boolean {
    return (this.state === 'idle' || this.state === 'sending') && !this.batches.isFilled
  }

  private get mayBegin(): boolean {
    return this.state === 'idle' && !this.isHeld && !this.pump?.isReading && !this.pump?.isDraining
  }

  /** Sends the next batch, if there is one and none is under way. */
  private advance(): void {
    if (!this.mayBegin) return
    clearTimeout(this.timer)
    this.timer = undefined
    const { batches, pump } = this
    let batch = batches.nextReturned() ?? pump?.replay(batches.waiting === 0)
    if (batch === undefined && !pump?.isReading) {
      batch = batches.next()
      // This turn's spans were all too large.
      if (batch === undefined && batches.waiting > 0) this.advanceSoon()
    }
    if (batch === undefined) this.settleFlushers()
    else this.send(batch)
  }

  private send(batch: Batch): void {
    const { connectTimeoutMs, replyTimeoutMs, spacingMs } = this.options
    const now = clock.now()
    this.nextMs = now + spacingMs
    const address = this.routes.choose(now)
    if (this.connection?.isClosed || this.connection?.address !== address) this.disconnect()
    const call = this.protocol.call(batch.body)
    this.state = 'sending'
    this.sending = batch
    apart(() => {
      const connection = (this.connection ??= new Connection(address, connectTimeoutMs, replyTimeoutMs))
      connection.send(call, answer => {
        if (this.connection === connection) this.answered(connection, batch, answer)
      })
    })
  }

  private answered(connection: Connection, batch: Batch, answer: Answer): void {
    const { host, port } = connection.address
    const { code, reason } = answer
    const { peer } = this.protocol
    const why = reason ? `: ${reason}` : ''
    if (code === 'refused' && ++batch.refusals === MAX_REFUSALS) {
      logRarely(
        `refused ${this.name}`,
        'warn',
        `${peer} at ${host}:${port} refused a batch ${MAX_REFUSALS} times${why}; it was dropped`,
      )
      return void this.finish(batch, 'refused')
    }
    if (code === 'stale') {
      this.disconnect()
      return void this.retry(batch)
    }
    const pauseMs = this.routes.answered(code, clock.now())
    if (code === 'ok') {
      const rejected = Math.min(answer.rejected ?? 0, batch.spans)
      if (rejected > 0)
        logRarely(
          `rejected ${this.name}`,
          'warn',
          `${peer} at ${host}:${port} left out ${rejected} ${rejected === 1 ? 'span' : 'spans'}${why}`,
        )
      // A peer may say OK before it has read the batch.
      if (connection.hasSentAll) this.batches.reuse(batch)
      return void this.finish(batch, 'sent', rejected)
    }
    if (code === 'try_later') this.tryLater++
    if (code === 'failed') {
      this.failures++
      const { buffered, inFlight, spooled } = this.buffer.counts()
      // Those of an ended process's spool aren't counted.
      const waiting = Math.max(buffered + inFlight + spooled, batch.spans)
      logRarely(`failed ${this.name}`, 'warn', `${peer} at ${host}:${port}${why}; spans that wait: ${waiting}`)
    }
    if (code === 'failed' || this.options.addresses.length > 1) this.disconnect()
    if (pauseMs === 0) this.retry(batch)
    else this.pause(batch, Math.max(pauseMs, Math.min(answer.afterMs ?? 0, MAX_ASKED_PAUSE_MS)))
  }

  private finish(batch: Batch, outcome: 'sent' | 'refused', rejected = 0): void {
    const { batches, pump } = this
    this.idle()
    this.ledger.settle(batch.spans - rejected, outcome)
    if (rejected > 0) this.ledger.settle(rejected, 'refused')
    pump?.finish(batch, outcome === 'sent')
    this.settleFlushers()
    if (this.flushers.length > 0 || batches.isDue || batches.hasReturned || pump?.waiting) this.advanceSoon()
    else if (batches.waiting > 0) this.wake()
  }

  /** Sends the batch to another address at once. */
  private retry(batch: Batch): void {
    this.idle()
    if (this.mayBegin) this.send(batch)
    else this.giveBack(batch)
  }

  /** Every address has failed. */
  private pause(batch: Batch, ms: number): void {
    this.giveBack(batch)
    for (const flusher of this.flushers) if (flusher.impatient) flusher.done(false)
    this.state = 'pausing'
    this.advanceAfter(ms)
    this.pump?.divertAll()
  }

  private settleFlushers(): void {
    if (this.flushers.length === 0) return
    const { buffered, inFlight, spooled } = this.buffer.counts()
    if (buffered + inFlight > 0) return
    // At the end of a process what is in the spool may stay there.
    const isEmpty = spooled === 0
    for (const flusher of this.flushers) if (isEmpty || flusher.impatient) flusher.done(isEmpty)
  }
}
