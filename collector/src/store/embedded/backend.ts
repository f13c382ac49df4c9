import { setImmediate } from 'node:timers/promises'
import { Folder } from '../activity/folder'
import { Meter } from '../activity/meter'
import { NO_STATS } from '../activity/model'
import { Ages, type Clock } from '../pipeline/clock'
import { type Entry, readEntry } from '../pipeline/entry'
import type { Backend, Finished, TraceRead } from '../pipeline/pipeline'
import type { IndexPolicy } from '../search/index-policy'
import { EmbeddedActivity } from './activity'
import { EmbeddedAnalyses } from './analyses'
import type { EmbeddedFile } from './file'
import { PART_ROWS } from './index/columns'
import { Indexer } from './index/indexer'
import { readTrace } from './index/traces'
import { EmbeddedKeeps } from './keeps'

/** Acknowledgments wait for each transaction of the index, so it takes as many records as this machine indexes in so long. */
const STEP_MS = 15
const STEP_RECORDS = { least: 250, most: 2_000 } as const
/** A part goes when its last message is too old: it spans no more than so much of the retention. */
const RETENTION_PARTS = 8
/** Rows that are removed in one transaction; a message has up to thousands of pages. */
const REMOVE_ROWS = 64
const REMOVE_MESSAGES = 16
/** How long after a failure it is tried again; twice as long each time, up to the second. */
const RETRY_MS = [1_000, 60_000] as const
const DAY_US = 86_400_000_000
/** The meter learns what was settled in so long, unless it is more than so many bytes: five million records. */
const LEARN_US = 600_000_000n
const LEARN_BYTES = 100 * 1024 * 1024

export interface BackendOptions {
  retentionDays: number
  /** How long the activity of hours and days is kept. */
  activityDays: number
  analysisDays: number
  settleMs: number
  clock: Clock
  /** Told when removing fails; it is tried again. */
  onTendError(error: unknown): void
  /** Told when activity can't be added up, or when some of it is damaged and left out. */
  onActivityError(error: unknown): void
  /** Told why a record was put aside. */
  onPutAside(reason: string): void
}

interface Part {
  id: bigint
  first: bigint
  last: bigint
  /** When its last message was indexed, by the clock of ages. */
  ageUs: bigint
}

/** What writes into the file: messages, then their index, in parts that are retired one by one. */
export class EmbeddedBackend implements Backend {
  readonly groupBytes = 1024 * 1024
  readonly groups = 1
  readonly settleSpans = 20_000
  readonly settleMs: number
  readonly clock: Clock
  aside = 0
  /** The policy of what is indexed from now on. */
  policy: IndexPolicy
  private readonly file: EmbeddedFile
  private readonly indexer: Indexer
  private readonly options: BackendOptions
  readonly folder: Folder
  readonly analyses: EmbeddedAnalyses
  readonly keeps: EmbeddedKeeps
  private readonly meter: Meter
  /** The last settling that was counted. */
  private counted: bigint
  private readonly retentionUs: number
  private readonly ages: Ages
  /** Oldest first. */
  private live: Part[] = []
  private dead: bigint[] = []
  private nextPart = 1n
  private settled: bigint
  /** Where indexing has come to: everything before this offset of this message is in the index. */
  private indexed: { message: bigint; end: number }
  private retired: bigint
  private retiredMessages: boolean
  /** Records that are indexed in one transaction. */
  private stepRecords: number = STEP_RECORDS.least
  private tending: Promise<void> | undefined
  private timer: NodeJS.Timeout | undefined
  private closing = false
  private retryMs: number = RETRY_MS[0]

  constructor(file: EmbeddedFile, policy: IndexPolicy, options: BackendOptions) {
    this.file = file
    this.policy = policy
    this.indexer = new Indexer(file)
    this.options = options
    this.settleMs = options.settleMs
    this.clock = options.clock
    this.retentionUs = options.retentionDays * DAY_US
    const { selectProgress, selectParts } = file.sql
    type Progress = [bigint, bigint, bigint, bigint, bigint | null, bigint | null]
    const [settled, message, end, retired, savedUs, savedWallUs] = selectProgress.get([]) as Progress
    this.settled = settled
    this.indexed = { message, end: Number(end) }
    this.retired = retired
    const wallUs = this.clock.wallUs()
    this.ages = new Ages(this.clock, { ageUs: savedUs ?? wallUs, wallUs: savedWallUs ?? wallUs })
    type PartRow = [bigint, bigint, bigint, bigint, bigint, bigint]
    for (const [id, live, first, , last, ageUs] of selectParts.all([]) as PartRow[]) {
      if (live === 1n) this.live.push({ id, first, last, ageUs })
      // What a crash left half removed.
      else this.dead.push(id)
      this.nextPart = id + 1n
    }
    this.retiredMessages = retired > 0n
    this.counted = (file.sql.selectActivityProgress.get([]) as [bigint])[0]
    this.meter = new Meter(options)
    this.folder = new Folder(new EmbeddedActivity(file), {
      retentionDays: options.retentionDays,
      activityDays: options.activityDays,
      nowUs: () => Number(this.clock.wallUs()),
      surelyUs: () => Number(this.ages.wallAtMostUs()),
      settledUs: () => Number(this.ages.nowUs()),
      onError: error => options.onActivityError(error),
      onDamage: what => options.onActivityError(new Error(what)),
    })
    this.analyses = new EmbeddedAnalyses(file)
    this.keeps = new EmbeddedKeeps(file)
    this.scheduleTending(0)
  }

