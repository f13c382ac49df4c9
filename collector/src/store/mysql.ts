import { hash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, createConnection, createPool, type Pool, type PoolConnection } from 'mysql2/promise'
import { within } from './deadline'
import { migrations, newestVersion, statements } from './migrations'
import type { MySqlConfig } from './open'
import { search } from './search'
import { type Cursor, type Message, type SearchPage, type SearchQuery, type StoreError, unavailable } from './store'
import { indexRows, type Posting, type Start, TermReader } from './terms'

/** The search index. It holds integers alone, see terms.ts; schema: sql/mysql/. */

const CONNECTIONS = 10
const CONNECT_MS = 5_000
/** For one transaction or query. */
const DEADLINE_MS = 10_000
/** Rows of one INSERT: about 60 KB of SQL. */
const INSERT_ROWS = 1_000
/** How often a transaction is tried that others stand in the way of. */
const ATTEMPTS = 8
/** How long migrate waits for another one. */
const LOCK_SECONDS = 60
/** Their numbers are the same in MySQL and MariaDB. */
const ERROR = { unknownDatabase: 1049, noSuchTable: 1146, lockWaitTimeout: 1205, deadlock: 1213 } as const

export class MySqlIndex {
  private readonly config: MySqlConfig
  private readonly pool: Pool
  private readonly terms = new TermReader()

  constructor(config: MySqlConfig) {
    this.config = config
    this.pool = createPool({ ...connectionOptions(config), database: config.database, connectionLimit: CONNECTIONS })
    this.pool.on('connection', connection => {
      // Commands of a connection run in order: this one before any of ours. Fewer gap locks, so fewer deadlocks; and a
      // transaction that waits for another's locks longer than we wait for it would be in vain.
      connection.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED')
      connection.query('SET SESSION innodb_lock_wait_timeout = 3')
    })
  }

  /** Resolves when the messages' spans can be found. */
  async add(messages: Message[]): Promise<void> {
    const { postings, starts } = indexRows(this.terms, messages)
    // In the order of the keys: whoever else inserts comes by the same way, and waits instead of meeting head-on.
    postings.sort(byColumns)
    starts.sort(byColumns)
    for (let attempt = 1; ; attempt++) {
      try {
        await this.withConnection(connection => insert(connection, postings, starts))
        return
      } catch (error) {
        const { errno } = error as { errno?: number }
        const inTheWay = errno === ERROR.deadlock || errno === ERROR.lockWaitTimeout
        if (!inTheWay || attempt === ATTEMPTS) throw away(this.config, error)
        await sleep(Math.random() * 10 * attempt)
      }
    }
  }

  async search(query: SearchQuery): Promise<SearchPage> {
    const after = ({ startUs, traceId }: Cursor) => ({
      // MySQL finds no index range for (start_us, trace_id) < (?, ?).
      sql: '(start_us < ? OR (start_us = ? AND trace_id < ?))',
      parameters: [startUs, startUs, traceId],
    })
    const rows = (sql: string, parameters: bigint[]) =>
      this.withConnection(async connection => integers(connection, sql, parameters))
    try {
      return await search({ rows, after }, query)
    } catch (error) {
      throw away(this.config, error)
    }
  }

  async check(): Promise<void> {
    try {
      await this.withConnection(async connection => {
        const nowUs = BigInt(Date.now()) * 1000n
        await connection.query(
          'INSERT INTO health (id, checked_us) VALUES (0, ?) ON DUPLICATE KEY UPDATE checked_us = VALUES(checked_us)',
          [nowUs],
        )
        await connection.query('SELECT term FROM posting LIMIT 1')
      })
    } catch (error) {
      throw away(this.config, error)
    }
  }

  close(): Promise<void> {
    return this.pool.end()
  }

  /** The number of the last migration that was applied; undefined when there is nothing yet. */
  async schemaVersion(): Promise<number | undefined> {
    try {
      return await this.withConnection(schemaVersion)
    } catch (error) {
      if ((error as { errno?: number }).errno === ERROR.unknownDatabase) return undefined
      throw away(this.config, error)
    }
  }

  private async withConnection<R>(work: (connection: PoolConnection) => Promise<R>): Promise<R> {
    const opening = this.pool.getConnection()
    const connection = await within(CONNECT_MS, opening).catch(error => {
      // One that comes late must not be lost to the pool.
      opening.then(late => late.release()).catch(() => {})
      throw error
    })
    try {
      const result = await within(DEADLINE_MS, work(connection))
      connection.release()
      return result
    } catch (error) {
      // Whatever it was in the middle of, the server rolls back.
      connection.destroy()
      throw error
    }
  }
}

