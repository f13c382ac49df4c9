import type { Connection } from 'mysql2/promise'
import { Meter } from '../activity/meter'
import {
  type ActivityQuery,
  type ActivityRead,
  type ActivityTable,
  type Expiry,
  GRAINS,
  type Grain,
  MINUTE_US,
  NO_STATS,
  type Progress,
  type ReadPart,
  ROW_KINDS,
  type Row,
  type RowId,
  type Settled,
} from '../activity/model'
import { PAGE_ROWS, type PageQuery, PORTION_BYTES, planOf, portionOf } from '../activity/read'
import { chunksBySize } from '../chunks'
import type { Clock } from '../pipeline/clock'
import type { Entry } from '../pipeline/entry'
import type { Finished } from '../pipeline/pipeline'
import { type Row as Columns, type MySql, rowsOf } from './mysql'

/**
 * What services did, in MySQL. All settlings of all collectors are in one order, that of their locks on a row of activity_progress, and each
 * knows those before it: so what two collectors were sent counts once, and the halves of a call meet that went to two.
 */

const MAX_ROW_BYTES = 1024 * 1024
/** What a statement has besides the bytes, which it has as two digits each. */
const STATEMENT_BYTES = 8 * 1024
/** How many pieces of settlings, or ids of rows, are read or removed by a statement. */
const PIECES_AT_ONCE = 64
const IDS_AT_ONCE = 5_000
const REMOVED_AT_ONCE = 500
/** A meter learns what was settled in so long, unless it is more than so many bytes: five million records. */
const LEARN_US = 600_000_000n
const LEARN_BYTES = 100 * 1024 * 1024
/** The rows of activity_progress. */
const [SETTLING, FOLDING] = [0, 1]

/** Counts what one collector settles. */
export class MySqlMeter {
  /** The last settling that the meter knows. */
  learnt = 0n
  private readonly db: MySql
  private readonly collector: string
  private readonly clock: Clock
  private readonly meter: Meter
  private readonly onError: (error: unknown) => void
  private readonly read = (sql: string, parameters: unknown[]) => this.db.read(sql, parameters)

  constructor(
    db: MySql,
    collector: string,
    clock: Clock,
    options: { retentionDays: number },
    onError: (error: unknown) => void,
  ) {
    this.db = db
    this.collector = collector
    this.clock = clock
    this.meter = new Meter(options)
    this.onError = onError
  }

  /** Learns what collectors have settled lately. Called before anything is counted. */
  async begin(): Promise<void> {
    const [progress] = await this.db.read('SELECT seq FROM activity_progress WHERE id = ?', [SETTLING])
    this.learnt = BigInt(progress![0]!)
    let bytes = 0
    for (let before = this.learnt + 1n; ; ) {
      const rows = await this.db.read(
        `SELECT seq, at_us, SUM(LENGTH(recent)) FROM activity_settled WHERE seq < ?
         GROUP BY seq, at_us ORDER BY seq DESC LIMIT ${PIECES_AT_ONCE}`,
        [before],
      )
      for (const [seq, atUs, length] of rows) {
        bytes += Number(length)
        if (BigInt(atUs!) < this.clock.wallUs() - LEARN_US || bytes > LEARN_BYTES) return this.learnOthers(this.read)
        this.learnt = BigInt(seq!) - 1n
      }
      if (rows.length < PIECES_AT_ONCE) return this.learnOthers(this.read)
      before = BigInt(rows.at(-1)![0]!)
    }
  }

  /** Counts entries and moves the checkpoint. */
  async finish(entries: Entry[], checkpoint: bigint): Promise<Finished> {
    const { db, meter } = this
    if (entries.length === 0) {
      await db.transact(connection => this.writeCheckpoint(connection, checkpoint))
      return { notUtf8: 0, stats: NO_STATS }
    }
    // Most of what others have settled is learnt, and most is counted, before the lock is taken.
    await this.learnOthers(this.read)
    const atUs = this.clock.wallUs()
    let counted = await meter.count(entries, atUs)
    let countedAfter = this.learnt
    const seq = await db.transact(async connection => {
      const last = await this.lock(connection)
      await this.learnOthers((sql, parameters) => rowsOf(connection, sql, parameters))
      // After a lost connection it may be ourselves that have settled: then nothing counts again.
      if (this.learnt !== countedAfter) counted = await meter.count(entries, atUs)
      countedAfter = this.learnt
      const seq = last + 1n
      await this.writeSettled(connection, seq, atUs, counted.delta, counted.recent)
      await connection.query('UPDATE activity_progress SET seq = ? WHERE id = ?', [seq, SETTLING])
      await this.writeCheckpoint(connection, checkpoint)
      return seq
    })
    await meter.learn(counted.recent, atUs)
    this.learnt = seq
    return counted
  }

  private async lock(connection: Connection): Promise<bigint> {
    const [row] = await rowsOf(connection, 'SELECT seq FROM activity_progress WHERE id = ? FOR UPDATE', [SETTLING])
    return BigInt(row![0]!)
  }

