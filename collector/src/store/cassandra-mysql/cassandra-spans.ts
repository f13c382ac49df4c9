import type { types } from 'cassandra-driver'
import { RECORD_HEADER } from 'milo/codec/span'
import { IdMap } from '../../record/ids'
import { scanRecords } from '../../record/records'
import { inParallel } from '../deadline'
import { hash64 } from '../hash64'
import type { Clock } from '../pipeline/clock'
import { type Entry, readEntry } from '../pipeline/entry'
import { Recent } from '../recent'
import type { Cassandra } from './cassandra'

/** The journal, and the spans by trace: what Cassandra is for. A row costs it the same whatever is in it. */

/** The size of one request to the journal, and of one row; far below what any server takes. */
const JOURNAL_BYTES = 256 * 1024
const JOURNAL_REQUESTS = 16
const SLOT_US = 10_000_000n
/** No slot of messages: its rows are the slots in use, as their seq. A clock that jumps may have put them anywhere. */
const DIRECTORY = -1

/** A row's size at most, unless a single record is larger. */
const ROW_BYTES = 256 * 1024
/** Cassandra warns of each batch for several partitions that is larger than 5 KiB. */
const BATCH_BYTES = 4_500
const BATCH_ROWS = 10
const SPAN_REQUESTS = 24
const SECONDS_A_DAY = 86_400

/** A row of the table spans. */
export interface SpanRow {
  traceId: bigint
  bucket: number
  records: Buffer
}

export class CassandraSpans {
  private readonly db: Cassandra
  private readonly ttl: number
  private readonly sql: ReturnType<typeof statementsFor>
  private readonly clock: Clock
  /** Slots that are in the directory. */
  private readonly slots = new Recent<number, true>(64)

  constructor(db: Cassandra, retentionDays: number, clock: Clock) {
    this.db = db
    this.clock = clock
    this.ttl = retentionDays * SECONDS_A_DAY
    this.sql = statementsFor(db)
  }

  /** Resolves when the entries are in the collector's journal. */
  async journal(collector: string, entries: Entry[]): Promise<void> {
    const query = this.sql.insertJournal
    const requests: { query: string; params: unknown[] }[][] = []
    const slots = new Set<number>()
    let bytes = 0
    let slotOfRequest = DIRECTORY
    for (const { id, receivedUs, body, start, end } of entries) {
      const slot = slotOf(id)
      slots.add(slot)
      for (const [from, to] of pieces(body, start, end)) {
        // A batch within one partition is one mutation, and costs little more than a row.
        if (slot !== slotOfRequest || bytes + to - from > JOURNAL_BYTES) {
          requests.push([])
          bytes = 0
          slotOfRequest = slot
        }
        // Where a piece begins is its number: it stays the same when a message is taken in parts.
        const params = [collector, slot, id, from, body.subarray(from, to), receivedUs]
        requests.at(-1)!.push({ query, params })
        bytes += to - from
      }
    }
    const fresh = [...slots].filter(slot => this.slots.get(slot) === undefined)
    for (const slot of fresh) {
      requests.push([{ query, params: [collector, DIRECTORY, BigInt(slot), 0, Buffer.alloc(0), this.clock.wallUs()] }])
    }
    await inParallel(requests, JOURNAL_REQUESTS, request =>
      request.length === 1 ? this.db.execute(query, request[0]!.params) : this.db.batch(request),
    )
    for (const slot of fresh) this.slots.set(slot, true)
  }

  /**
   * Entries behind a checkpoint, oldest first. Of one whose writing was interrupted, and so not acknowledged, some records may
   * be missing.
   * @param putAside told of records that can't be read
   * @param progress told how much of the journal is done
   */
  async *replay(
    collector: string,
    checkpoint: bigint | undefined,
    putAside: (entry: Entry, error: Error) => Promise<void>,
    progress: (done: number, total: number) => void = () => {},
  ): AsyncGenerator<Entry> {
    const params = [collector, DIRECTORY, checkpoint === undefined ? 0n : checkpoint / SLOT_US - 1n]
    const slots: number[] = []
    for await (const rows of this.db.pages(this.sql.selectJournal, params, () => 8)) {
      for (const { seq } of rows) slots.push(Number(seq))
    }
    for (const [i, slot] of slots.entries()) {
      for await (const parts of this.messagesOf(collector, slot, checkpoint ?? -(2n ** 63n))) {
        const body = parts.length === 1 ? parts[0]!.body : Buffer.concat(parts.map(part => part.body))
        yield await readEntry(parts[0]!.seq, BigInt(parts[0]!.received_us), body, putAside)
      }
      progress(i + 1, slots.length)
    }
  }