  get unfolded(): number {
    return Number(this.counted - this.folder.folded)
  }

  /** No message may have this number, or one below. */
  lastId(): bigint {
    const [last] = this.file.sql.selectLastMessage.get([]) as [bigint]
    // biome-ignore lint/complexity/useMathMinMax: of bigints there is none
    return last > this.settled ? last : this.settled
  }

  accept(messages: Entry[]): void {
    this.file.durable(() => {
      for (const { id, body, receivedUs } of messages) this.file.writeMessage(id, body, receivedUs)
    })
  }

  async *replay(): AsyncIterable<Entry> {
    await this.learn()
    for (let last = this.settled; ; ) {
      const row = this.file.sql.selectNextMessage.get([last]) as [bigint, Buffer, bigint] | undefined
      if (row === undefined) return
      const [id, body, receivedUs] = row
      last = id
      yield await readEntry(id, receivedUs, body, (entry, error) => this.putAside(entry, error))
    }
  }

  /** What the process before knew: records that come again aren't counted again, and halves of calls meet. */
  private async learn(): Promise<void> {
    const { selectRecentLengths, selectRecent } = this.file.sql
    const sinceUs = this.ages.nowUs() - LEARN_US
    let before = this.counted
    let bytes = 0
    for (const [seq, ageUs, length] of selectRecentLengths.all([]) as [bigint, bigint, bigint][]) {
      bytes += Number(length)
      if (ageUs < sinceUs || bytes > LEARN_BYTES) break
      before = seq - 1n
    }
    for (;;) {
      const row = selectRecent.get([before]) as [bigint, bigint, Buffer] | undefined
      if (row === undefined) return
      const [seq, atUs, recent] = row
      before = seq
      try {
        await this.meter.learn(recent, atUs)
      } catch (error) {
        this.options.onActivityError(error)
      }
      await setImmediate()
    }
  }

  async write(unordered: Entry[]): Promise<void> {
    const entries = unordered.filter(({ spans }) => spans > 0).sort((a, b) => Number(a.id - b.id))
    for (let next = 0; next < entries.length; ) {
      next = this.indexSome(entries, next)
      // What came meanwhile.
      await setImmediate()
    }
  }

  async finish(entries: Entry[], checkpoint: bigint): Promise<Finished> {
    const atUs = this.clock.wallUs()
    const counted = entries.length === 0 ? undefined : await this.meter.count(entries, atUs)
    const { updateSettled, insertSettled, updateActivitySettled } = this.file.sql
    this.file.background(() => {
      updateSettled.run([checkpoint])
      this.saveAges()
      if (counted === undefined) return
      const seq = this.counted + 1n
      insertSettled.run([seq, atUs, this.ages.nowUs(), counted.delta, counted.recent])
      updateActivitySettled.run([seq])
    })
    this.settled = checkpoint
    this.scheduleTending(0)
    if (counted === undefined) return { notUtf8: 0, stats: NO_STATS }
    this.counted++
    await this.meter.learn(counted.recent, atUs)
    return counted
  }

  /** Indexes what a transaction may hold. @returns the first entry that isn't done */
  private indexSome(entries: Entry[], first: number): number {
    const { file, indexer } = this
    const began = this.clock.steadyMs()
    const ageUs = this.ages.nowUs()
    let { message, end } = this.indexed
    const { id, start } = entries[first]!
    const part = this.partAt(ageUs, id, id === message ? Math.max(start, end) : start)
    let next = first
    try {
      file.background(() => {
        indexer.begin(part.id, this.policy)
        while (next < entries.length && !indexer.isFull(this.stepRecords)) {
          const entry = entries[next]!
          // What was indexed before a crash, or before a settling failed.
          const from = entry.id === message ? Math.max(entry.start, end) : entry.start
          if (entry.id >= message && from < entry.end) {
            end = indexer.add(entry, from, this.stepRecords)
            message = entry.id
            if (end < entry.end) break
          }
          next++
        }
        indexer.finish()
        file.sql.updateIndexed.run([message, BigInt(end)])
        file.sql.updatePart.run([message, ageUs, part.id])
      })
    } catch (error) {
      indexer.reset()
      throw error
    }
    this.indexed = { message, end }
    part.last = message
    part.ageUs = ageUs
    const tookMs = this.clock.steadyMs() - began
    if (tookMs > STEP_MS) this.stepRecords = Math.max(this.stepRecords >> 1, STEP_RECORDS.least)
    // What wasn't full says nothing.
    else if (next < entries.length && tookMs < STEP_MS / 2) {
      this.stepRecords = Math.min(2 * this.stepRecords, STEP_RECORDS.most)
    }
    return next
  }

