import { setTimeout as sleep } from 'node:timers/promises'
import { IdMap } from '../../record/ids'
import type { RawTrace } from '../../record/records'
import { scanRecords } from '../../record/records'
import { METER_STATS, type MeterStats } from '../activity/model'
import { type Backlog, type Message, NO_BACKLOG, StoreError } from '../store'
import { type Clock, MessageNumbers } from './clock'
import type { Entry } from './entry'
import { closedError, GroupCommit } from './group-commit'
import { isLasting, withoutRefused } from './refused'
import { UniqueRecords } from './unique-records'

/**
 * The only way of a span into a store of any kind:
 *
 *     append → group → backend.accept: durable → OK
 *                          │
 *                       pending ─── readTrace looks here, and in what is settled
 *                          │  in the background
 *                          ▼
 *                  backend.write: regrouped, indexed
 *                          ▼
 *                  backend.finish: counted, checkpoint moved → forgotten
 *
 * Messages are numbered in order of acceptance. Everything up to the checkpoint is settled; everything after it is read again
 * at the next start. Both steps of settling are repeated after a crash, so writing is idempotent, and a message is counted by the
 * transaction that moves the checkpoint.
 */
export interface Backend {
  readonly clock: Clock
  /** The size of a group of messages, and how many groups may be written at once. */
  readonly groupBytes: number
  readonly groups: number
  /** Settles when this many spans wait, or after this time. */
  readonly settleSpans: number
  readonly settleMs: number
  /** Returns a number that is used up, at least the checkpoint. New messages get higher numbers than this and all replayed entries. */
  lastId(): bigint | Promise<bigint>
  /** Resolves when the messages are durable. */
  accept(messages: Entry[]): void | Promise<void>
  /** Yields what was accepted but not settled before this process started, oldest first; each message as far as it was written. */
  replay(): AsyncIterable<Entry>
  /**
   * Resolves when the entries can be found. After a rejection it is called again with the same entries, or with parts of them
   * if isLasting(error).
   */
  write(entries: Entry[]): Promise<void>
  /**
   * Counts what services did by these entries, which are all written, and stores that with the checkpoint in one transaction:
   * the next start replays what comes after the checkpoint. After a rejection it is called again, with the same array. If
   * isLasting(error), it is called without entries instead.
   */
  finish(entries: Entry[], checkpoint: bigint): Promise<Finished>
  /** Stores a record that write refuses for good, with the reason. */
  putAside(entry: Entry, error: Error): void | Promise<void>
  /** How many settlings aren't in the rows of activity yet. */
  readonly unfolded: number
  /** How many records this process has put aside. */
  readonly aside: number
  readSettled(reads: TraceRead[]): Promise<void>
}

/** A trace whose records are wanted. */
export interface TraceRead {
  traceId: bigint
  /** Called with its settled records, several at a time, until it returns false. */
  add(records: Buffer): boolean
}

/** What a finish has counted. */
export interface Finished {
  /** How many of the records have a name, service or annotation that isn't UTF-8. */
  notUtf8: number
  stats: MeterStats
}

export interface PipelineOptions {
  /** Limits of the backlog; above them, append rejects. */
  maxBacklogSpans: number
  maxBacklogBytes: number
  /** Called when settling fails; it is retried. */
  onSettleError(error: unknown): void
}

/** The delay before settling is retried: it doubles from the first value up to the second. */
const RETRY_MS = [250, 8_000] as const
/**
 * Settling and accepting share the processors. So that a steady load isn't accepted faster than it can be settled, groups wait once
 * this many batches aren't settled: not at all up to the first number, and this long from the second on.
 */
const PACED_BATCHES = [2, 6] as const
const MAX_PACE_MS = 100
/** How long close waits for settling. The next start replays what isn't settled by then. */
const CLOSE_SETTLE_MS = 5_000

export class Pipeline {
  private readonly backend: Backend
  private readonly options: PipelineOptions
  private readonly commits: GroupCommit<Message>
  /** Oldest first. The last batch is being filled; the first may be being settled. */
  private readonly batches: Batch[] = []
  /** The first number of each group that is being accepted. */
  private readonly accepting = new Set<bigint>()
  private numbers!: MessageNumbers
  /** The highest number assigned or read. */
  private lastId: bigint
  private spans = 0
  private bytes = 0
  private notUtf8 = 0
  private readonly activity: MeterStats = { ...NO_BACKLOG.activity }
  private settling: Promise<void> | undefined
  private settlingSinceMs: number | undefined
  private timer: NodeJS.Timeout | undefined
  /** After a failure: the delay before the next attempt. New spans don't shorten it. */
  private retryMs: number | undefined
  private closing: Promise<void> | undefined

