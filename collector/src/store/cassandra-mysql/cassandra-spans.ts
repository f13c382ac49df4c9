import type { types } from 'cassandra-driver'
import { RECORD_HEADER } from 'milo/codec/span'
import { IdMap } from '../../record/ids'
import { inParallel } from '../deadline'
import { hash64 } from '../hash64'
import type { Numbered } from '../hours'
import type { Clock } from '../pipeline/clock'
import { type Entry, readEntry } from '../pipeline/entry'
import type { TraceRead } from '../pipeline/pipeline'
import { Recent } from '../recent'
import type { Cassandra } from './cassandra'
import { addOfTraces, nodesOf, type SharedPlace, type SpanRow, type TracePlace } from './span-rows'

/** What Cassandra stores: the journal, and the rows of spans (span-rows.ts). A row costs it the same whatever its size. */

/** The size of a request to the journal, and of one row; far below the limit of any server. */
const MAX_JOURNAL_BYTES = 256 * 1024
const MAX_JOURNAL_REQUESTS = 16
const JOURNAL_SLOT_US = 10_000_000n
/** This slot holds no messages: its rows list the slots in use, as their seq. After a clock jump these may be anywhere. */
const DIRECTORY = -1

/** How many requests write rows of spans at once, each to one partition and of about MAX_JOURNAL_BYTES. */
const MAX_SPAN_REQUESTS = 8
/** How many places of each trace are read at once: twice as many each time, but one after a read of many bytes. */
const CONCURRENT_READS = [2, 32] as const
const MANY_BYTES = 1024 * 1024
/** Most places have fewer rows for a trace. */
const FIRST_PAGE_ROWS = 4
/** How many seconds are read ahead of one whose rows are wanted in order, and how many rows of each. */
const SECONDS_AHEAD = 8
const ROWS_AHEAD = 16
/** How many seconds are looked for at once: hosted Cassandras refuse to look into more partitions than 20. How many looks run ahead. */
const SECONDS_A_LOOK = 20
const LOOKS_AHEAD = 8
const SECONDS_PER_DAY = 86_400

/** The approximate size of a place in an answer. */
const PLACE_BYTES = 16

/** A row of the table spans, in its partition. */
export interface StoredRow {
  node: bigint
  /** hash64 of the records. */
  uid: bigint
  records: Buffer
}

export class CassandraSpans {
  private readonly db: Cassandra
  private readonly ttl: number
  private readonly sql: ReturnType<typeof statementsFor>
  private readonly clock: Clock
  /** Slots that are listed in the directory. */
  private readonly slots = new Recent<number, true>(64)

  constructor(db: Cassandra, retentionDays: number, clock: Clock) {
    this.db = db
    this.clock = clock
    this.ttl = retentionDays * SECONDS_PER_DAY
    this.sql = statementsFor(db)
  }

  /** Resolves when the entries are in the collector's journal. */
  async journal(collector: string, entries: Entry[]): Promise<void> {
    const query = this.sql.insertJournal
    const rows: PartitionRow[] = []
    const slots = new Set<number>()
    for (const { id, receivedUs, body, start, end } of entries) {
      const slot = journalSlotOf(id)
      slots.add(slot)
      for (const [from, to] of pieces(body, start, end)) {
        // A piece is numbered by its offset, which stays the same when a message is written in parts.
        const params = [collector, slot, id, from, body.subarray(from, to), receivedUs]
        rows.push({ slot, bytes: to - from, params })
      }
    }
    const requests = batchesOf(query, rows)
    const fresh = [...slots].filter(slot => this.slots.get(slot) === undefined)
    for (const slot of fresh) {
      requests.push([{ query, params: [collector, DIRECTORY, BigInt(slot), 0, Buffer.alloc(0), this.clock.wallUs()] }])
    }
    await inParallel(requests, MAX_JOURNAL_REQUESTS, request =>
      request.length === 1 ? this.db.execute(query, request[0]!.params) : this.db.batch(request),
    )
    for (const slot of fresh) this.slots.set(slot, true)
  }

