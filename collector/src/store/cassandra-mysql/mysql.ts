import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Connection,
  type ConnectionOptions,
  createConnection,
  createPool,
  format,
  type Pool,
  type PoolConnection,
} from 'mysql2/promise'
import { databaseError, within } from '../deadline'
import { type Migration, migrations, missingMigrations, statements } from '../migrations'
import { StoreError } from '../store'
import type { MySqlConfig } from '../store-config'

/** Connections, transactions and schema of MySQL or MariaDB. mysql-index.ts writes the tables; the schema is in sql/mysql/. */

const MAX_WRITE_CONNECTIONS = 6
/** Reads have their own connections, so that long searches don't block writes. */
const MAX_READ_CONNECTIONS = 6
const CONNECT_MS = 5_000
/** The deadline of one transaction or query. */
const DEADLINE_MS = 10_000
/** How long one statement of a search may take; the server enforces it. */
const SEARCH_SECONDS = 5
/** How often a transaction is tried if it conflicts with others. */
const MAX_ATTEMPTS = 8
/** How long migrate waits for another migrate. */
const LOCK_SECONDS = 60
/** Error numbers; those that MySQL and MariaDB share are the same in both. */
const ERROR = {
  databaseAccessDenied: 1044,
  accessDenied: 1045,
  unknownDatabase: 1049,
  tableExists: 1050,
  tableAccessDenied: 1142,
  noSuchTable: 1146,
  lockWaitTimeout: 1205,
  deadlock: 1213,
  packetTooLarge: 1153,
  wrongValueForField: 1366,
  noPartition: 1526,
  accessDeniedNoPassword: 1698,
  statementTimeoutOfMariaDb: 1969,
  statementTimeoutOfMySql: 3024,
} as const
const DENIED: number[] = [
  ERROR.databaseAccessDenied,
  ERROR.accessDenied,
  ERROR.tableAccessDenied,
  ERROR.accessDeniedNoPassword,
]

/** Errors caused by the data, which will recur. */
const LASTING: number[] = [ERROR.packetTooLarge, ERROR.wrongValueForField, ERROR.noPartition]
/** The same for data exceptions and violated constraints, by SQL's state classes. */
const LASTING_STATES = /^2[123]/

// This sql_mode makes the server read backslashes as escapes, whatever its own mode is. READ COMMITTED takes fewer gap locks and
// so has fewer deadlocks. A transaction that waited for locks longer than we wait for it would be in vain.
const ON_CONNECT = [
  "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 3",
  'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
]
/** MariaDB and MySQL each ignore the other's comment. MySQL's time is in milliseconds. */
const ON_CONNECT_TO_READ = [
  ...ON_CONNECT,
  `SET SESSION innodb_lock_wait_timeout = 3 /*M! , max_statement_time = ${SEARCH_SECONDS}, in_predicate_conversion_threshold = 0 */ /*!80000 , max_execution_time = ${SEARCH_SECONDS}000 */`,
]

/** The size of one INSERT: larger ones aren't faster. If the server's max_allowed_packet is small, half of that is used. */
const MAX_STATEMENT_BYTES = 300 * 1024

export type Row = (string | number | null)[]

export class MySql {
  readonly config: MySqlConfig
  /** The size of an INSERT, unless a single row is larger. */
  statementBytes = MAX_STATEMENT_BYTES
  /** The largest statement that the server takes. */
  packetBytes = MAX_STATEMENT_BYTES
  private readonly writers: Pool
  private readonly readers: Pool
  /** Connections whose session variables are set. */
  private readonly ready = new WeakSet<object>()

  constructor(config: MySqlConfig) {
    this.config = config
    const pool = (connectionLimit: number) =>
      createPool({ ...connectionOptions(config), database: config.database, connectionLimit })
    this.writers = pool(MAX_WRITE_CONNECTIONS)
    this.readers = pool(MAX_READ_CONNECTIONS)
  }

