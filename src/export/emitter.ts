import { Writer } from '../codec/binary'
import { CATEGORY, writeLogFrame } from '../codec/scribe'
import { clearTimeout, clock, GenuinePromise, setTimeout } from '../process/genuine'
import { after, apart, guarded, soon } from '../process/later'
import { describe, logRarely } from '../process/log'
import { random } from '../trace/id'
import type { Span } from '../trace/span'
import type { SpanBuffer } from './buffer'
import { type Answer, type ScribeAddress, ScribeConnection } from './connection'
import type { Spool, Spooled, SpoolOptions } from './spool'

/**
 * Sends spans to Scribe, one `Log` call at a time:
 *
 *      a span waits ──100 ms, or a full batch──▶ encode ──▶ connect ──▶ Log ──▶ OK: sent
 *                                                  ▲           │          │
 *            the same batch, to the next address,  │           └─ error ──┴─ TRY_LATER, no reply
 *            after all of them with a pause        └──────────────────────────────┘
 *
 * and with a spool, a side way:
 *
 *      all addresses have failed, or the buffer is half full ──▶ encode ──▶ a file ──▶ Scribe is back: oldest first,
 *                                                                                      in turn with what is new
 *
 * The next batch is begun ahead of its time, in a turn of its own, when some spans wait and no batch is under way: young
 * spans are encoded from the processor's cache, and die before the garbage collector copies them.
 *
 * A batch is kept until Scribe answers OK, so a span may arrive twice but isn't lost while the buffer has room. Nothing
 * here keeps the process alive: sockets and timers are unref'd, and only flush() and drain() hold it, until their
 * deadline.
 */

export type ScribeEncoding = 'raw' | 'base64'

export interface ScribeOptions {
  addresses: ScribeAddress[]
  encoding: ScribeEncoding
  /** How long a span waits for company. */
  delayMs: number
  /** So many that wait begin the next batch. */
  aheadSpans: number
  /** A batch, and what is encoded in one turn of the loop. */
  batchSpans: number
  batchBytes: number
  connectTimeoutMs: number
  replyTimeoutMs: number
  firstPauseMs: number
  longestPauseMs: number
  /** How long another address serves before the first is tried again. */
  returnMs: number
}

export const SCRIBE_DEFAULTS: Omit<ScribeOptions, 'addresses' | 'encoding'> = {
  delayMs: 100,
  aheadSpans: 32,
  batchSpans: 500,
  batchBytes: 512 * 1024,
  connectTimeoutMs: 2_000,
  replyTimeoutMs: 5_000,
  firstPauseMs: 50,
  longestPauseMs: 10_000,
  returnMs: 30_000,
}

/** A record above this isn't sent: the collector refuses it as well. */
const MAX_RECORD_BYTES = 1024 * 1024
/** What the writer keeps of the memory that a large record took. */
const WRITER_BYTES = 2 * 1024 * 1024
/** So often Scribe may answer a batch with an exception before it is dropped. */
const MAX_REFUSALS = 5
/** How full the buffer may get before a part of it goes to the spool. */
const SPOOL_ABOVE = 0.5

interface Batch {
  records: Buffer
  /** Of this process: what the ledger counts as in flight. */
  spans: number
  refusals: number
  /** The file that holds it. */
  file: Spooled | undefined
}

interface Flusher {
  /** Whether one round of failures is enough to give up, and the spool to be content. */
  impatient: boolean
  done: (allSent: boolean) => void
}