  /**
   * Yields the entries after a checkpoint, oldest first. If the writing of an entry was interrupted, so that it wasn't
   * acknowledged, some of its records may be missing.
   * @param putAside called with records that can't be read
   * @param progress called with how much of the journal is done
   */
  async *replay(
    collector: string,
    checkpoint: bigint | undefined,
    putAside: (entry: Entry, error: Error) => Promise<void>,
    progress: (done: number, total: number) => void = () => {},
  ): AsyncGenerator<Entry> {
    const slots = await this.slotsFrom(collector, checkpoint === undefined ? 1n : checkpoint / JOURNAL_SLOT_US)
    for (const [i, slot] of slots.entries()) {
      for await (const parts of this.messagesOf(collector, slot, checkpoint ?? -(2n ** 63n))) {
        const body = parts.length === 1 ? parts[0]!.body : Buffer.concat(parts.map(part => part.body))
        yield await readEntry(parts[0]!.seq, BigInt(parts[0]!.received_us), body, putAside)
      }
      progress(i + 1, slots.length)
    }
  }

  /** Yields the rows of each message. */
  private async *messagesOf(collector: string, slot: number, after: bigint): AsyncGenerator<types.Row[]> {
    let parts: types.Row[] = []
    for await (const rows of this.db.pages(this.sql.selectJournal, [collector, slot, after], row => row.body.length)) {
      for (const row of rows) {
        if (parts.length > 0 && parts[0]!.seq !== row.seq) {
          yield parts
          parts = []
        }
        parts.push(row)
      }
    }
    if (parts.length > 0) yield parts
  }

  /** Resolves when the rows are written; rows that exist already don't change. */
  async write(collector: number, rows: SpanRow[]): Promise<void> {
    const inPartitions = rows.map(({ slot, node, records }): PartitionRow => {
      const params = [collector, slot, node, hash64(records), records, this.ttl]
      return { slot, bytes: records.length, params }
    })
    const requests = batchesOf(this.sql.insertSpans, inPartitions)
    await inParallel(requests, MAX_SPAN_REQUESTS, request => this.db.batch(request))
  }

  /**
   * Gives each read its trace's records, several at a time.
   * @param placesOf yields where they may be; reads that want no more are removed from what it is given
   */
  async read(reads: TraceRead[], placesOf: (wanted: IdMap<unknown>) => AsyncIterable<SharedPlace[]>): Promise<void> {
    const wanted = new IdMap<TraceRead>()
    for (const read of reads) wanted.set(read.traceId, read)
    let concurrency = CONCURRENT_READS[0] * reads.length
    for await (const places of placesOf(wanted)) {
      for (let i = 0; i < places.length; ) {
        const now: AsyncGenerator<types.Row[]>[] = []
        let traces = 0
        do {
          const { collector, slot, traceIds } = places[i++]!
          const nodes = new Set(traceIds.filter(id => wanted.has(id)).flatMap(nodesOf))
          if (nodes.size === 0) continue
          traces += traceIds.length
          const params = [collector, slot, [...nodes]]
          const pageRows = FIRST_PAGE_ROWS * traceIds.length
          now.push(this.db.pages(this.sql.selectSpans, params, row => row.records.length, pageRows))
        } while (i < places.length && traces + places[i]!.traceIds.length <= concurrency)
        const firsts = await Promise.all(now.map(pages => pages.next()))
        let bytes = 0
        for (const [j, pages] of now.entries()) {
          for (let page = firsts[j]!; !page.done; page = await pages.next()) {
            for (const { records } of page.value) {
              bytes += records.length
              addOfTraces(records, wanted)
            }
            if (wanted.size === 0) return
          }
        }
        concurrency = bytes > MANY_BYTES ? 1 : Math.min(2 * concurrency, CONCURRENT_READS[1])
      }
    }
  }

  /** Returns every second of a collector that has rows. */
  async places(): Promise<TracePlace[]> {
    const places: TracePlace[] = []
    for await (const rows of this.db.pages(this.sql.selectPlaces, [], () => PLACE_BYTES)) {
      for (const { collector, slot } of rows) places.push({ collector, slot })
    }
    return places
  }