  /** Replays what an earlier process left unsettled. If it is more than one batch, full batches are settled at once. */
  static async open(backend: Backend, options: PipelineOptions): Promise<Pipeline> {
    const pipeline = new Pipeline(backend, await backend.lastId(), options)
    for await (const entry of backend.replay()) {
      if (pipeline.batches[0]?.isFull(backend.settleSpans)) await pipeline.settleFirst()
      if (entry.id > pipeline.lastId) pipeline.lastId = entry.id
      pipeline.addPending([entry])
    }
    pipeline.numbers = new MessageNumbers(backend.clock, pipeline.lastId)
    pipeline.schedule()
    return pipeline
  }

  private constructor(backend: Backend, lastId: bigint, options: PipelineOptions) {
    this.backend = backend
    this.options = options
    this.lastId = lastId
    this.commits = new GroupCommit(messages => this.accept(messages), backend.groupBytes, backend.groups)
  }

  append(messages: Message[]): Promise<void> {
    const { maxBacklogSpans, maxBacklogBytes } = this.options
    if (this.spans >= maxBacklogSpans || this.bytes >= maxBacklogBytes) {
      const waiting = `${this.spans} accepted spans (${this.bytes} bytes) wait to be settled`
      return Promise.reject(new StoreError('MILO_STORE_BUSY', `${waiting}: no more are accepted until there are fewer`))
    }
    return this.commits.append(messages)
  }

  /** Returns the records of each trace, concatenated and each once, at most `maxBytes` of them. The caller owns the memory. */
  async readTraces(traceIds: bigint[], maxBytes: number): Promise<RawTrace[]> {
    if (this.closing !== undefined) throw closedError()
    const reads = traceIds.map(traceId => {
      const unique = new UniqueRecords(maxBytes)
      // Pending records first: those that are settled meanwhile are found twice rather than never.
      const pending = this.batches.flatMap(batch => batch.read(traceId))
      return { traceId, unique, pending, add: (records: Buffer) => unique.add(records) }
    })
    await this.backend.readSettled(reads)
    return reads.map(({ unique, pending }) => {
      for (const records of pending) unique.add(records)
      return { bytes: unique.taken(), truncated: unique.truncated }
    })
  }

  /** Those of the trace's records that aren't settled yet. */
  readPending(traceId: bigint, maxBytes: number): RawTrace {
    const unique = new UniqueRecords(maxBytes)
    for (const batch of this.batches) for (const records of batch.read(traceId)) unique.add(records)
    return { bytes: unique.taken(), truncated: unique.truncated }
  }

  backlog(): Backlog {
    return {
      spans: this.spans,
      bytes: this.bytes,
      notUtf8: this.notUtf8,
      activity: { ...this.activity, unfolded: this.backend.unfolded },
      putAside: this.backend.aside,
      settlingMs: this.settlingMs(),
    }
  }

  private settlingMs(): number {
    return this.settlingSinceMs === undefined ? 0 : this.backend.clock.steadyMs() - this.settlingSinceMs
  }

  /** Resolves when everything is settled, or can't be settled in time. The caller closes the backend. */
  close(): Promise<void> {
    this.closing ??= this.commits.close().then(async () => {
      clearTimeout(this.timer)
      const { clock } = this.backend
      const deadline = clock.steadyMs() + CLOSE_SETTLE_MS
      await this.settling
      while (this.batches.length > 0 && clock.steadyMs() < deadline) {
        try {
          await this.settleFirst()
        } catch (error) {
          this.options.onSettleError(error)
          break
        }
      }
    })
    return this.closing
  }

  private async accept(messages: Message[]): Promise<void> {
    const waitMs = paceMs(this.spans / this.backend.settleSpans)
    if (waitMs > 0) await sleep(waitMs)
    const first = this.numbers.take(messages.length)
    const receivedUs = this.backend.clock.wallUs()
    const entries = messages.map(({ body, spans }, i): Entry => {
      return { id: first + BigInt(i), receivedUs, body, start: 0, end: body.length, spans }
    })
    this.lastId = first + BigInt(messages.length - 1)
    this.accepting.add(first)
    try {
      await this.backend.accept(entries)
      this.addPending(entries)
    } finally {
      this.accepting.delete(first)
    }
    this.schedule()
  }

