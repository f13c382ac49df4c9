import { type ActivityMinute, type ActivityRow, minutesOf, readActivityInTurns } from '../activity/activity'
import { chunksBySize } from '../chunks'
import type { MySql } from './mysql'

/** Writes the checkpoint and the activity of its spans in one transaction. */
export async function writeSettled(db: MySql, collector: string, seq: bigint, rows: ActivityRow[]): Promise<void> {
  await db.transact(async connection => {
    await connection.query(
      'INSERT INTO checkpoint (collector, seq) VALUES (?, ?) ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))',
      [collector, seq],
    )
    for (const some of chunksBySize(rows, db.statementBytes, ({ body }) => 2 * Buffer.byteLength(body))) {
      // REPLACE would require the right to delete.
      await connection.query(
        'INSERT INTO activity (minute, part, body) VALUES ? ON DUPLICATE KEY UPDATE body = VALUES(body)',
        [some.map(({ minute, part, body }) => [minute, part, body])],
      )
    }
  })
}

export async function readMySqlActivity(db: MySql, fromUs: number, toUs: number): Promise<ActivityMinute[]> {
  const rows = await db.read('SELECT minute, body FROM activity WHERE minute BETWEEN ? AND ?', minutesOf(fromUs, toUs))
  return readActivityInTurns(rows.map(([minute, body]) => ({ minute: Number(minute), body: body as string })))
}
