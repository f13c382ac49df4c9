import { Turns } from '../../turns'
import type { ActivityRow } from '../activity/activity'
import { compareBytes } from '../bytes'
import { Ages, type Clock } from '../pipeline/clock'
import { type Entry, readEntry } from '../pipeline/entry'
import { closedError } from '../pipeline/group-commit'
import type { Backend } from '../pipeline/pipeline'
import type { IndexPolicy } from '../search/index-policy'
import type { EmbeddedFile } from './file'
import { buildSegment } from './segments/build'
import { fieldBytes, SEGMENT_ROWS } from './segments/format'
import { mergeSegments } from './segments/merge'
import { SegmentRows } from './segments/rows'
import { blocksFrom, type Segment } from './segments/segments'

/** Segments that are merged into one, and the most records that this one may have. */
const MERGE_SEGMENTS = 8
const MERGE_RECORDS = 2_000_000
/** So many small segments wait to be merged that settling has to wait for it. */
const MOST_SMALL_SEGMENTS = 48
/** A segment goes when its last message is too old: it spans no more than so much of the retention. */
const RETENTION_PARTS = 8
/** Rows that are removed in one transaction; a message has up to thousands of pages. */
const REMOVE_ROWS = 64
const REMOVE_MESSAGES = 16
/** How long after a failure it is tried again; twice as long each time, up to the second. */
const RETRY_MS = [1_000, 60_000] as const
const DAY_US = 86_400_000_000
const MINUTE_US = 60_000_000n

export interface BackendOptions {
  retentionDays: number
  settleMs: number
  clock: Clock
  /** Told when merging or removing fails; it is tried again. */
  onTendError(error: unknown): void
  /** Told why a record was put aside. */
  onPutAside(reason: string): void
}

/** The segments of a file: made, read, merged and retired. */
export class EmbeddedBackend implements Backend {
  readonly groupBytes = 1024 * 1024
  readonly groups = 1
  readonly settleSpans = 20_000
  readonly settleMs: number
  readonly clock: Clock
  aside = 0
  /** Segments in the order of their messages. */
  live: Segment[] = []
  /** The policy of segments that are made from now on. */
  policy: IndexPolicy
  private readonly file: EmbeddedFile
  private readonly options: BackendOptions
  private readonly retentionUs: number
  private readonly ages: Ages
  /** Segments to be removed once nothing reads them. */
  private dead: Segment[] = []
  private nextId = 1n
  private settled: bigint
  private retired: bigint
  private retiredMessages = false
  private tending: Promise<void> | undefined
  private timer: NodeJS.Timeout | undefined
  private closing = false
  private retryMs: number = RETRY_MS[0]

  constructor(file: EmbeddedFile, policy: IndexPolicy, options: BackendOptions) {
    this.file = file
    this.policy = policy
    this.options = options
    this.settleMs = options.settleMs
    this.clock = options.clock
    this.retentionUs = options.retentionDays * DAY_US
    const { selectProgress, selectSegments } = file.sql
    type Progress = [bigint, bigint, bigint | null, bigint | null]
    const [settled, retired, savedUs, savedWallUs] = selectProgress.get([]) as Progress
    this.settled = settled
    this.retired = retired
    const wallUs = this.clock.wallUs()
    this.ages = new Ages(this.clock, { ageUs: savedUs ?? wallUs, wallUs: savedWallUs ?? wallUs })
    type SegmentRow = [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint]
    for (const [id, live, first, last, records, blocks, firstUs, lastUs, ageUs] of selectSegments.all(
      [],
    ) as SegmentRow[]) {
      const segment = {
        id,
        first,
        last,
        records: Number(records),
        blocks: Number(blocks),
        firstUs,
        lastUs,
        ageUs,
        readers: 0,
      }
      // What a crash left half made, or half removed.
      if (live === 1n) this.live.push(segment)
      else this.dead.push(segment)
      this.nextId = id + 1n
    }
    this.live.sort(byMessages)
    this.retiredMessages = retired > 0n
    this.scheduleTending(0)
  }

  /** No message may have this number, or one below. */
  lastId(): bigint {
    const [last] = this.file.sql.selectLastMessage.get([]) as [bigint]
    // biome-ignore lint/complexity/useMathMinMax: of bigints there is none
    return last > this.settled ? last : this.settled
  }

  accept(messages: Entry[]): void {
    const { insertMessage } = this.file.sql
    this.file.durable(() => {
      for (const { id, body, receivedUs } of messages) insertMessage.run([id, body, receivedUs])
    })
  }

  async *replay(): AsyncIterable<Entry> {
    for (let last = this.settled; ; ) {
      const row = this.file.sql.selectNextMessage.get([last]) as [bigint, Buffer, bigint] | undefined
      if (row === undefined) return
      const [id, body, receivedUs] = row
      last = id
      yield await readEntry(id, receivedUs, body, (entry, error) => this.putAside(entry, error))
    }
  }