export class ScribeEmitter {
  tryLater = 0
  failures = 0
  private readonly options: ScribeOptions
  private readonly buffer: SpanBuffer
  private readonly spool: Spool | undefined
  private readonly writeSpan: (w: Writer, span: Span) => number
  private writer = new Writer(64 * 1024)
  /** The batch that has been begun: spans in the writer, and the bytes that were encoded for it, kept or not. */
  private begunSpans = 0
  private begunBytes = 0
  private connection: ScribeConnection | undefined
  /** What is being sent, or is the next to be. */
  private batch: Batch | undefined
  /** The batch has been given to the connection, and no answer has come. */
  private awaiting = false
  /** What is being written to the spool. */
  private spooling: Batch | undefined
  /** What the spool couldn't take: sent before anything else. Two at most: the failed batch and the one being written. */
  private readonly returned: Batch[] = []
  /** The spool's oldest, read already: it was to be sent, and is safe in its file until it is its turn again. */
  private held: Batch | undefined
  /** The spool's oldest is being read. */
  private reading = false
  /** Everything that waits goes to the spool. */
  private draining = false
  private replayNext = true
  private timer: NodeJS.Timeout | undefined
  private pausing = false
  private turnTaken = false
  private divertTaken = false
  private aheadTaken = false
  private address = 0
  /** Addresses that have failed since the last OK or pause. */
  private failedInRound = 0
  private returnAtMs = 0
  private pauseMs: number
  private lastSeqid = 0
  private flushers: Flusher[] = []
  private drained: (() => void)[] = []
  private closed = false
  private still = false
  /** Scribe's last answer was TRY_LATER. */
  private refusing = false
  private lastTryLaterMs = Number.NEGATIVE_INFINITY

  /**
   * @param writeSpan appends a span as a record and returns its length in bytes
   */
  constructor(
    options: ScribeOptions,
    buffer: SpanBuffer,
    writeSpan: (w: Writer, span: Span) => number,
    spool?: SpoolOptions,
  ) {
    this.options = options
    this.buffer = buffer
    this.writeSpan = writeSpan
    this.pauseMs = options.firstPauseMs
    if (spool === undefined) return
    // Loaded late, with what it loads of Node: most processes have none.
    const { Spool } = require('./spool') as typeof import('./spool')
    this.spool = new Spool(
      spool,
      () => this.pumpSoon(),
      lost => this.buffer.unspool(lost, 'spool_lost'),
    )
    apart(() => this.spool!.start())
  }

  /** Of the spool; zero without one. */
  get spoolErrors(): number {
    return this.spool?.spoolErrors ?? 0
  }

  get recovered(): number {
    return this.spool?.recovered ?? 0
  }

  /**
   * How hard it is to get spans out, for the sampler: 1 from a TRY_LATER until Scribe takes spans again, and for a second
   * at least; else how full the buffer is, from 0.
   */
  pressure(): number {
    if (this.refusing || clock.now() - this.lastTryLaterMs < 1000) return 1
    return this.fullness
  }

  /** A span was added to the buffer. */
  wake(): void {
    if (this.closed) return
    if (this.spool !== undefined && this.fullness > SPOOL_ABOVE) this.divertSoon()
    if (this.batch !== undefined || this.pausing || this.reading) return
    if (this.full()) return void this.pumpSoon()
    if (this.timer === undefined) this.pumpAfter(this.options.delayMs)
    if (this.buffer.length >= this.options.aheadSpans) this.beginSoon()
  }