  private addPending(entries: Entry[]): void {
    let last = this.batches.at(-1)
    if (last === undefined || last.settling || last.isFull(this.backend.settleSpans)) {
      last = new Batch()
      this.batches.push(last)
    }
    for (const entry of entries) {
      last.add(entry)
      this.spans += entry.spans
      this.bytes += entry.body.length
    }
  }

  private schedule(): void {
    if (this.settling !== undefined || this.closing !== undefined || this.batches.length === 0) return
    if (this.retryMs !== undefined) {
      // Jitter keeps several collectors from returning to a database at the same moment.
      this.timer ??= this.settleAfter(this.retryMs * (0.5 + Math.random() / 2))
    } else if (this.batches[0]!.isFull(this.backend.settleSpans)) {
      clearTimeout(this.timer)
      this.settleInBackground()
    } else this.timer ??= this.settleAfter(this.backend.settleMs)
  }

  private settleAfter(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.settleInBackground(), ms)
  }

  private settleInBackground(): void {
    this.timer = undefined
    this.settlingSinceMs = this.backend.clock.steadyMs()
    this.settling = this.settleFirst()
      .then(
        () => {
          this.retryMs = undefined
        },
        error => {
          this.retryMs = Math.min((this.retryMs ?? RETRY_MS[0] / 2) * 2, RETRY_MS[1])
          this.options.onSettleError(error)
        },
      )
      .finally(() => {
        this.settling = undefined
        this.settlingSinceMs = undefined
        this.schedule()
      })
  }

  private async settleFirst(): Promise<void> {
    const batch = this.batches[0]!
    batch.settling = true
    const { backend } = this
    const write = (some: Entry[]) => backend.write(some)
    await withoutRefused(batch.entries, write, (entry, reason) => backend.putAside(entry, reason))
    const { notUtf8, stats } = await this.finish(batch)
    this.notUtf8 += notUtf8
    for (const what of METER_STATS) this.activity[what] += stats[what]
    this.batches.shift()
    this.spans -= batch.spans
    this.bytes -= batch.bytes
  }

  private async finish(batch: Batch): Promise<Finished> {
    const checkpoint = this.checkpointBehind(batch)
    try {
      return await this.backend.finish(batch.entries, checkpoint)
    } catch (error) {
      if (!isLasting(error)) throw error
      // Statistics aren't worth a standstill.
      this.options.onSettleError(error)
      return this.backend.finish([], checkpoint)
    }
  }

  /** Returns the highest number up to which everything is settled once this batch is. */
  private checkpointBehind(batch: Batch): bigint {
    let behind = this.lastId + 1n
    for (const first of this.accepting) if (first < behind) behind = first
    for (const other of this.batches) {
      if (other !== batch && other.firstId < behind) behind = other.firstId
    }
    return behind - 1n
  }
}

/** @param batches how many batches aren't settled */
export function paceMs(batches: number): number {
  const [from, to] = PACED_BATCHES
  return Math.round(MAX_PACE_MS * Math.min(1, Math.max(0, (batches - from) / (to - from))))
}

/** Entries that are settled together, with the positions of each trace's records. */
class Batch {
  readonly entries: Entry[] = []
  /** For each trace: entry, start, end; and so on. */
  private readonly traces = new IdMap<number[]>()
  spans = 0
  bytes = 0
  settling = false
  /** The lowest number: entries may come in any order. */
  firstId = 2n ** 63n

  add(entry: Entry): void {
    const at = this.entries.push(entry) - 1
    scanRecords(entry.body, (start, end, { traceIdAt }) => {
      const traceId = entry.body.readBigInt64BE(traceIdAt)
      const ranges = this.traces.get(traceId)
      if (ranges === undefined) this.traces.set(traceId, [at, start, end])
      else ranges.push(at, start, end)
    })
    this.spans += entry.spans
    this.bytes += entry.body.length
    if (entry.id < this.firstId) this.firstId = entry.id
  }

  isFull(spans: number): boolean {
    return this.spans >= spans
  }

  read(traceId: bigint): Buffer[] {
    const ranges = this.traces.get(traceId) ?? []
    const found: Buffer[] = []
    for (let i = 0; i < ranges.length; i += 3) {
      found.push(this.entries[ranges[i]!]!.body.subarray(ranges[i + 1], ranges[i + 2]))
    }
    return found
  }
}