  /** Runs `work` in a transaction, and again after a conflict: so `work` must change nothing but the database. */
  async transact<R>(work: (connection: Connection) => Promise<R>): Promise<R> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.withConnection(this.writers, async connection => {
          await connection.beginTransaction()
          const result = await work(connection)
          await connection.commit()
          return result
        })
      } catch (error) {
        const { errno } = error as { errno?: number }
        const inTheWay = errno === ERROR.deadlock || errno === ERROR.lockWaitTimeout
        if (!inTheWay || attempt === MAX_ATTEMPTS) throw mysqlError(this.config, error)
        await sleep(Math.random() * 10 * attempt)
      }
    }
  }

  /** Runs a statement that changes rows. @returns the number of affected rows */
  async write(sql: string, parameters: unknown[] = []): Promise<number> {
    try {
      return await this.withConnection(this.writers, async connection => {
        const [{ affectedRows }] = await connection.query<any>(sql, parameters)
        return affectedRows
      })
    } catch (error) {
      throw mysqlError(this.config, error)
    }
  }

  /** Returns the rows of a SELECT, with 64-bit integers as strings. */
  async read(sql: string, parameters: unknown[] = []): Promise<Row[]> {
    try {
      return await this.withConnection(this.readers, connection => rowsOf(connection, sql, parameters))
    } catch (error) {
      throw mysqlError(this.config, error)
    }
  }

  /** Reads everything as it is at one moment. */
  async snapshot<R>(work: (connection: Connection) => Promise<R>): Promise<R> {
    try {
      return await this.withConnection(this.readers, async connection => {
        await connection.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
        await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT')
        const result = await work(connection)
        await connection.commit()
        return result
      })
    } catch (error) {
      throw mysqlError(this.config, error)
    }
  }

  /** Returns the server's estimate of how many rows a SELECT examines. */
  async estimate(sql: string): Promise<number> {
    try {
      return await this.withConnection(this.readers, async connection => {
        const [plan] = await connection.query<any[]>(`EXPLAIN ${sql}`)
        return plan.reduce((sum, { rows }) => sum + Number(rows ?? 0), 0)
      })
    } catch (error) {
      throw mysqlError(this.config, error)
    }
  }

  close(): Promise<unknown> {
    return Promise.all([this.writers.end(), this.readers.end()])
  }

  /** Sets up a connection. Its first user calls this, so that it gets the error; in an event of the pool the error would be lost. */
  private async setUp(connection: PoolConnection, pool: Pool): Promise<void> {
    if (this.ready.has(connection.connection)) return
    for (const sql of pool === this.readers ? ON_CONNECT_TO_READ : ON_CONNECT) await connection.query(sql)
    const [row] = await rowsOf(connection, 'SELECT @@max_allowed_packet')
    this.packetBytes = Number(row![0])
    this.statementBytes = Math.min(MAX_STATEMENT_BYTES, this.packetBytes / 2)
    this.ready.add(connection.connection)
  }

  private async withConnection<R>(pool: Pool, work: (connection: PoolConnection) => Promise<R>): Promise<R> {
    const opening = pool.getConnection()
    const connection = await within(CONNECT_MS, opening).catch(error => {
      // A connection that opens late must go back to the pool.
      opening.then(late => late.release()).catch(() => {})
      throw error
    })
    try {
      const result = await within(
        DEADLINE_MS,
        this.setUp(connection, pool).then(() => work(connection)),
      )
      connection.release()
      return result
    } catch (error) {
      // The server rolls back the open transaction.
      connection.destroy()
      throw error
    }
  }
}

export async function rowsOf(connection: Connection, sql: string, parameters: unknown[] = []): Promise<Row[]> {
  const [rows] = await connection.query<any[]>({ sql, rowsAsArray: true }, parameters)
  return rows as Row[]
}

/** Returns the name of a lock. Locks are global to the server, so the name depends on the database. */
export function lockName({ database }: MySqlConfig, what: string): string {
  return `milo ${hash('sha256', `${database} ${what}`).slice(0, 32)}`
}

/** Opens a connection outside the pools, for a lock that is held for long. */
export async function connectMySql(config: MySqlConfig, withDatabase = true): Promise<Connection> {
  const options = { ...connectionOptions(config), ...(withDatabase ? { database: config.database } : {}) }
  const opening = createConnection(options)
  try {
    const connection = await within(CONNECT_MS, opening)
    // Queries report their own errors. An error between queries must not crash the process.
    connection.on('error', () => {})
    for (const sql of ON_CONNECT) await within(CONNECT_MS, connection.query(sql))
    return connection
  } catch (error) {
    opening.then(late => late.destroy()).catch(() => {})
    throw mysqlError(config, error)
  }
}

/**
 * Creates the database if needed, and runs `work` under a lock, so that only one collector migrates at a time. Cassandra has no
 * such lock.
 */
export async function underMigrationLock(
  config: MySqlConfig,
  log: (message: string) => void,
  work: (connection: Connection) => Promise<void>,
): Promise<void> {
  let connection: Connection | undefined
  try {
    connection = await connectMySql(config, false)
    await useDatabase(connection, config, log)
    const lock = lockName(config, 'migrate')
    const [row] = await rowsOf(connection, 'SELECT GET_LOCK(?, ?)', [lock, LOCK_SECONDS])
    if (row![0] !== 1) {
      throw new Error(`another milo-collector has been migrating for ${LOCK_SECONDS} s: wait for it, or stop it`)
    }
    await work(connection)
  } catch (error) {
    throw mysqlError(config, error)
  } finally {
    // This releases the lock too.
    connection?.destroy()
  }
}

