import { type ActivityMinute, type ActivityRow, minutesOf, readActivity } from './activity'
import type { MySql } from './mysql'

/** A row has up to some hundred kilobytes; a statement must stay below max_allowed_packet. */
const INSERT_BYTES = 1024 * 1024

/** The checkpoint, and what its spans add to the activity: both, or neither. */
export async function writeSettled(db: MySql, collector: string, seq: bigint, rows: ActivityRow[]): Promise<void> {
  await db.transact(async connection => {
    await connection.query(
      'INSERT INTO checkpoint (collector, seq) VALUES (?, ?) ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))',
      [collector, seq],
    )
    for (let from = 0; from < rows.length; ) {
      let to = from
      let bytes = 0
      do bytes += rows[to++]!.body.length
      while (to < rows.length && bytes + rows[to]!.body.length <= INSERT_BYTES)
      const values = rows.slice(from, to).map(({ minute, part, body }) => [minute, part, body])
      // REPLACE would want the right to delete.
      await connection.query(
        'INSERT INTO activity (minute, part, body) VALUES ? ON DUPLICATE KEY UPDATE body = VALUES(body)',
        [values],
      )
      from = to
    }
  })
}

export async function readMySqlActivity(db: MySql, fromUs: number, toUs: number): Promise<ActivityMinute[]> {
  const rows = await db.read('SELECT minute, body FROM activity WHERE minute BETWEEN ? AND ?', minutesOf(fromUs, toUs))
  return readActivity(rows.map(([minute, body]) => ({ minute: Number(minute), body: body as string })))
}
