import type { Connection } from 'mysql2/promise'
import { within } from '../deadline'
import { type Clock, systemClock } from '../pipeline/clock'
import { StoreError } from '../store'
import type { MySqlConfig } from '../store-config'
import { connectMySql, lockName, rowsOf } from './mysql'

/**
 * Two collectors with the same id would overwrite each other's journal. So each holds a lock on its id in MySQL, on its own
 * connection, while it runs. If the connection breaks, it accepts nothing until it holds the lock again.
 */

/** A ping keeps the connection alive. After this much silence, the server closes the connection of a host that has vanished. */
const PING_MS = 5_000
const SILENCE_SECONDS = 20
const RETRY_MS = 500
const QUERY_MS = 5_000
/** So long MySQL may take to notice that a process was killed, whose successor is there at once. */
const LOCK_SECONDS = 2
/** Microseconds since the epoch, whatever the session's time zone. */
export const NOW_US = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"

export class CollectorLock {
  private readonly config: MySqlConfig
  private readonly collector: string
  private readonly name: string
  private connection: Connection | undefined
  private timer: NodeJS.Timeout | undefined
  private closed = false
  /** MySQL's time at a moment of the steady clock, in milliseconds. */
  private server = { wallUs: 0n, atMs: 0 }
  /** MySQL's clock, the only one that all collectors share. */
  readonly clock: Clock = {
    wallUs: () => this.server.wallUs + BigInt(Math.floor((systemClock.steadyMs() - this.server.atMs) * 1000)),
    steadyMs: systemClock.steadyMs,
  }
  /** Why the lock isn't held. */
  private reason: StoreError | undefined

  /** @throws StoreError if another process holds the lock */
  static async take(config: MySqlConfig, collector: string): Promise<CollectorLock> {
    const lock = new CollectorLock(config, collector)
    await lock.connect()
    return lock
  }

  private constructor(config: MySqlConfig, collector: string) {
    this.config = config
    this.collector = collector
    this.name = lockName(config, `collector ${collector}`)
  }

  /** @throws StoreError unless the lock is held */
  check(): void {
    if (this.connection === undefined) throw this.reason
  }

  /** When this resolves, another may take the lock: MySQL would notice a while later that the connection has ended. */
  async close(): Promise<void> {
    const { connection } = this
    this.closed = true
    clearTimeout(this.timer)
    this.connection = undefined
    if (connection === undefined) return
    await within(QUERY_MS, connection.query('DO RELEASE_LOCK(?)', [this.name])).catch(() => {})
    connection.destroy()
  }

  private async connect(): Promise<void> {
    const connection = await connectMySql(this.config)
    try {
      await within(QUERY_MS, connection.query(`SET SESSION wait_timeout = ${SILENCE_SECONDS}`))
      await this.askTime(connection)
      const sql = `SELECT GET_LOCK(?, ${LOCK_SECONDS})`
      const [row] = await within(QUERY_MS, rowsOf(connection, sql, [this.name]))
      if (row![0] !== 1) {
        throw new StoreError(
          'MILO_STORE_LOCKED',
          `another collector with the id ${this.collector} is running (or was until ${SILENCE_SECONDS} s ago): set another collector_id for one of them`,
        )
      }
    } catch (error) {
      connection.destroy()
      throw error
    }
    if (this.closed) return connection.destroy()
    this.connection = connection
    connection.on('error', () => this.lost(connection))
    connection.on('end', () => this.lost(connection))
    this.ping(connection)
  }

  private ping(connection: Connection): void {
    this.timer = setTimeout(() => {
      this.askTime(connection).then(
        () => this.connection === connection && this.ping(connection),
        () => this.lost(connection),
      )
    }, PING_MS)
    this.timer.unref()
  }

  private async askTime(connection: Connection): Promise<void> {
    const askedMs = systemClock.steadyMs()
    const [row] = await within(QUERY_MS, rowsOf(connection, NOW_US))
    const answeredMs = systemClock.steadyMs()
    // MySQL read its clock between question and answer. The known time is kept unless it is outside that interval.
    const earliest = BigInt(row![0]!)
    const latest = earliest + BigInt(Math.ceil((answeredMs - askedMs) * 1000))
    const known = this.clock.wallUs()
    if (known < earliest || known > latest) this.server = { wallUs: (earliest + latest) / 2n, atMs: answeredMs }
  }

  private lost(connection: Connection): void {
    if (this.connection !== connection) return
    this.connection = undefined
    this.reason = new StoreError(
      'MILO_STORE_UNAVAILABLE',
      `the connection to MySQL at ${this.config.hostname}:${this.config.port} was lost`,
    )
    connection.destroy()
    this.retry()
  }

  private retry(): void {
    if (this.closed) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.connect().catch(error => {
        this.reason = error
        this.retry()
      })
    }, RETRY_MS)
    this.timer.unref()
  }
}
