import { RECORD_HEADER } from '../../../src/codec/span'
import type { Cassandra } from './cassandra'
import { inParallel } from './deadline'
import { hash64 } from './hash64'
import type { Entry } from './pipeline'
import { scanRecords } from './records'
import type { Message } from './store'

/** The journal, and the spans by trace: what Cassandra is for. A row costs it the same whatever is in it. */

/** Of one request to the journal, and of one row; far below what any server takes. */
const JOURNAL_BYTES = 256 * 1024
const JOURNAL_REQUESTS = 16
const SLOT_US = 10_000_000n
/** How long a row of the journal lives: default_time_to_live in sql/cassandra/0002-journal.cql. */
export const JOURNAL_US = 86_400_000_000n
/** A clock may have been set back since. */
const AHEAD_US = 600_000_000n
const SLOTS_AT_ONCE = 32

/** A row's size at most, unless a single record is larger. */
const ROW_BYTES = 256 * 1024
/** Beyond 5 KiB of several partitions Cassandra warns of each batch. */
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

  constructor(db: Cassandra, retentionDays: number) {
    this.db = db
    this.ttl = retentionDays * SECONDS_A_DAY
    this.sql = statementsFor(db)
  }

  /** Resolves when the messages, numbered from `first` on, are in the collector's journal. */
  async journal(collector: string, first: bigint, messages: Message[]): Promise<void> {
    const query = this.sql.insertJournal
    const requests: { query: string; params: unknown[] }[][] = []
    let bytes = 0
    let slotOfRequest = -1
    for (const [i, { body }] of messages.entries()) {
      const seq = first + BigInt(i)
      const slot = slotOf(seq)
      for (const [part, piece] of pieces(body).entries()) {
        // A batch within one partition is one mutation, and costs little more than a row.
        if (requests.length === 0 || slot !== slotOfRequest || bytes + piece.length > JOURNAL_BYTES) {
          requests.push([])
          bytes = 0
          slotOfRequest = slot
        }
        requests.at(-1)!.push({ query, params: [collector, slot, seq, part, piece] })
        bytes += piece.length
      }
    }
    await inParallel(requests, JOURNAL_REQUESTS, request =>
      request.length === 1 ? this.db.execute(query, request[0]!.params) : this.db.batch(request),
    )
  }

  /**
   * Entries behind a checkpoint, oldest first. A long message comes as several entries of the same number; of one whose
   * writing was interrupted, and so not acknowledged, some may be missing.
   * @param progress told how much of the time between checkpoint and now is done
   */
  async *replay(
    collector: string,
    checkpoint: bigint | undefined,
    progress: (done: number, total: number) => void = () => {},
  ): AsyncGenerator<Entry> {
    const nowUs = BigInt(Date.now()) * 1000n
    const fromUs = checkpoint === undefined || checkpoint < nowUs - JOURNAL_US ? nowUs - JOURNAL_US : checkpoint
    const from = slotOf(fromUs)
    const to = slotOf(fromUs > nowUs ? fromUs : nowUs) + Number(AHEAD_US / SLOT_US)
    for (let some = from; some <= to; some += SLOTS_AT_ONCE) {
      const slots = Array.from({ length: Math.min(SLOTS_AT_ONCE, to - some + 1) }, (_, i) => some + i)
      // Most are empty, and found to be side by side.
      const filled = new Set<number>()
      await inParallel(slots, SLOTS_AT_ONCE, async slot => {
        const { rows } = await this.db.execute(this.sql.probeJournal, [collector, slot])
        if (rows.length > 0) filled.add(slot)
      })
      for (const slot of slots) {
        if (filled.has(slot)) yield* this.readSlot(collector, slot, checkpoint ?? -(2n ** 63n))
        progress(slot - from + 1, to - from + 1)
      }
    }
  }

  private async *readSlot(collector: string, slot: number, after: bigint): AsyncGenerator<Entry> {
    const params = [collector, slot, after]
    for await (const rows of this.db.pages(this.sql.selectJournal, params, row => row.body.length)) {
      for (const { seq, body } of rows) {
        let spans = 0
        scanRecords(body, () => spans++)
        yield { id: seq, body, spans }
      }
    }
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

  /** Calls `add` with stretches of the trace's records. */
  async read(traceId: bigint, add: (records: Buffer) => void): Promise<void> {
    for (let bucket = 0, empty = false; !empty; bucket++) {
      empty = true
      for await (const rows of this.db.pages(this.sql.selectSpans, [traceId, bucket], row => row.records.length)) {
        for (const { records } of rows) add(records)
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
    insertJournal: `INSERT INTO ${journal} (collector, slot, seq, part, body) VALUES (?, ?, ?, ?, ?)`,
    probeJournal: `SELECT seq FROM ${journal} WHERE collector = ? AND slot = ? LIMIT 1`,
    selectJournal: `SELECT seq, body FROM ${journal} WHERE collector = ? AND slot = ? AND seq > ?`,
    insertSpans: `INSERT INTO ${spans} (trace_id, bucket, uid, records) VALUES (?, ?, ?, ?) USING TTL ?`,
    selectSpans: `SELECT records FROM ${spans} WHERE trace_id = ? AND bucket = ?`,
    probeSpans: `SELECT uid FROM ${spans} WHERE trace_id = 0 AND bucket = 0 LIMIT 1`,
    insertHealth: `INSERT INTO ${db.table('health')} (id, checked_us) VALUES (0, ?)`,
  }
}

function slotOf(seq: bigint): number {
  return Number(seq / SLOT_US)
}

/** The message in pieces of whole records, each no longer than a request unless a single record is. */
function pieces(body: Buffer): Buffer[] {
  if (body.length <= JOURNAL_BYTES) return [body]
  const found: Buffer[] = []
  let start = 0
  for (let pos = 0; pos < body.length; ) {
    const end = pos + RECORD_HEADER + body.readInt32BE(pos + 4)
    if (end - start > JOURNAL_BYTES && pos > start) {
      found.push(body.subarray(start, pos))
      start = pos
    }
    pos = end
  }
  found.push(body.subarray(start))
  return found
}

/** Each trace's records, as rows. */
export function rowsByTrace(entries: Entry[]): Map<bigint, FatRow[]> {
  const traces = new Map<bigint, Buffer[]>()
  for (const { body } of entries) {
    scanRecords(body, (start, end, { traceIdAt }) => {
      const traceId = body.readBigInt64BE(traceIdAt)
      const record = body.subarray(start, end)
      const known = traces.get(traceId)
      if (known === undefined) traces.set(traceId, [record])
      else known.push(record)
    })
  }
  const found = new Map<bigint, FatRow[]>()
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