  private async writeCheckpoint(connection: Connection, seq: bigint): Promise<void> {
    await connection.query(
      'INSERT INTO checkpoint (collector, seq) VALUES (?, ?) ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))',
      [this.collector, seq],
    )
  }

  /** In pieces, so that no statement is too large. */
  private async writeSettled(connection: Connection, seq: bigint, atUs: bigint, delta: Buffer, recent: Buffer) {
    const pieceBytes = Math.floor((this.db.statementBytes - STATEMENT_BYTES) / 4)
    const length = Math.max(delta.length, recent.length)
    for (let piece = 0, from = 0; piece === 0 || from < length; piece++, from += pieceBytes) {
      const part = (of: Buffer) => of.subarray(from, from + pieceBytes)
      await connection.query('INSERT INTO activity_settled (seq, piece, at_us, delta, recent) VALUES (?)', [
        [seq, piece, atUs, part(delta), part(recent)],
      ])
    }
  }

  /** Learns all settlings after the last one that it knows. What it has learnt stays so, whatever becomes of a transaction. */
  private async learnOthers(read: (sql: string, parameters: unknown[]) => Promise<Columns[]>): Promise<void> {
    for await (const { seq, atUs, bytes } of settlings('recent', this.learnt, read)) {
      try {
        await this.meter.learn(bytes, atUs)
      } catch (error) {
        this.onError(error)
      }
      this.learnt = seq
    }
  }
}

/** Yields what is after a settling, with its pieces put together. */
async function* settlings(
  column: 'recent' | 'delta',
  after: bigint,
  read: (sql: string, parameters: unknown[]) => Promise<Columns[]>,
): AsyncGenerator<{ seq: bigint; atUs: bigint; bytes: Buffer }> {
  let pieces: Buffer[] = []
  let [seq, atUs, piece] = [after, 0n, Number.MAX_SAFE_INTEGER]
  for (;;) {
    const rows = await read(
      `SELECT seq, piece, at_us, ${column} FROM activity_settled WHERE seq >= ? AND (seq > ? OR piece > ?)
       ORDER BY seq, piece LIMIT ${PIECES_AT_ONCE}`,
      [seq, seq, piece],
    )
    for (const row of rows) {
      const next = BigInt(row[0]!)
      if (next !== seq && pieces.length > 0) {
        yield { seq, atUs, bytes: Buffer.concat(pieces) }
        pieces = []
      }
      seq = next
      piece = Number(row[1])
      atUs = BigInt(row[2]!)
      pieces.push(row[3] as unknown as Buffer)
    }
    if (rows.length < PIECES_AT_ONCE) break
  }
  if (pieces.length > 0) yield { seq, atUs, bytes: Buffer.concat(pieces) }
}

export class MySqlActivity implements ActivityTable {
  private readonly db: MySql

  constructor(db: MySql) {
    this.db = db
  }

  get maxRowBytes(): number {
    return Math.min(MAX_ROW_BYTES, Math.floor((this.db.packetBytes - STATEMENT_BYTES) / 2))
  }

  async progress(): Promise<Progress> {
    return progressOf(await this.db.read(SELECT_PROGRESS, [FOLDING]))
  }

  async settledAfter(seq: bigint, maxBytes: number): Promise<Settled[]> {
    return (await deltasAfter(seq, maxBytes, (sql, parameters) => this.db.read(sql, parameters))).settled
  }

  async bodies(rows: RowId[]): Promise<(Buffer | undefined)[]> {
    if (rows.length === 0) return []
    const each = '(grain = ? AND service = ? AND time = ? AND kind = ?)'
    const found = await this.db.read(
      `SELECT grain, service, time, kind, body FROM activity WHERE ${rows.map(() => each).join(' OR ')}`,
      rows.flatMap(keyOf),
    )
    const bodies = new Map<string, Buffer>()
    for (const [grain, service, time, kind, body] of found) {
      bodies.set(`${grain} ${time} ${kind} ${service}`, body as unknown as Buffer)
    }
    return rows.map(row => bodies.get(`${row.grain} ${row.time} ${ROW_KINDS.indexOf(row.kind)} ${row.service}`))
  }

  async rowsOf({ grain, from, to }: ReadPart, most: number): Promise<RowId[]> {
    const ids: RowId[] = []
    for (let after: RowId | undefined; ids.length < most; after = ids.at(-1)) {
      const count = Math.min(IDS_AT_ONCE, most - ids.length)
      const [where, parameters] = afterRow(after)
      const rows = await this.db.read(
        `SELECT time, service, kind FROM activity FORCE INDEX (by_time)
         WHERE grain = ? AND time >= ? AND time < ?${where} ORDER BY time, service, kind LIMIT ?`,
        [grain, from, to, ...parameters, count],
      )
      for (const row of rows) ids.push(idOf(grain, row))
      if (rows.length < count) break
    }
    return ids
  }