/** Creates or migrates the tables. @param connection holds the migration lock */
export async function migrateMySql(connection: Connection, config: MySqlConfig, log: (message: string) => void) {
  const missing = (await missingFrom(connection, config)) ?? migrations('mysql')
  await connection.query(
    `CREATE TABLE IF NOT EXISTS schema_migration (
       version INT NOT NULL, name VARCHAR(200) NOT NULL, applied_at TIMESTAMP NOT NULL, PRIMARY KEY (version)
     ) ENGINE = InnoDB`,
  )
  for (const migration of missing) {
    for (const sql of statements(migration)) await apply(connection, sql, log)
    await connection.query('INSERT INTO schema_migration (version, name, applied_at) VALUES (?, ?, NOW())', [
      migration.version,
      migration.name,
    ])
    log(`MySQL, database ${config.database}: ${migration.name} applied`)
  }
}

async function apply(connection: Connection, sql: string, log: (message: string) => void): Promise<void> {
  const view = /^CREATE VIEW (\w+)/.exec(sql)?.[1]
  try {
    await connection.query(sql)
  } catch (error) {
    // It is the original's view, or ours after an interrupted migration. Not every server has CREATE VIEW IF NOT EXISTS.
    if (view === undefined || (error as { errno?: number }).errno !== ERROR.tableExists) throw error
    log(`MySQL: ${view} exists already and is left unchanged`)
  }
}

/** Returns what migrateMySql would apply, without changing anything; undefined if there is no schema at all. */
export async function missingFromMySql(config: MySqlConfig): Promise<Migration[] | undefined> {
  let connection: Connection | undefined
  try {
    connection = await connectMySql(config, false)
    await connection.query('USE ??', [config.database])
    return await within(DEADLINE_MS, missingFrom(connection, config))
  } catch (error) {
    if ((error as { errno?: number }).errno === ERROR.unknownDatabase) return undefined
    throw mysqlError(config, error)
  } finally {
    connection?.destroy()
  }
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

async function missingFrom(connection: Connection, { database }: MySqlConfig): Promise<Migration[] | undefined> {
  try {
    const rows = await rowsOf(connection, 'SELECT version, name FROM schema_migration')
    const applied = new Map(rows.map(([version, name]) => [Number(version), String(name)]))
    return missingMigrations(migrations('mysql'), `MySQL's database ${database}`, 'mysql.database', applied)
  } catch (error) {
    if ((error as { errno?: number }).errno === ERROR.noSuchTable) return undefined
    throw error
  }
}

function connectionOptions({ hostname, port, username, password, tls }: MySqlConfig): ConnectionOptions {
  return {
    host: hostname,
    port,
    user: username,
    password,
    charset: 'utf8mb4_bin',
    connectTimeout: CONNECT_MS,
    // 64-bit integers as strings are exact.
    supportBigNumbers: true,
    bigNumberStrings: true,
    // Stacks would be captured for each statement; databaseError() tells what failed without them.
    trace: false,
    // mysql2 would look for placeholders in every statement: in a large INSERT that takes longer than to write it.
    queryFormat: (sql: string, parameters: unknown[]) =>
      parameters.length === 0 ? sql : format(sql, parameters as string[]),
    ...(tls === undefined ? {} : { ssl: { ...readTls(tls), rejectUnauthorized: true } }),
  }
}

/** Reads the TLS files. @throws an error that names the file that can't be read */
export function readTls({ ca, cert, key }: NonNullable<MySqlConfig['tls']>): {
  ca?: Buffer
  cert?: Buffer
  key?: Buffer
} {
  const files = Object.entries({ ca, cert, key }).filter(([, file]) => file !== undefined)
  return Object.fromEntries(files.map(([what, file]) => [what, readFileSync(file!)]))
}

export function mysqlError(config: MySqlConfig, error: unknown): StoreError {
  const { errno, code, sqlState } = error as { errno?: number; code?: string; sqlState?: string }
  const where = `MySQL at ${config.hostname}:${config.port}, database ${config.database}`
  if (errno !== undefined && (LASTING.includes(errno) || LASTING_STATES.test(sqlState ?? ''))) {
    return new StoreError('MILO_STORE_REFUSED', `${where}: ${(error as Error).message}`)
  }
  if (errno === ERROR.statementTimeoutOfMariaDb || errno === ERROR.statementTimeoutOfMySql) {
    const remedy = 'add a name, a service or an exact value, or search a shorter time range'
    return new StoreError('MILO_SEARCH_TOO_LONG', `the search took MySQL more than ${SEARCH_SECONDS} s: ${remedy}`)
  }
  const refused = (errno !== undefined && DENIED.includes(errno)) || code === 'HANDSHAKE_NO_SSL_SUPPORT'
  return databaseError(where, error, refused)
}

/** Whether the database user lacks the right to do this. */
export function isDenied(error: unknown): boolean {
  return DENIED.includes((error as { errno?: number }).errno ?? 0)
}