  async *rowsAt({ collector, slot }: TracePlace): AsyncGenerator<StoredRow> {
    const pages = this.db.pages(this.sql.selectRows, [collector, slot], row => row.records.length)
    for await (const rows of pages) for (const { node, uid, records } of rows) yield { node, uid, records }
  }

  /**
   * Yields the rows of a collector's seconds, in order of seconds and keys. A few seconds are read ahead.
   * @returns also, without rows, how far it has come where nothing is stored
   */
  async *rowsBetween(collector: number, from: bigint, to: bigint): AsyncGenerator<{ slot: bigint; rows: StoredRow[] }> {
    type Pages = AsyncGenerator<types.Row[]>
    const ahead: { slot: bigint; pages?: Pages; first?: Promise<IteratorResult<types.Row[]>> }[] = []
    const readAhead = (slot: bigint) => {
      const params = [collector, slot]
      const pages = this.db.pages(this.sql.selectRows, params, row => row.records.length, ROWS_AHEAD)
      ahead.push({ slot, pages, first: handled(pages.next()) })
    }
    const stretches = this.secondsBetween(collector, from, to)
    const waiting: bigint[] = []
    try {
      for (let isEnd = false; ; ) {
        while (!isEnd && waiting.length === 0 && ahead.length < SECONDS_AHEAD) {
          const { done, value } = await stretches.next()
          isEnd = done === true
          if (value !== undefined) waiting.push(...value.slots)
          if (value !== undefined && waiting.length === 0) ahead.push({ slot: value.last })
        }
        while (waiting.length > 0 && ahead.length < SECONDS_AHEAD) readAhead(waiting.shift()!)
        const second = ahead.shift()
        if (second === undefined) return
        const { slot, pages, first } = second
        for (let page = await first; page && !page.done; page = await pages!.next()) {
          yield { slot, rows: page.value.map(({ node, uid, records }) => ({ node, uid, records })) }
        }
        if (pages === undefined) yield { slot, rows: [] }
      }
    } finally {
      for (const { pages } of ahead) void pages?.return(undefined).catch(() => {})
    }
  }

  /** Yields the seconds that have rows, some at a time. To find that one has none costs a twentieth of what reading it does. */
  private async *secondsBetween(collector: number, from: bigint, to: bigint) {
    const ahead: { last: bigint; found: Promise<types.ResultSet> }[] = []
    for (let next = from; ; ) {
      while (next < to && ahead.length < LOOKS_AHEAD) {
        const slots: bigint[] = []
        while (next < to && slots.length < SECONDS_A_LOOK) slots.push(next++)
        const found = handled(this.db.execute(this.sql.selectSeconds, [collector, slots]))
        ahead.push({ last: slots.at(-1)!, found })
      }
      const look = ahead.shift()
      if (look === undefined) return
      const slots: bigint[] = (await look.found).rows.map(({ slot }) => slot)
      yield { last: look.last, slots: slots.sort((a, b) => (a < b ? -1 : 1)) }
    }
  }

  /** Returns every collector that has a journal. */
  async journals(): Promise<Set<string>> {
    const collectors = new Set<string>()
    for await (const rows of this.db.pages(this.sql.selectJournals, [], () => PLACE_BYTES)) {
      for (const { collector } of rows) collectors.add(collector)
    }
    return collectors
  }

  /** Returns the first message in the journal behind a checkpoint; without one, the first of all. */
  async firstUnsettled(collector: string, checkpoint = 0n): Promise<bigint | undefined> {
    for (const slot of await this.slotsFrom(collector, checkpoint / JOURNAL_SLOT_US)) {
      const { rows } = await this.db.execute(this.sql.selectFirst, [collector, slot, checkpoint])
      if (rows.length > 0) return rows[0]!.seq
    }
    return undefined
  }

  /** Returns the newest message in the journal. */
  async newest(collector: string): Promise<Numbered | undefined> {
    const newestIn = async (slot: number) => (await this.db.execute(this.sql.selectNewest, [collector, slot])).rows[0]
    const slot = await newestIn(DIRECTORY)
    const message = slot && (await newestIn(Number(slot.seq)))
    return message && { id: message.seq, receivedUs: BigInt(message.received_us) }
  }