async function insert(connection: Connection, postings: Posting[], starts: Start[]): Promise<void> {
  await connection.beginTransaction()
  for (let i = 0; i < postings.length; i += INSERT_ROWS) {
    await connection.query('INSERT IGNORE INTO posting (term, trace_id, span_id) VALUES ?', [
      postings.slice(i, i + INSERT_ROWS),
    ])
  }
  for (let i = 0; i < starts.length; i += INSERT_ROWS) {
    await connection.query(
      `INSERT INTO trace_start (trace_id, start_us) VALUES ?
       ON DUPLICATE KEY UPDATE start_us = LEAST(start_us, VALUES(start_us))`,
      [starts.slice(i, i + INSERT_ROWS)],
    )
  }
  await connection.commit()
}

/** The columns of a SELECT that gives integers alone; 64-bit ones come as strings, others as numbers. */
async function integers(connection: Connection, sql: string, parameters: unknown[] = []): Promise<bigint[][]> {
  const [rows] = await connection.query<any[]>({ sql, rowsAsArray: true }, parameters)
  return (rows as (string | number)[][]).map(row => row.map(BigInt))
}

/**
 * Makes the database if need be, and lets `work` run while no other collector runs its own: Cassandra has no such lock.
 * @param work is given what makes the tables, or brings them up to date
 */
export async function underMigrationLock(
  config: MySqlConfig,
  log: (message: string) => void,
  work: (migrateMySql: () => Promise<void>) => Promise<void>,
): Promise<void> {
  let connection: Connection | undefined
  try {
    connection = await createConnection(connectionOptions(config))
    await useDatabase(connection, config, log)
    const lock = `milo ${hash('sha256', config.database).slice(0, 32)}`
    const [[got]] = (await integers(connection, 'SELECT COALESCE(GET_LOCK(?, ?), 0)', [lock, LOCK_SECONDS])) as [
      [bigint],
    ]
    if (got !== 1n) {
      throw new Error(`another milo-collector has been migrating for ${LOCK_SECONDS} s: wait for it, or stop it`)
    }
    await work(() => applyMigrations(connection!, config, log))
  } catch (error) {
    throw away(config, error)
  } finally {
    // The lock goes with it.
    connection?.destroy()
  }
}

async function applyMigrations(connection: Connection, { database }: MySqlConfig, log: (message: string) => void) {
  const version = (await schemaVersion(connection)) ?? 0
  await connection.query(
    `CREATE TABLE IF NOT EXISTS schema_migration (
       version INT NOT NULL, name VARCHAR(200) NOT NULL, applied_at TIMESTAMP NOT NULL, PRIMARY KEY (version)
     ) ENGINE = InnoDB`,
  )
  for (const migration of migrations('mysql').slice(version)) {
    for (const sql of statements(migration)) await connection.query(sql)
    await connection.query('INSERT INTO schema_migration (version, name, applied_at) VALUES (?, ?, NOW())', [
      migration.version,
      migration.name,
    ])
    log(`MySQL, database ${database}: ${migration.name} applied`)
  }
}

export function newestMySqlVersion(): number {
  return newestVersion(migrations('mysql'))
}

async function useDatabase(connection: Connection, { database }: MySqlConfig, log: (message: string) => void) {
  const use = () => connection.query('USE ??', [database])
  try {
    await use()
  } catch (error) {
    if ((error as { errno?: number }).errno !== ERROR.unknownDatabase) throw error
    await connection.query('CREATE DATABASE IF NOT EXISTS ?? CHARACTER SET utf8mb4 COLLATE utf8mb4_bin', [database])
    log(`MySQL: database ${database} created`)
    await use()
  }
}

async function schemaVersion(connection: Connection): Promise<number | undefined> {
  try {
    const [[version]] = (await integers(connection, 'SELECT COALESCE(MAX(version), 0) FROM schema_migration')) as [
      [bigint],
    ]
    return Number(version)
  } catch (error) {
    if ((error as { errno?: number }).errno === ERROR.noSuchTable) return undefined
    throw error
  }
}

function connectionOptions({ hostname, port, username, password }: MySqlConfig) {
  return {
    host: hostname,
    port,
    user: username,
    password,
    connectTimeout: CONNECT_MS,
    // 64-bit integers as strings: exact.
    supportBigNumbers: true,
    bigNumberStrings: true,
  }
}

function away(config: MySqlConfig, error: unknown): StoreError {
  return unavailable(`MySQL at ${config.hostname}:${config.port}, database ${config.database}`, error)
}

function byColumns(a: bigint[], b: bigint[]): number {
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1
  }
  return 0
}
