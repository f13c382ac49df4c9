import { hash52 } from '../hash64'
import type { Entry } from '../pipeline/entry'
import { type Quarantine, type QuarantinedRecord, unknownRecord } from '../quarantine'
import type { MySql, Row } from './mysql'
import { DAY_US, dayOf } from './mysql-index'

/** Records that one of the databases refuses for good, in MySQL's table `quarantine` with the error message. */

/** The size of a piece in quarantine: even as hexadecimal digits, it is below any server's max_allowed_packet. */
const MAX_PIECE_BYTES = 128 * 1024
/** How many records are listed in one statement. */
const PAGE_RECORDS = 500
/** The maximal length of a reason. */
const MAX_REASON_LENGTH = 1_000

/** Stores records that a database refuses, with the reason. @returns whether they are new in the table */
export async function putAside(
  db: MySql,
  collector: string,
  { id, start, end, body, receivedUs }: Entry,
  reason: string,
): Promise<boolean> {
  const shortReason = reason.slice(0, MAX_REASON_LENGTH)
  // Not by its offset: a replayed message lacks the records that the journal refused.
  const uid = hash52(body.subarray(start, end))
  return db.transact(async connection => {
    let added = 0
    for (let from = start; from < end; from += MAX_PIECE_BYTES) {
      const piece = body.subarray(from, Math.min(from + MAX_PIECE_BYTES, end))
      const [{ affectedRows }] = await connection.query<any>(
        'INSERT IGNORE INTO quarantine (collector, message, uid, piece, reason, body, day) VALUES (?)',
        [[collector, id, uid, from - start, shortReason, piece, dayOf(receivedUs)]],
      )
      added += affectedRows
    }
    return added > 0
  })
}

export class MySqlQuarantine implements Quarantine {
  private readonly db: MySql
  constructor(db: MySql) {
    this.db = db
  }

  async list(): Promise<QuarantinedRecord[]> {
    const records: (QuarantinedRecord & { message: bigint })[] = []
    // In pages: reading all bodies for their lengths may take longer than a statement may.
    let rows: Row[] = []
    do {
      const [collector, message, uid] = rows.at(-1) ?? []
      const after =
        uid === undefined ? 'TRUE' : 'collector >= ? AND (collector > ? OR message > ? OR (message = ? AND uid > ?))'
      rows = await this.db.read(
        `SELECT collector, message, uid, MIN(reason), SUM(LENGTH(body)), MIN(day) FROM quarantine WHERE ${after}
         GROUP BY collector, message, uid ORDER BY collector, message, uid LIMIT ${PAGE_RECORDS}`,
        uid === undefined ? [] : [collector, collector, message, message, uid],
      )
      for (const [collector, message, uid, reason, bytes, day] of rows) {
        records.push({
          id: `${collector}/${message}/${uid}`,
          message: BigInt(message!),
          reason: String(reason),
          bytes: Number(bytes),
          receivedUs: BigInt(day!) * DAY_US,
        })
      }
    } while (rows.length === PAGE_RECORDS)
    return records
      .sort((a, b) => (a.message < b.message ? -1 : a.message > b.message ? 1 : 0))
      .map(({ message: _, ...record }) => record)
  }

  async read(id: string): Promise<Buffer> {
    const rows = await this.db.read(`SELECT body FROM quarantine WHERE ${RECORD} ORDER BY piece`, keyOf(id))
    if (rows.length === 0) throw unknownRecord(id)
    return Buffer.concat(rows.map(([body]) => body as unknown as Buffer))
  }

  async drop(id: string): Promise<void> {
    if ((await this.db.write(`DELETE FROM quarantine WHERE ${RECORD}`, keyOf(id))) === 0) throw unknownRecord(id)
  }

  async close(): Promise<void> {
    await this.db.close()
  }
}

const RECORD = 'collector = ? AND message = ? AND uid = ?'

/** Splits an id into its columns. A collector's id may contain slashes. */
function keyOf(id: string): string[] {
  const [, collector, message, uid] = /^(.+)\/(\d+)\/(\d+)$/s.exec(id) ?? []
  if (uid === undefined) throw unknownRecord(id)
  return [collector!, message!, uid]
}