  private async slotsFrom(collector: string, from: bigint): Promise<number[]> {
    const slots: number[] = []
    for await (const rows of this.db.pages(this.sql.selectJournal, [collector, DIRECTORY, from - 1n], () => 8)) {
      for (const { seq } of rows) slots.push(Number(seq))
    }
    return slots
  }

  async writeHealth(nowUs: bigint): Promise<void> {
    await this.db.execute(this.sql.insertHealth, [nowUs])
  }

  async probe(): Promise<void> {
    await this.db.execute(this.sql.probeSpans)
  }
}

function statementsFor(db: Cassandra) {
  const [journal, spans] = [db.table('journal'), db.table('spans')]
  return {
    // The row's write time is the message's time of receipt.
    insertJournal: `INSERT INTO ${journal} (collector, slot, seq, part, body) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?`,
    selectJournal: `SELECT seq, body, WRITETIME(body) AS received_us FROM ${journal} WHERE collector = ? AND slot = ? AND seq > ?`,
    selectSeconds: `SELECT DISTINCT collector, slot FROM ${spans} WHERE collector = ? AND slot IN ?`,
    selectJournals: `SELECT DISTINCT collector, slot FROM ${journal}`,
    selectFirst: `SELECT seq FROM ${journal} WHERE collector = ? AND slot = ? AND seq > ? LIMIT 1`,
    selectNewest: `SELECT seq, WRITETIME(body) AS received_us FROM ${journal} WHERE collector = ? AND slot = ?
      ORDER BY seq DESC LIMIT 1`,
    insertSpans: `INSERT INTO ${spans} (collector, slot, node, uid, records) VALUES (?, ?, ?, ?, ?) USING TTL ?`,
    selectSpans: `SELECT records FROM ${spans} WHERE collector = ? AND slot = ? AND node IN ?`,
    selectPlaces: `SELECT DISTINCT collector, slot FROM ${spans}`,
    selectRows: `SELECT node, uid, records FROM ${spans} WHERE collector = ? AND slot = ?`,
    probeSpans: `SELECT uid FROM ${spans} WHERE collector = 0 AND slot = 0 LIMIT 1`,
    insertHealth: `INSERT INTO ${db.table('health')} (id, checked_us) VALUES (0, ?)`,
  }
}

/** A promise that is awaited in its turn, or not at all. */
function handled<R>(promise: Promise<R>): Promise<R> {
  promise.catch(() => {})
  return promise
}

/** A row to be written. */
interface PartitionRow {
  /** Its partition. */
  slot: number | bigint
  bytes: number
  params: unknown[]
}

/** Groups rows into requests: a batch within one partition is one mutation and costs little more than a row. */
function batchesOf(query: string, rows: PartitionRow[]): { query: string; params: unknown[] }[][] {
  const batches: { query: string; params: unknown[] }[][] = []
  let slotOfBatch: number | bigint | undefined
  let bytesOfBatch = 0
  for (const { slot, bytes, params } of rows) {
    if (slot !== slotOfBatch || bytesOfBatch + bytes > MAX_JOURNAL_BYTES) {
      batches.push([])
      slotOfBatch = slot
      bytesOfBatch = 0
    }
    batches.at(-1)!.push({ query, params })
    bytesOfBatch += bytes
  }
  return batches
}

function journalSlotOf(seq: bigint): number {
  return Number(seq / JOURNAL_SLOT_US)
}

/** Splits a message into pieces of whole records, each no larger than a request unless a single record is. @returns start and end of each piece */
function pieces(body: Buffer, start: number, end: number): [number, number][] {
  if (end - start <= MAX_JOURNAL_BYTES) return [[start, end]]
  const found: [number, number][] = []
  for (let pos = start; pos < end; ) {
    const next = pos + RECORD_HEADER + body.readInt32BE(pos + 4)
    if (next - start > MAX_JOURNAL_BYTES && pos > start) {
      found.push([start, pos])
      start = pos
    }
    pos = next
  }
  found.push([start, end])
  return found
}
