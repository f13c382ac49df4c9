import type { Connection } from 'mysql2/promise'
import type { MySqlConfig } from '../store-config'
import { connectMySql, isDenied, lockName, type MySql, mysqlError, rowsOf } from './mysql'

/**
 * The index has a partition for each day. Partitions are created ahead and dropped when their spans have expired. Rows of a day
 * before the first partition go into the first one, and rows of a day after the last go into "later".
 */

const TABLES = ['post', 'trace_terms', 'dict', 'value_block'] as const
/** Partitions are created ahead for more than a weekend without an administrator. */
const DAYS_AHEAD = 4
const DAY_MS = 86_400_000
const EVERY_MS = 600_000
/** How long DDL waits for running transactions: new ones wait behind it. */
const WAIT_SECONDS = 3

/** Creates and drops partitions, unless another collector is doing so. */
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
    const [row] = await rowsOf(connection, "SELECT DATEDIFF(UTC_DATE(), '1970-01-01')")
    const today = Number(row![0])
    // A day has expired only if both clocks agree and an earlier run has created today's partition: a clock that is wrong for a
    // while drops nothing.
    const first = Math.min(today, Math.floor(Date.now() / DAY_MS)) - retentionDays
    let known = true
    for (const table of TABLES) {
      const days = await daysOf(connection, config, table)
      if (days.length > 0 && !days.includes(today)) known = false
      for (const [into, missing] of missingDays(days, today)) {
        const parts = [...missing, into].map(partition)
        await connection.query(`ALTER TABLE ${table} REORGANIZE PARTITION ${nameOf(into)} INTO (${parts.join(', ')})`)
      }
      // A day's rows are kept until the spans of its last moment expire.
      const expired = known ? days.filter(day => day < first) : []
      if (expired.length > 0) {
        await connection.query(`ALTER TABLE ${table} DROP PARTITION ${expired.map(nameOf).join(', ')}`)
        log(`MySQL: ${expired.length} expired ${expired.length === 1 ? 'day' : 'days'} of ${table} dropped`)
      }
    }
    if (known) {
      await connection.query('DELETE FROM quarantine WHERE day < ?', [first])
    }
  } finally {
    await connection.query('DO RELEASE_LOCK(?)', [lock])
  }
}

/**
 * Returns the days from today on that have no partition, by the partition that holds their rows, which is the next later one.
 * After a clock was ahead, there may be partitions of days far ahead.
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

/** The partition of all days without their own. */
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

/** Creates and drops partitions while the collector runs. @returns a function that stops it */
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
        ? 'this user may not alter tables: run milo-collector migrate every day as a user who may, or grant ALTER and DROP'
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
