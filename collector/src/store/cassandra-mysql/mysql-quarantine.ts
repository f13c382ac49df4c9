import type { Entry } from '../pipeline/entry'
import { type Quarantine, type QuarantinedRecord, unknownRecord } from '../quarantine'
import type { MySql } from './mysql'
import { DAY_US, dayOf } from './mysql-index'

/** Records that one of the databases refuses for good, in MySQL's table `quarantine`, with what it said. */

/** Bytes of a piece in quarantine: less than any server's max_allowed_packet, as hexadecimal digits too. */
const PIECE_BYTES = 128 * 1024
/** How long a reason may be. */
const REASON_LENGTH = 1_000

/** Keeps records that a database refuses, with its reason. @returns whether they weren't there yet */
export async function putAside(
  db: MySql,
  collector: string,
  { id, start, end, body, receivedUs }: Entry,
  reason: string,
): Promise<boolean> {
  const why = reason.slice(0, REASON_LENGTH)
  return db.transact(async connection => {
    let added = 0
    for (let from = start; from < end; from += PIECE_BYTES) {
      const piece = body.subarray(from, Math.min(from + PIECE_BYTES, end))
      const [{ affectedRows }] = await connection.query<any>(
        'INSERT IGNORE INTO quarantine (collector, message, start, piece, reason, body, day) VALUES (?)',
        [[collector, id, start, from, why, piece, dayOf(receivedUs)]],
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
    const rows = await this.db.read(
      `SELECT collector, message, start, MIN(reason), SUM(LENGTH(body)), MIN(day) FROM quarantine
       GROUP BY collector, message, start ORDER BY message, start, collector`,
    )
    return rows.map(([collector, message, start, reason, bytes, day]) => ({
      id: `${collector}/${message}/${start}`,
      reason: String(reason),
      bytes: Number(bytes),
      receivedUs: BigInt(day!) * DAY_US,
    }))
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

const RECORD = 'collector = ? AND message = ? AND start = ?'

/** A collector's name may have slashes. */
function keyOf(id: string): string[] {
  const [, collector, message, start] = /^(.+)\/(\d+)\/(\d+)$/s.exec(id) ?? []
  if (start === undefined) throw unknownRecord(id)
  return [collector!, message!, start]
}