  private partAt(ageUs: bigint, first: bigint, offset: number): Part {
    const last = this.live.at(-1)
    const numberOf = (us: bigint) => Math.floor(Number(us) / (this.retentionUs / RETENTION_PARTS))
    if (last !== undefined && numberOf(last.ageUs) === numberOf(ageUs)) return last
    const id = this.nextPart
    this.file.background(() => {
      this.file.createIndex(id)
      this.file.sql.insertPart.run([id, first, BigInt(offset), first, ageUs])
    })
    this.nextPart++
    const part = { id, first, last: first, ageUs }
    this.live.push(part)
    return part
  }

  putAside({ id, start, end, body, receivedUs, spans }: Entry, { message }: Error): void {
    let added = 0
    this.file.durable(() => {
      const row = [id, BigInt(start), message, body.subarray(start, end), receivedUs, this.ages.nowUs()]
      added = this.file.sql.insertQuarantine.run(row).changes
    })
    if (added === 0) return
    this.aside += spans
    this.options.onPutAside(message)
  }

  private saveAges(): void {
    const { ageUs, wallUs } = this.ages.state()
    this.file.sql.updateAges.run([ageUs, wallUs])
  }

  async readSettled(reads: TraceRead[]): Promise<void> {
    for (const { traceId, add } of reads) readTrace(this.file, traceId, add, () => {})
  }

  /** Resolves when nothing is under way any more. What is half done is taken up by the next start. */
  async close(): Promise<void> {
    this.closing = true
    this.analyses.close()
    clearTimeout(this.timer)
    await this.tending
    await this.folder.close()
    this.file.background(() => this.saveAges())
  }

  private scheduleTending(ms: number): void {
    if (this.tending !== undefined || this.closing) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.tending = this.tend().then(
        () => {
          this.tending = undefined
          this.retryMs = RETRY_MS[0]
          this.scheduleTending(Math.min(60_000, this.retentionUs / 50_000))
        },
        error => {
          this.tending = undefined
          if (this.closing) return
          this.options.onTendError(error)
          this.scheduleTending(this.retryMs)
          this.retryMs = Math.min(2 * this.retryMs, RETRY_MS[1])
        },
      )
    }, ms)
  }

  /** Retires and removes until there is nothing to do. */
  private async tend(): Promise<void> {
    for (;;) {
      const oldest = this.live[0]
      const dead = this.dead[0]
      if (oldest !== undefined && this.isExpired(oldest)) this.retire(oldest)
      else if (dead !== undefined) await this.remove(dead)
      else if (this.retiredMessages) await this.removeMessages()
      else break
      if (this.closing) return
    }
    await this.analyses.expire(this.ages.wallAtMostUs() - BigInt(this.options.analysisDays * DAY_US))
    await this.keeps.expire(this.ages.wallAtMostUs() - BigInt(Math.floor(this.retentionUs)))
    this.file.background(() => this.saveAges())
  }

  private isExpired({ ageUs }: Part): boolean {
    return Number(this.ages.nowUs() - ageUs) > this.retentionUs
  }

  private retire(part: Part): void {
    const retentionUs = BigInt(Math.floor(this.retentionUs))
    // The end of a message may be in the next part.
    const last = this.live[1]?.first === part.last ? part.last - 1n : part.last
    this.file.background(() => {
      this.file.sql.endPart.run([part.id])
      this.file.sql.updateRetired.run([last])
      this.file.sql.deleteQuarantine.run([this.ages.nowUs() - retentionUs])
    })
    this.live.shift()
    this.dead.push(part.id)
    this.retired = last
    this.retiredMessages = true
  }

  private async remove(part: bigint): Promise<void> {
    const { deleteChunks, deletePart, deleteValues } = this.file.sql
    const rows = BigInt(REMOVE_ROWS)
    const [from, to] = [part * PART_ROWS, (part + 1n) * PART_ROWS]
    await this.inPieces(() => this.file.removeIndex(part, REMOVE_ROWS))
    await this.inPieces(() => deleteChunks.run([from, to, rows]).changes)
    await this.inPieces(() => deleteValues.run([part, rows]).changes)
    if (this.closing) return
    this.file.background(() => deletePart.run([part]))
    this.dead.shift()
  }

  private async removeMessages(): Promise<void> {
    const { retired } = this
    await this.inPieces(() => this.file.sql.deleteMessages.run([retired, BigInt(REMOVE_MESSAGES)]).changes)
    if (this.retired === retired && !this.closing) this.retiredMessages = false
  }

  /** A DROP TABLE of all that would take half a second, in which nothing is acknowledged. */
  private async inPieces(remove: () => number): Promise<void> {
    let removed = 1
    while (removed > 0 && !this.closing) {
      await setImmediate()
      this.file.background(() => {
        removed = remove()
      })
    }
  }
}