  /**
   * Sends everything that waits, now.
   * @param impatient give up after one failure of every address rather than at the deadline, and when all is in the spool
   * @returns whether all was sent
   */
  flush(deadlineMs: number, impatient = false): Promise<boolean> {
    if (this.closed) return GenuinePromise.resolve(false)
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
      // The one timer that keeps the process alive.
      const deadline = setTimeout(() => flusher.done(false), deadlineMs)
      this.flushers.push(flusher)
      this.hurry()
    })
  }

  /** Sends what waits at once, without a promise of it: the process may be about to end. */
  hurry(): void {
    this.pausing = false
    guarded(() => this.pump())()
  }

  /** While it is held still it begins nothing that keeps the loop alive. */
  hold(still: boolean): void {
    this.still = still
    if (!still && this.inMemory() > 0 && !this.pausing) this.pumpSoon()
  }

  /** Writes everything that hasn't been sent to the spool, if there is one: until then, or the deadline. */
  drain(deadlineMs: number): Promise<void> {
    if (this.closed || this.spool === undefined || this.inMemory() === 0) return GenuinePromise.resolve()
    return new GenuinePromise(resolve => {
      const done = (): void => {
        clearTimeout(deadline)
        this.drained = this.drained.filter(other => other !== done)
        resolve()
      }
      const deadline = setTimeout(done, deadlineMs)
      this.drained.push(done)
      this.giveBack()
      this.draining = true
      this.divert()
    })
  }

  /** The same in the process's last moment. What can't be written stays where it is. */
  drainNow(): void {
    const { spool } = this
    if (this.closed || spool === undefined) return
    this.giveBack()
    const put = (batch: Batch): boolean => {
      const file = spool.putSync(batch.records, batch.spans)
      if (file !== undefined) this.spooled(file, batch)
      return file !== undefined
    }
    const { spooling } = this
    if (spooling !== undefined && put(spooling)) this.spooling = undefined
    while (this.returned[0] !== undefined && put(this.returned[0])) this.returned.shift()
    if (this.returned.length > 0) return
    while (this.waiting > 0) {
      const batch = this.encode()
      if (batch !== undefined && !put(batch)) return void this.returned.push(batch)
    }
  }

  /** Gives up what waits and what flies, and counts it under `reason`. */
  abandon(reason: 'exit' | 'shutdown'): void {
    for (const { spans } of this.letGo()) this.buffer.settle(spans, reason)
    this.buffer.drop(reason)
    for (const flusher of [...this.flushers]) flusher.done(false)
    for (const done of this.drained) done()
  }

  /** Ends. What waits and what flew goes on by `next`, which has the same buffer; the spool's files stay. */
  handOver(next: ScribeEmitter): void {
    this.closed = true
    next.returned.push(...this.letGo())
    this.buffer.leaveSpooled()
    next.tryLater = this.tryLater
    next.failures = this.failures
    for (const flusher of [...this.flushers]) flusher.done(false)
    for (const done of this.drained) done()
    void this.spool?.close()
    if (next.inMemory() > 0) next.pumpSoon()
  }

  /** Stops. @returns what was in flight, in batches */
  private letGo(): Batch[] {
    this.stop()
    this.giveBack()
    const begun = this.seal()
    if (begun !== undefined) this.returned.push(begun)
    if (this.spooling !== undefined) this.returned.push(this.spooling)
    this.spooling = undefined
    return this.returned.splice(0)
  }

  /** The same, for good. @returns resolves once the spool's directory is touched no more, or at the deadline */
  close(deadlineMs = 0): Promise<void> {
    this.closed = true
    this.abandon('shutdown')
    const { spool } = this
    if (spool === undefined) return GenuinePromise.resolve()
    return new GenuinePromise(resolve => {
      const deadline = after(deadlineMs, resolve)
      void spool.close().then(() => {
        clearTimeout(deadline)
        resolve()
      })
    })
  }

  /** Lets the spool go at the end of the process. */
  leave(): void {
    void this.spool?.close()
  }

  private stop(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.pausing = false
    this.disconnect()
  }

  private disconnect(): void {
    this.connection?.destroy()
    this.connection = undefined
    this.awaiting = false
  }

  /** Spans that are in no batch yet, or in one that has only been begun. */
  private get waiting(): number {
    return this.buffer.length + this.begunSpans
  }

  /** How full the buffer is; a batch that has been begun still counts. */
  private get fullness(): number {
    return this.buffer.fullnessWith(this.begunSpans, this.begunBytes)
  }

  private full(): boolean {
    const { batchSpans, batchBytes } = this.options
    // What a span takes in memory is some four times what it takes in a batch.
    const bytes = this.buffer.bytes / 4 + this.begunBytes
    return this.waiting >= batchSpans || bytes >= batchBytes || this.fullness > SPOOL_ABOVE
  }

  /** Spans that would be lost with the process. */
  inMemory(): number {
    const { buffered, inFlight } = this.buffer.counts()
    return buffered + inFlight
  }

  /** The batch that is being sent goes back to where it came from. */
  private giveBack(): void {
    const { batch } = this
    if (batch === undefined) return
    if (this.awaiting) this.disconnect()
    this.batch = undefined
    if (batch.file === undefined) this.returned.unshift(batch)
    else {
      this.buffer.settle(batch.spans, 'spooled')
      this.held = batch
    }
  }

  private pumpAfter(ms: number): void {
    clearTimeout(this.timer)
    this.timer = after(ms, () => {
      this.timer = undefined
      this.pausing = false
      this.pump()
    })
  }

  /** In a turn of its own: a backlog mustn't hold the loop. */
  private pumpSoon(): void {
    if (this.turnTaken) return
    this.turnTaken = true
    soon(() => {
      this.turnTaken = false
      this.pump()
    })
  }

  private pump(): void {
    if (this.closed || this.still || this.awaiting || this.pausing || this.reading || this.drained.length > 0) return
    clearTimeout(this.timer)
    this.timer = undefined
    const batch = (this.batch ??= this.next())
    if (batch === undefined) {
      // Nothing but what was too large, for this turn.
      if (this.buffer.length > 0 && !this.reading) this.pumpSoon()
      this.settleFlushers()
      return
    }
    this.send(batch)
  }

  /** What is to be sent now. Undefined: nothing, or the spool's oldest as soon as it has been read. */
  private next(): Batch | undefined {
    const returned = this.returned.shift()
    if (returned !== undefined) return returned
    const { spool, held } = this
    const replays = held !== undefined || (spool?.waiting === true && spool.usable)
    if (spool === undefined || !replays || !(this.replayNext || this.waiting === 0)) {
      this.replayNext = true
      return this.encode()
    }
    this.replayNext = false
    if (held !== undefined) {
      this.held = undefined
      this.buffer.unspool(held.spans, 'flight')
      return held
    }
    this.reading = true
    const read = guarded((file: Spooled | undefined) => {
      this.reading = false
      if (file === undefined) return void this.pumpSoon()
      if (this.closed) return
      this.buffer.unspool(file.own, 'flight')
      this.batch = { records: file.records, spans: file.own, refusals: 0, file }
      this.pump()
    })
    apart(() => void spool.oldest().then(read))
    return undefined
  }

  /** In a turn of its own: not within the application's call that ended a span. */
  private beginSoon(): void {
    if (this.aheadTaken) return
    this.aheadTaken = true
    soon(() => {
      this.aheadTaken = false
      // While a batch is under way the spans stay in the buffer, which is bounded.
      if (!this.closed && this.batch === undefined) this.fill()
    })
  }

  /** One batch: the work of one turn of the loop. */
  private encode(): Batch | undefined {
    this.fill()
    return this.seal()
  }

  /** Encodes what waits, until the batch is full. */
  private fill(): void {
    const { batchSpans, batchBytes } = this.options
    const w = this.writer
    while (this.begunSpans < batchSpans && this.begunBytes < batchBytes) {
      const span = this.buffer.take()
      if (span === undefined) break
      const start = w.pos
      let length = 0
      try {
        length = this.writeSpan(w, span)
      } catch (error) {
        // A name that the application has set to something that is no text.
        w.pos = start
        this.buffer.settle(1, 'unencodable')
        logRarely('unencodable', 'warn', `a span was dropped, it can't be encoded: ${describe(error)}`)
        continue
      }
      this.begunBytes += length
      if (length > MAX_RECORD_BYTES) {
        w.pos = start
        this.buffer.settle(1, 'too_large')
        logRarely('too_large', 'warn', `a span of ${length} bytes was dropped: at most ${MAX_RECORD_BYTES} are sent`)
      } else this.begunSpans++
    }
  }

  /** What has been begun is a batch. */
  private seal(): Batch | undefined {
    const w = this.writer
    const spans = this.begunSpans
    this.begunSpans = this.begunBytes = 0
    const records = spans === 0 ? undefined : w.take()
    if (w.buf.length > WRITER_BYTES) this.writer = new Writer(64 * 1024)
    return records && { records, spans, refusals: 0, file: undefined }
  }

  private send(batch: Batch): void {
    const { addresses, encoding, connectTimeoutMs, replyTimeoutMs } = this.options
    if (this.connection?.dead) this.connection = undefined
    if (this.address !== 0 && clock.now() >= this.returnAtMs) {
      this.disconnect()
      this.address = 0
    }
    const seqid = (this.lastSeqid = (this.lastSeqid % 0x7fffffff) + 1)
    const { records } = batch
    const message = encoding === 'raw' ? records : Buffer.from(records.toString('base64'), 'latin1')
    const w = new Writer(message.length + 64)
    writeLogFrame(w, seqid, CATEGORY, w => w.raw(message))
    const frame = w.buf.subarray(0, w.pos)
    this.awaiting = true
    apart(() => {
      const address = addresses[this.address]!
      const connection = (this.connection ??= new ScribeConnection(address, connectTimeoutMs, replyTimeoutMs))
      connection.send(frame, seqid, answer => {
        if (this.connection !== connection) return
        this.awaiting = false
        this.answered(batch, answer)
      })
    })
  }

  private answered(batch: Batch, answer: Answer): void {
    const { host, port } = this.options.addresses[this.address]!
    switch (answer.code) {
      case 'ok':
        this.pauseMs = this.options.firstPauseMs
        this.failedInRound = 0
        this.refusing = false
        this.finish(batch, 'sent')
        return
      case 'try_later':
        this.tryLater++
        this.refusing = true
        this.lastTryLaterMs = clock.now()
        this.nextAddress()
        return
      case 'refused':
        if (++batch.refusals < MAX_REFUSALS) return void this.nextAddress()
        logRarely('refused', 'warn', `Scribe refused a batch ${MAX_REFUSALS} times; it was dropped`)
        this.finish(batch, 'refused')
        return
      case 'failed':
        this.failures++
        this.connection = undefined
        logRarely(
          'scribe',
          'warn',
          `Scribe at ${host}:${port}: ${answer.reason}; spans wait, ${this.buffer.length} of them now`,
        )
        this.nextAddress()
    }
  }

  private finish(batch: Batch, outcome: 'sent' | 'refused'): void {
    this.batch = undefined
    this.draining = false
    this.buffer.settle(batch.spans, outcome)
    if (batch.file !== undefined) this.spool!.remove(batch.file, outcome === 'sent')
    this.settleFlushers()
    if (this.flushers.length > 0 || this.full() || this.returned.length > 0 || this.held || this.spool?.waiting)
      this.pumpSoon()
    else if (this.waiting > 0) this.wake()
  }

  private settleFlushers(): void {
    if (this.flushers.length === 0) return
    const { buffered, inFlight, spooled } = this.buffer.counts()
    if (buffered + inFlight > 0) return
    // At the end of a process what is in the spool may stay there.
    const isEmpty = spooled === 0
    for (const flusher of [...this.flushers]) if (isEmpty || flusher.impatient) flusher.done(isEmpty)
  }

  /** Another address is tried at once; a pause comes after each has failed. */
  private nextAddress(): void {
    const { addresses } = this.options
    if (addresses.length > 1) {
      this.disconnect()
      if (this.address === 0) this.returnAtMs = clock.now() + this.options.returnMs
      this.address = (this.address + 1) % addresses.length
    }
    if (++this.failedInRound < addresses.length) return void this.pump()
    this.failedInRound = 0
    for (const flusher of this.flushers.filter(flusher => flusher.impatient)) flusher.done(false)
    if (this.closed) return
    this.pausing = true
    // Between half of it and all of it, so that a thousand processes don't come back in one instant.
    this.pumpAfter(this.pauseMs * (0.5 + random() / 2))
    this.pauseMs = Math.min(this.pauseMs * 2, this.options.longestPauseMs)
    if (this.batch?.file !== undefined) this.giveBack()
    if (this.spool?.usable) {
      this.giveBack()
      this.draining = true
      this.divert()
    }
  }

  private spooled(file: string, { spans }: Batch): void {
    this.spool!.claim(file, spans)
    this.buffer.settle(spans, 'spooled')
  }

  /** Not within the application's call that ended a span. */
  private divertSoon(): void {
    if (this.divertTaken || this.spooling !== undefined) return
    this.divertTaken = true
    soon(() => {
      this.divertTaken = false
      this.divert()
    })
  }

  /** Puts a batch into the spool, and more while everything, or the buffer's upper half, has to go there. */
  private divert(): void {
    const { spool } = this
    if (spool === undefined || this.spooling !== undefined || this.closed || this.still) return
    const batch = spool.usable ? (this.returned.shift() ?? this.encode()) : undefined
    if (batch === undefined) {
      // Nothing but what was too large, for this turn.
      if (spool.usable && this.buffer.length > 0) return void this.divertSoon()
      this.draining = false
      for (const done of this.drained) done()
      return
    }
    this.spooling = batch
    const written = guarded((file: string | undefined) => {
      // Given up, or written again, in the meantime: the file's spans aren't counted a second time.
      if (this.spooling !== batch) return
      this.spooling = undefined
      if (file !== undefined) this.spooled(file, batch)
      else this.returned.push(batch)
      if (this.draining || this.drained.length > 0 || this.fullness > SPOOL_ABOVE) this.divert()
      if (this.batch === undefined) this.pumpSoon()
    })
    apart(() => void spool.put(batch.records, batch.spans).then(written))
  }
}