  /** The rows of each message. */
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

  /** Resolves when the rows are written; those that are already stay as they are. */
  async write(rows: SpanRow[]): Promise<void> {
    const query = this.sql.insertSpans
    const requests: { query: string; params: unknown[] }[][] = []
    let bytes = 0
    for (const { traceId, bucket, records } of rows) {
      const last = requests.at(-1)
      const row = { query, params: [traceId, bucket, hash64(records), records, this.ttl] }
      if (last === undefined || last.length === BATCH_ROWS || bytes + records.length > BATCH_BYTES) {
        requests.push([row])
        bytes = records.length
      } else {
        last.push(row)
        bytes += records.length
      }
    }
    await inParallel(requests, SPAN_REQUESTS, request =>
      request.length === 1 ? this.db.execute(query, request[0]!.params) : this.db.batch(request),
    )
  }

  /** Calls `add` with stretches of the trace's records, until it says that it takes no more. */
  async read(traceId: bigint, add: (records: Buffer) => boolean): Promise<void> {
    for (let bucket = 0, empty = false; !empty; bucket++) {
      empty = true
      for await (const rows of this.db.pages(this.sql.selectSpans, [traceId, bucket], row => row.records.length)) {
        for (const { records } of rows) if (!add(records)) return
        empty = false
      }
    }
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
    // The time of writing is that of receipt.
    insertJournal: `INSERT INTO ${journal} (collector, slot, seq, part, body) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?`,
    selectJournal: `SELECT seq, body, WRITETIME(body) AS received_us FROM ${journal} WHERE collector = ? AND slot = ? AND seq > ?`,
    insertSpans: `INSERT INTO ${spans} (trace_id, bucket, uid, records) VALUES (?, ?, ?, ?) USING TTL ?`,
    selectSpans: `SELECT records FROM ${spans} WHERE trace_id = ? AND bucket = ?`,
    probeSpans: `SELECT uid FROM ${spans} WHERE trace_id = 0 AND bucket = 0 LIMIT 1`,
    insertHealth: `INSERT INTO ${db.table('health')} (id, checked_us) VALUES (0, ?)`,
  }
}

function slotOf(seq: bigint): number {
  return Number(seq / SLOT_US)
}

/** Whole records of a message, each piece no longer than a request unless a single record is: where it begins and ends. */
function pieces(body: Buffer, start: number, end: number): [number, number][] {
  if (end - start <= JOURNAL_BYTES) return [[start, end]]
  const found: [number, number][] = []
  for (let pos = start; pos < end; ) {
    const next = pos + RECORD_HEADER + body.readInt32BE(pos + 4)
    if (next - start > JOURNAL_BYTES && pos > start) {
      found.push([start, pos])
      start = pos
    }
    pos = next
  }
  found.push([start, end])
  return found
}

/** Each trace's records, as rows. */
export function rowsByTrace(entries: Entry[]): Map<bigint, FatRow[]> {
  const traces = new IdMap<Buffer[]>()
  for (const entry of entries) {
    const body = entry.body.subarray(entry.start, entry.end)
    scanRecords(body, (start, end, { traceIdAt }) => {
      const traceId = body.readBigInt64BE(traceIdAt)
      const record = body.subarray(start, end)
      const known = traces.get(traceId)
      if (known === undefined) traces.set(traceId, [record])
      else known.push(record)
    })
  }
  const found = new IdMap<FatRow[]>()
  for (const [traceId, records] of traces) found.set(traceId, fatRows(records))
  return found
}

export interface FatRow {
  records: Buffer
  spans: number
}

function fatRows(records: Buffer[]): FatRow[] {
  if (records.length === 1) return [{ records: records[0]!, spans: 1 }]
  const rows: FatRow[] = []
  let row: Buffer[] = []
  let bytes = 0
  const end = () => {
    rows.push({ records: Buffer.concat(row), spans: row.length })
    row = []
    bytes = 0
  }
  for (const record of records) {
    if (bytes > 0 && bytes + record.length > ROW_BYTES) end()
    row.push(record)
    bytes += record.length
  }
  end()
  return rows
}