  async settle(unordered: Entry[], checkpoint: bigint, activity: ActivityRow[]): Promise<void> {
    while (this.tending !== undefined && this.small() > MOST_SMALL_SEGMENTS) await this.tending
    const entries = unordered.filter(({ spans }) => spans > 0).sort((a, b) => Number(a.id - b.id))
    const build = (rows: SegmentRows, turns: Turns) => buildSegment(entries, this.policy, rows, turns)
    // Not stopped by a close, which waits for it.
    const turns = new Turns()
    const settled = () => {
      this.file.sql.updateSettled.run([checkpoint])
      for (const { minute, part, body } of activity) this.file.sql.replaceActivity.run([BigInt(minute), part, body])
      this.saveAges()
      return []
    }
    if (entries.length === 0) this.file.background(settled)
    else await this.make(entries[0]!.id, entries.at(-1)!.id, this.ages.nowUs(), turns, build, settled)
    this.settled = checkpoint
    this.scheduleTending(0)
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

  async readSettled(traceId: bigint, add: (records: Buffer) => boolean): Promise<void> {
    const term = Buffer.allocUnsafe(8)
    term.writeBigInt64BE(traceId)
    const turns = this.turns()
    await this.reading(async segments => {
      for (const segment of segments) {
        if (turns.over()) await turns.next()
        let read = -1
        let body: Buffer | undefined
        for (const block of this.blocksOfTrace(segment, term)) {
          const found: number[] = []
          block.pointers((message, start, length) => found.push(message, start, length))
          for (let i = 0; i < found.length; i += 3) {
            const [message, start, length] = [found[i]!, found[i + 1]!, found[i + 2]!]
            if (message !== read) {
              if (turns.over()) await turns.next()
              const row = this.file.sql.selectBody.get([segment.first + BigInt(message)]) as [Buffer] | undefined
              // Retired while this reads.
              body = row?.[0]
              read = message
            }
            if (body !== undefined && !add(body.subarray(start, start + length))) return
          }
        }
      }
    })
  }

  private *blocksOfTrace(segment: Segment, term: Buffer) {
    for (const block of blocksFrom(this.file, segment, TRACE, term)) {
      while (block.next()) {
        const order = compareBytes(block.data, block.termStart, block.termEnd, term, 0, 8)
        if (order === 0) yield block
        else if (order > 0) return
      }
    }
  }

  /** The segments that are live now stay whole until `work` is done, though they be replaced meanwhile. */
  async reading<R>(work: (segments: Segment[]) => Promise<R>): Promise<R> {
    const segments = this.live
    for (const segment of segments) segment.readers++
    try {
      return await work(segments)
    } finally {
      for (const segment of segments) segment.readers--
      if (this.dead.length > 0) this.scheduleTending(0)
    }
  }

  /** @param mayGoOn throws when the work is to be given up for another reason than a close */
  turns(mayGoOn = () => {}): Turns {
    return new Turns(() => {
      if (this.closing) throw closedError()
      mayGoOn()
    })
  }

  /** Resolves when nothing is under way any more. What is half done is taken up by the next start. */
  async close(): Promise<void> {
    this.closing = true
    clearTimeout(this.timer)
    await this.tending
    this.file.background(() => this.saveAges())
  }

  private small(): number {
    return this.live.filter(({ records }) => records < MERGE_RECORDS / MERGE_SEGMENTS).length
  }

  /**
   * Makes a segment, which comes to life in the last transaction.
   * @param finish what else belongs into this one; returns the segments that the new one replaces
   */
  private async make(
    first: bigint,
    last: bigint,
    ageUs: bigint,
    turns: Turns,
    fill: (rows: SegmentRows, turns: Turns) => Promise<void>,
    finish: () => Segment[],
  ): Promise<void> {
    const { file } = this
    const id = this.nextId++
    const segment: Segment = { id, first, last, records: 0, blocks: 0, firstUs: 0n, lastUs: 0n, ageUs, readers: 0 }
    try {
      file.background(() => file.sql.insertSegment.run([id, first, last, ageUs]))
      const rows = new SegmentRows(file, id)
      await fill(rows, turns)
      const { records, blocks, firstUs, lastUs } = rows
      Object.assign(segment, { records, blocks, firstUs, lastUs })
      let replaced: Segment[] = []
      file.background(() => {
        rows.writeAll()
        file.sql.finishSegment.run([BigInt(records), BigInt(blocks), firstUs, lastUs, id])
        replaced = finish()
      })
      this.live = [...this.live.filter(other => !replaced.includes(other)), segment].sort(byMessages)
      this.dead.push(...replaced)
    } catch (error) {
      this.dead.push(segment)
      throw error
    }
  }

  private scheduleTending(ms: number): void {
    if (this.tending !== undefined || this.closing) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.tending = this.tend().then(
        () => {
          this.tending = undefined
          this.retryMs = RETRY_MS[0]
          // Retention.
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

  /** Merges, retires and removes until there is nothing to do. */
  private async tend(): Promise<void> {
    const turns = this.turns()
    for (;;) {
      await turns.next()
      const sources = this.nextMerge()
      const unread = this.dead.find(({ readers }) => readers === 0)
      const oldest = this.live[0]
      if (sources !== undefined) await this.merge(sources, turns)
      else if (oldest !== undefined && this.isExpired(oldest)) this.retire(oldest)
      else if (unread !== undefined) await this.remove(unread, turns)
      else if (this.retiredMessages) await this.removeMessages(turns)
      else break
    }
    this.file.background(() => this.saveAges())
  }

  /**
   * Neighbours, of about the same size so that no record is moved more often than a few times; of one stretch of time, or
   * the oldest would keep the youngest's retention.
   */
  private nextMerge(): Segment[] | undefined {
    let best: Segment[] | undefined
    let fewest = MERGE_RECORDS
    const now = this.partOf(this.ages.nowUs())
    for (let from = 0; from + 1 < this.live.length; from++) {
      const part = this.partOf(this.live[from]!.ageUs)
      let total = 0
      let largest = 0
      for (let to = from; to < this.live.length; to++) {
        const { ageUs, records } = this.live[to]!
        if (this.partOf(ageUs) !== part) break
        total += records
        largest = Math.max(largest, records)
        if (total >= fewest) break
        const count = to - from + 1
        const enough = part < now ? count >= 2 : count === MERGE_SEGMENTS && 2 * largest <= total
        if (!enough) continue
        best = this.live.slice(from, to + 1)
        if (part < now) continue
        fewest = total
        break
      }
      if (best !== undefined && part < now) return best
    }
    return best
  }

  private partOf(ageUs: bigint): number {
    return Math.floor(Number(ageUs) / (this.retentionUs / RETENTION_PARTS))
  }

  private async merge(sources: Segment[], turns: Turns): Promise<void> {
    const fill = (rows: SegmentRows) => mergeSegments(this.file, sources, rows, turns)
    for (const source of sources) source.readers++
    try {
      const [first, last] = [sources[0]!, sources.at(-1)!]
      await this.make(first.first, last.last, last.ageUs, turns, fill, () => {
        for (const { id } of sources) this.file.sql.endSegment.run([id])
        return sources
      })
    } finally {
      for (const source of sources) source.readers--
    }
  }

  private isExpired({ ageUs }: Segment): boolean {
    return Number(this.ages.nowUs() - ageUs) > this.retentionUs
  }

  private retire(segment: Segment): void {
    const retentionUs = BigInt(Math.floor(this.retentionUs))
    this.file.background(() => {
      this.file.sql.endSegment.run([segment.id])
      this.file.sql.updateRetired.run([segment.last])
      this.file.sql.deleteActivity.run([(this.ages.wallAtMostUs() - retentionUs) / MINUTE_US])
      this.file.sql.deleteQuarantine.run([this.ages.nowUs() - retentionUs])
    })
    this.live = this.live.filter(other => other !== segment)
    this.dead.push(segment)
    this.retired = segment.last
    this.retiredMessages = true
  }

  private async remove(segment: Segment, turns: Turns): Promise<void> {
    const { deleteBlocks, deleteChunks, deleteDirectory, deleteSegment } = this.file.sql
    const from = segment.id * SEGMENT_ROWS
    const to = from + SEGMENT_ROWS
    const rows = BigInt(REMOVE_ROWS)
    await this.inPieces(turns, () => deleteBlocks.run([from, to, rows]).changes)
    await this.inPieces(turns, () => deleteChunks.run([from, to, rows]).changes)
    await this.inPieces(turns, () => deleteDirectory.run([segment.id, rows]).changes)
    this.file.background(() => deleteSegment.run([segment.id]))
    this.dead = this.dead.filter(other => other !== segment)
  }

  private async removeMessages(turns: Turns): Promise<void> {
    const { retired } = this
    await this.inPieces(turns, () => this.file.sql.deleteMessages.run([retired, BigInt(REMOVE_MESSAGES)]).changes)
    if (this.retired === retired) this.retiredMessages = false
  }

  private async inPieces(turns: Turns, remove: () => number): Promise<void> {
    let removed = 1
    while (removed > 0) {
      await turns.next()
      this.file.background(() => {
        removed = remove()
      })
    }
  }
}

const TRACE = fieldBytes('trace')

function byMessages(a: Segment, b: Segment): number {
  return a.first < b.first ? -1 : a.first > b.first ? 1 : 0
}
