import type { Connection } from 'mysql2/promise'
import type { MySqlConfig } from '../store-config'
import { connectMySql, isDenied, lockName, type MySql, mysqlError, rowsOf } from './mysql'

/**
 * The days of the index: made ahead, dropped when their spans have expired. Rows of a day before the first partition go
 * there, those of a day after the last into "later": nothing that is accepted is without a place.
 */

const TABLES = ['span_idx', 'post', 'dict', 'trace_terms'] as const
/** Partitions are made ahead for more than a weekend without an administrator. */
const DAYS_AHEAD = 4
const DAY_MS = 86_400_000
const EVERY_MS = 600_000
/** DDL waits for transactions under way, and keeps new ones waiting meanwhile. */
const WAIT_SECONDS = 3

/** Whatever there is to do, unless another collector is at it. */
export async function maintainPartitions(
  connection: Connection,
  config: MySqlConfig,
  retentionDays: number,
  log: (message: string) => void,
): Promise<void> {
  const lock = lockName(config, 'partitions')
  const [got] = await rowsOf(connection, 'SELECT GET_LOCK(?, 0)', [lock])
  if (got![0] !== 1) return
  try {
    await connection.query(`SET SESSION lock_wait_timeout = ${WAIT_SECONDS}`)
    const [now] = await rowsOf(connection, "SELECT DATEDIFF(UTC_DATE(), '1970-01-01')")
    const today = Number(now![0])
    // Both clocks must agree that a day has expired, and so must an earlier run, which made today's partition: a clock that
    // is wrong for a while drops nothing.
    const first = Math.min(today, Math.floor(Date.now() / DAY_MS)) - retentionDays
    let known = true
    for (const table of TABLES) {
      const days = await daysOf(connection, config, table)
      if (days.length > 0 && !days.includes(today)) known = false
      for (const [into, missing] of missingDays(days, today)) {
        const parts = [...missing, into].map(partition)
        await connection.query(`ALTER TABLE ${table} REORGANIZE PARTITION ${nameOf(into)} INTO (${parts.join(', ')})`)
      }
      // Rows live for as long as the spans of their day's last moment.
      const expired = known ? days.filter(day => day < first) : []
      if (expired.length > 0) {
        await connection.query(`ALTER TABLE ${table} DROP PARTITION ${expired.map(nameOf).join(', ')}`)
        log(`MySQL: ${expired.length} expired ${expired.length === 1 ? 'day' : 'days'} of ${table} dropped`)
      }
    }
    if (known) {
      await connection.query('DELETE FROM activity WHERE minute < ?', [first * 1440])
      await connection.query('DELETE FROM quarantine WHERE day < ?', [first])
    }
  } finally {
    await connection.query('DO RELEASE_LOCK(?)', [lock])
  }
}

/**
 * The days from today on that have no partition, each with the one that holds their rows: the next later one. Where a clock was
 * ahead, there are days far ahead.
 */
function missingDays(days: number[], today: number): Map<number, number[]> {
  const found = new Map<number, number[]>()
  for (let day = today; day <= today + DAYS_AHEAD; day++) {
    if (days.includes(day)) continue
    const into = Math.min(LATER, ...days.filter(other => other > day))
    found.set(into, [...(found.get(into) ?? []), day])
  }
  return found
}

/** The partition of every day that has none. */
const LATER = Number.POSITIVE_INFINITY

function nameOf(day: number): string {
  return day === LATER ? 'later' : `d${day}`
}

function partition(day: number): string {
  return `PARTITION ${nameOf(day)} VALUES LESS THAN ${day === LATER ? 'MAXVALUE' : `(${day + 1})`}`
}

async function daysOf(connection: Connection, { database }: MySqlConfig, table: string): Promise<number[]> {
  const rows = await rowsOf(
    connection,
    'SELECT PARTITION_NAME FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?',
    [database, table],
  )
  return rows
    .map(([name]) => /^d(\d+)$/.exec(String(name))?.[1])
    .filter(day => day !== undefined)
    .map(Number)
}

/** Keeps the days as they should be while the collector runs. @returns what ends it */
export function keepPartitions(db: MySql, retentionDays: number, log: (message: string) => void): () => void {
  let warned = ''
  const run = async () => {
    let connection: Connection | undefined
    try {
      connection = await connectMySql(db.config)
      await maintainPartitions(connection, db.config, retentionDays, log)
      warned = ''
    } catch (error) {
      const remedy = isDenied(error)
        ? 'this user may not alter tables: run milo-collector migrate every day as one who may, or grant ALTER and DROP'
        : mysqlError(db.config, error).message
      if (warned !== remedy) log(`MySQL: expired days of the index can't be dropped, nor new ones made: ${remedy}`)
      warned = remedy
    } finally {
      connection?.destroy()
    }
  }
  const timer = setInterval(() => void run(), EVERY_MS)
  timer.unref()
  void run()
  return () => clearInterval(timer)
}