  async commit(expected: Progress, rows: Row[], next: Progress): Promise<boolean> {
    return this.db.transact(async connection => {
      const progress = progressOf(await rowsOf(connection, `${SELECT_PROGRESS} FOR UPDATE`, [FOLDING]))
      if (progress.folded !== expected.folded || `${progress.rolled}` !== `${expected.rolled}`) return false
      for (const some of chunksBySize(rows, this.db.statementBytes, ({ body }) => 2 * body.length + 1_000)) {
        await connection.query(
          `INSERT INTO activity (grain, service, time, kind, body) VALUES ?
           ON DUPLICATE KEY UPDATE body = VALUES(body)`,
          [some.map(row => [...keyOf(row), row.body])],
        )
      }
      await connection.query(
        'UPDATE activity_progress SET seq = ?, rolled_10 = ?, rolled_60 = ?, rolled_1440 = ? WHERE id = ?',
        [next.folded, ...next.rolled.slice(1), FOLDING],
      )
      return true
    })
  }

  async expire({ settled, settledBeforeUs, fineBeforeUs, coarseBeforeUs }: Expiry): Promise<void> {
    await this.inPieces('DELETE FROM activity_settled WHERE seq <= ? AND at_us < ?', [
      settled,
      Math.floor(settledBeforeUs),
    ])
    for (const [i, grain] of GRAINS.entries()) {
      const before = Math.floor((i < 2 ? fineBeforeUs : coarseBeforeUs) / MINUTE_US / grain)
      await this.inPieces('DELETE FROM activity WHERE grain = ? AND time < ?', [grain, Math.max(0, before)])
    }
  }

  private async inPieces(sql: string, parameters: unknown[]): Promise<void> {
    let removed = REMOVED_AT_ONCE
    while (removed === REMOVED_AT_ONCE) removed = await this.db.write(`${sql} LIMIT ${REMOVED_AT_ONCE}`, parameters)
  }
}

/** Answers a query, or as much of it as fits into memory. @param keptFromUs see planOf() */
export function readMySqlActivity(db: MySql, query: ActivityQuery, keptFromUs: number): Promise<ActivityRead> {
  return db.snapshot(async connection => {
    const read = (sql: string, parameters: unknown[]) => rowsOf(connection, sql, parameters)
    const progress = progressOf(await read(SELECT_PROGRESS, [FOLDING]))
    const { settled: deltas, more } = await deltasAfter(query.deltasAfter ?? progress.folded, PORTION_BYTES, read)
    const portion = portionOf(query, query.deltasAfter === undefined ? planOf(query, progress, keptFromUs) : [])
    for (let step = portion.next(); ; ) {
      if (step.done) return { ...step.value, deltas, moreDeltas: more }
      step = portion.next(await pageOf(query, step.value, read))
    }
  })
}

async function pageOf(
  { kinds, service }: ActivityQuery,
  { part: { grain, from, to }, after }: PageQuery,
  read: (sql: string, parameters: unknown[]) => Promise<Columns[]>,
): Promise<Row[]> {
  const [where, parameters] = afterRow(after)
  const index = service === undefined ? 'by_time' : 'PRIMARY'
  const rows = await read(
    `SELECT time, service, kind, body FROM activity FORCE INDEX (${index})
     WHERE grain = ? AND time >= ? AND time < ? AND kind IN (?)${service === undefined ? '' : ' AND service = ?'}${where}
     ORDER BY time, service, kind LIMIT ${PAGE_ROWS}`,
    [
      grain,
      from,
      to,
      kinds.map(kind => ROW_KINDS.indexOf(kind)),
      ...(service === undefined ? [] : [Buffer.from(service)]),
      ...parameters,
    ],
  )
  return rows.map(row => ({ ...idOf(grain, row), body: row[3] as unknown as Buffer }))
}

async function deltasAfter(
  seq: bigint,
  maxBytes: number,
  read: (sql: string, parameters: unknown[]) => Promise<Columns[]>,
): Promise<{ settled: Settled[]; more: boolean }> {
  const settled: Settled[] = []
  let length = 0
  for await (const { seq: next, bytes } of settlings('delta', seq, read)) {
    if (settled.length > 0 && length + bytes.length > maxBytes) return { settled, more: true }
    settled.push({ seq: next, delta: bytes })
    length += bytes.length
  }
  return { settled, more: false }
}

const SELECT_PROGRESS = 'SELECT seq, rolled_10, rolled_60, rolled_1440 FROM activity_progress WHERE id = ?'

function progressOf([row]: Columns[]): Progress {
  const [folded, ten, hour, day] = row!
  return { folded: BigInt(folded!), rolled: [0, Number(ten), Number(hour), Number(day)] }
}

/** What a statement says of rows after one, by time, service and kind. */
function afterRow(after: RowId | undefined): [string, unknown[]] {
  if (after === undefined) return ['', []]
  const [, service, time, kind] = keyOf(after)
  return [
    ' AND time >= ? AND (time > ? OR service > ? OR (service = ? AND kind > ?))',
    [time, time, service, service, kind],
  ]
}

function keyOf({ grain, time, service, kind }: RowId): [number, Buffer, number, number] {
  return [grain, Buffer.from(service), time, ROW_KINDS.indexOf(kind)]
}

function idOf(grain: Grain, [time, service, kind]: Columns): RowId {
  return { grain, time: Number(time), service: `${service}`, kind: ROW_KINDS[Number(kind)]! }
}
