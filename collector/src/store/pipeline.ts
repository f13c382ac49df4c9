import { randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { ActivityMeter, type ActivityRow } from './activity'
import { closedError, GroupCommit } from './group-commit'
import { scanRecords } from './records'
import { type Backlog, type Message, StoreError } from './store'
import { UniqueRecords } from './unique-records'

/**
 * The one way of a span into a store, whatever that is made of:
 *
 *     append → group → backend.accept: durable → OK
 *                          │
 *                       pending ─── readTrace looks here, and in what is settled
 *                          │  in the background
 *                          ▼
 *                  backend.settle: regrouped, indexed, checkpoint moved → forgotten
 *
 * Messages are numbered in the order of their acceptance, by the clock, so that a number is also a time. Everything up to
 * the checkpoint is settled; what lies behind it is read again after a start. Settling is idempotent: a crash on the way
 * means that it is done again.
 */
export interface Backend {
  /** Where a group of messages ends, in bytes; and how many groups may be on their way at once. */
  readonly groupBytes: number
  readonly groups: number
  /** Settle when so many spans wait, or after so many ms. */
  readonly settleSpans: number
  readonly settleMs: number
  /** Resolves when the messages are durable, numbered from `first` on. */
  accept(first: bigint, messages: Message[]): void | Promise<void>
  /** What was accepted and not settled before this process began, oldest first. */
  replay(): AsyncIterable<Entry>
  /**
   * Resolves when the entries can be found, and every entry up to the checkpoint is known to be settled: what comes after it
   * is replayed by the next start. The last rejection is tried again, with the same entries, until it resolves.
   * @param activity rows to be written with the checkpoint or not at all, so that every span counts once
   */
  settle(entries: Entry[], checkpoint: bigint, activity: ActivityRow[]): Promise<void>
  /** Calls `add` with stretches of the trace's records, of what is settled. */
  readSettled(traceId: bigint, add: (records: Buffer) => void): Promise<void>
}

/** A message that is in the journal. */
export interface Entry {
  /** Rises; about the microseconds since the epoch when it was accepted. */
  id: bigint
  body: Buffer
  spans: number
}

export interface PipelineOptions {
  /** Above it append rejects. */
  maxBacklogSpans: number
  maxBacklogBytes: number
  /** Told when settling fails, and why; it is tried again. */
  onSettleError(error: unknown): void
}

/** How long after a settling that failed it is tried again; twice as long each time, up to the second. */
const RETRY_MS = [250, 8_000] as const
/** How long a close waits for settling: what isn't settled then is replayed by the next start. */
const CLOSE_SETTLE_MS = 5_000

export class Pipeline {
  private readonly backend: Backend
  private readonly options: PipelineOptions
  private readonly commits: GroupCommit
  /** Oldest first; the last one is being filled, the first may be on its way. */
  private readonly batches: Batch[] = []
  /** The first numbers of groups that are being accepted. */
  private readonly accepting = new Set<bigint>()
  private readonly meter = new ActivityMeter(() => randomBytes(8).toString('hex'))
  private lastId: bigint
  private spans = 0
  private bytes = 0
  private notUtf8 = 0
  private settling: Promise<void> | undefined
  private timer: NodeJS.Timeout | undefined
  private closing: Promise<void> | undefined

  /**
   * Takes up what an earlier process left. What doesn't fit into the memory that is allowed is settled at once.
   * @param lastId no number up to this is given again
   */
  static async open(backend: Backend, lastId: bigint, options: PipelineOptions): Promise<Pipeline> {
    const pipeline = new Pipeline(backend, lastId, options)
    for await (const entry of backend.replay()) {
      if (pipeline.batches[0]?.isFull(backend.settleSpans)) await pipeline.settleFirst()
      if (entry.id > pipeline.lastId) pipeline.lastId = entry.id
      pipeline.addPending([entry])
    }
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
      return Promise.reject(new StoreError('MILO_STORE_BUSY', `${waiting}: no more until there are fewer`))
    }
    return this.commits.append(messages)
  }

  /** The trace's records in a row, each once. The memory is the caller's. */
  async readTrace(traceId: bigint): Promise<Buffer> {
    if (this.closing !== undefined) throw closedError()
    const unique = new UniqueRecords()
    // Pending first: what is settled meanwhile is found twice rather than never.
    const pending = this.batches.flatMap(batch => batch.read(traceId))
    await this.backend.readSettled(traceId, records => unique.add(records))
    for (const records of pending) unique.add(records)
    return unique.taken()
  }

  backlog(): Backlog {
    return { spans: this.spans, bytes: this.bytes, notUtf8: this.notUtf8 }
  }

  /** Resolves when nothing waits, or can't be settled in time. The backend is the caller's to close. */
  close(): Promise<void> {
    this.closing ??= this.commits.close().then(async () => {
      clearTimeout(this.timer)
      const deadline = Date.now() + CLOSE_SETTLE_MS
      await this.settling
      while (this.batches.length > 0 && Date.now() < deadline) {
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
    const now = BigInt(Date.now()) * 1000n
    const first = now > this.lastId ? now : this.lastId + 1n
    this.lastId = first + BigInt(messages.length - 1)
    this.accepting.add(first)
    try {
      await this.backend.accept(first, messages)
      this.addPending(messages.map(({ body, spans }, i) => ({ id: first + BigInt(i), body, spans })))
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
    if (this.batches[0]!.isFull(this.backend.settleSpans)) {
      clearTimeout(this.timer)
      this.timer = undefined
      this.settleInBackground(RETRY_MS[0])
    } else {
      this.timer ??= setTimeout(() => {
        this.timer = undefined
        this.settleInBackground(RETRY_MS[0])
      }, this.backend.settleMs)
    }
  }

  private settleInBackground(retryMs: number): void {
    this.settling = this.settleFirst().then(
      () => {
        this.settling = undefined
        this.schedule()
      },
      error => {
        this.settling = undefined
        this.options.onSettleError(error)
        if (this.closing !== undefined) return
        this.timer = setTimeout(() => {
          this.timer = undefined
          this.settleInBackground(Math.min(retryMs * 2, RETRY_MS[1]))
        }, retryMs)
      },
    )
  }

  private async settleFirst(): Promise<void> {
    const batch = this.batches[0]!
    batch.settling = true
    batch.activity ??= await this.measure(batch)
    await this.backend.settle(batch.entries, this.checkpointBehind(batch), batch.activity)
    this.batches.shift()
    this.spans -= batch.spans
    this.bytes -= batch.bytes
  }

  private async measure({ entries }: Batch): Promise<ActivityRow[]> {
    for (const { id, body } of entries) {
      this.notUtf8 += this.meter.add(body, id)
      await setImmediate()
    }
    return this.meter.rows()
  }

  /** The highest number up to which everything is settled once the batch is. */
  private checkpointBehind(batch: Batch): bigint {
    let behind = this.lastId + 1n
    for (const first of this.accepting) if (first < behind) behind = first
    for (const other of this.batches) {
      if (other !== batch && other.firstId < behind) behind = other.firstId
    }
    return behind - 1n
  }
}

/** Entries that are settled together, and where each trace's records are in them. */
class Batch {
  readonly entries: Entry[] = []
  /** Entry, start, end; and so on. */
  private readonly traces = new Map<bigint, number[]>()
  spans = 0
  bytes = 0
  settling = false
  activity: ActivityRow[] | undefined
  /** The lowest: entries needn't come in order. */
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
