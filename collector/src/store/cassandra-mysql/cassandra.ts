import type { Socket } from 'node:net'
import type { Transform } from 'node:stream'
import { type ArrayOrObject, Client, policies, types } from 'cassandra-driver'
// @ts-expect-error: internal, and without types.
import Connection from 'cassandra-driver/lib/connection'
import { databaseError, within } from '../deadline'
import { type Migration, migrations, missingMigrations, statements } from '../migrations'
import { StoreError } from '../store'
import type { CassandraConfig, Consistency } from '../store-config'
import { readTls } from './mysql'

/** Cassandra's connections and schema. cassandra-spans.ts reads and writes the tables; the schema is in sql/cassandra/. */

const CONNECT_MS = 5_000
const REQUEST_MS = 5_000
/** The deadline of a request, retries included. */
const DEADLINE_MS = 10_000
/** How much of a read Cassandra and we hold in memory: two pages of about this size. The first page is limited by rows, since their size isn't known yet. */
const PAGE_BYTES = 4 * 1024 * 1024
const FIRST_PAGE_ROWS = 32
const MAX_PAGE_ROWS = 5_000

/**
 * Cassandra's messages about a mutation, batch or request that it will never accept. The error code can't tell: it is also that of
 * a missing table, or of any internal error of the server.
 */
const TOO_LARGE = /too (large|big)|oversized/i

/** A client whose requests must be idempotent. */
export class Cassandra {
  readonly config: CassandraConfig
  private readonly client: Client

  /** @throws StoreError if no node can be reached */
  static async open(config: CassandraConfig): Promise<Cassandra> {
    return new Cassandra(await connect(config), config)
  }

  private constructor(client: Client, config: CassandraConfig) {
    this.client = client
    this.config = config
  }

  /** Returns the qualified name of a table, in CQL. */
  table(name: string): string {
    return `${quoted(this.config.keyspace)}.${name}`
  }

  execute(query: string, params: ArrayOrObject = []) {
    return this.attempt(this.client.execute(query, params))
  }

  /** Yields all rows of a SELECT, page by page. The next page is on its way meanwhile. @param bytes estimates the size of a row */
  async *pages(
    query: string,
    params: unknown[],
    bytes: (row: types.Row) => number,
    firstPageRows = FIRST_PAGE_ROWS,
  ): AsyncGenerator<types.Row[]> {
    const read = (fetchSize: number, pageState?: string) =>
      this.attempt(this.client.execute(query, params, { fetchSize, pageState }))
    let fetchSize = firstPageRows
    let next: ReturnType<typeof read> | undefined = read(fetchSize)
    while (next !== undefined) {
      const { rows, pageState }: types.ResultSet = await next
      if (rows.length > 0) {
        const average = rows.reduce((sum, row) => sum + bytes(row), 0) / rows.length
        fetchSize = Math.max(1, Math.min(Math.floor(PAGE_BYTES / (average + 1)), MAX_PAGE_ROWS))
      }
      next = pageState ? read(fetchSize, pageState) : undefined
      // Whoever reads on gets its error.
      next?.catch(() => {})
      if (rows.length > 0) yield rows
    }
  }

  /** Runs all queries. After a rejection, any of them may have run. */
  batch(queries: { query: string; params: unknown[] }[]) {
    return this.attempt(this.client.batch(queries, { prepare: true, logged: false, isIdempotent: true }))
  }

  /** Returns what migrateCassandra would apply; undefined if there is no schema at all. */
  missingMigrations(): Promise<Migration[] | undefined> {
    return this.attempt(missingFrom(this.client, this.config.keyspace))
  }

  /** Returns a warning for the operator; undefined if there is none, or the server doesn't tell. */
  async warning(): Promise<string | undefined> {
    try {
      const { rows } = await this.execute("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'")
      const value: string | undefined = rows[0]?.value
      if (value === undefined || value === 'batch') return undefined
      return `Cassandra's commitlog_sync is ${value}: writes that it acknowledged within the last seconds are lost if it is killed; set commitlog_sync: batch in cassandra.yaml`
    } catch {
      // Cassandra 3 has no such table, and the user may lack the right to read it.
      return undefined
    }
  }

  close(): Promise<void> {
    return this.client.shutdown()
  }

  private async attempt<R>(promise: Promise<R>): Promise<R> {
    try {
      return await within(DEADLINE_MS, promise)
    } catch (error) {
      throw cassandraError(this.config, error)
    }
  }
}

/** Creates or migrates the keyspace and tables. Must run under MySQL's lock: concurrent runs might create a table twice. */
export async function migrateCassandra(config: CassandraConfig, log: (message: string) => void): Promise<void> {
  const client = await connect(config)
  try {
    await createKeyspace(client, config, log)
  } catch (error) {
    throw cassandraError(config, error)
  } finally {
    await client.shutdown()
  }
  const inKeyspace = await connect(config, config.keyspace)
  const run = (cql: string, parameters: unknown[] = []) => inKeyspace.execute(cql, parameters)
  try {
    const missing = (await missingFrom(inKeyspace, config.keyspace)) ?? migrations('cassandra')
    await run('CREATE TABLE IF NOT EXISTS schema_migration (version int PRIMARY KEY, name text, applied_at timestamp)')
    for (const migration of missing) {
      // Preparing a statement that runs once is useless, and not every server can prepare DDL.
      for (const cql of statements(migration)) await inKeyspace.execute(cql, [], { prepare: false })
      await run('INSERT INTO schema_migration (version, name, applied_at) VALUES (?, ?, ?)', [
        migration.version,
        migration.name,
        new Date(),
      ])
      log(`Cassandra, keyspace ${config.keyspace}: ${migration.name} applied`)
    }
  } catch (error) {
    throw cassandraError(config, error)
  } finally {
    await inKeyspace.shutdown()
  }
}

/** Returns what migrateCassandra would apply, without changing anything; undefined if there is no schema at all. */
export async function missingFromCassandra(config: CassandraConfig): Promise<Migration[] | undefined> {
  const cassandra = await Cassandra.open(config)
  try {
    return await cassandra.missingMigrations()
  } finally {
    await cassandra.close()
  }
}

async function createKeyspace(client: Client, { keyspace, local_dc }: CassandraConfig, log: (message: string) => void) {
  const found = await client.execute('SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?', [
    keyspace,
  ])
  if (found.rows.length > 0) return
  const nodes = client.hosts.values().filter(host => host.datacenter === local_dc).length
  const copies = Math.min(3, nodes)
  const replication = `{'class': 'NetworkTopologyStrategy', '${local_dc.replaceAll("'", "''")}': ${copies}}`
  const cql = `CREATE KEYSPACE IF NOT EXISTS ${quoted(keyspace)} WITH replication = ${replication}`
  await client.execute(cql, [], { prepare: false })
  log(`Cassandra: keyspace ${keyspace} created with ${copies} ${copies === 1 ? 'copy' : 'copies'} in ${local_dc}`)
}

async function missingFrom(client: Client, keyspace: string): Promise<Migration[] | undefined> {
  const table = await client.execute(
    "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'schema_migration'",
    [keyspace],
  )
  if (table.rows.length === 0) return undefined
  const { rows } = await client.execute(`SELECT version, name FROM ${quoted(keyspace)}.schema_migration`)
  const applied = new Map<number, string>(rows.map(({ version, name }) => [version, name]))
  return missingMigrations(migrations('cassandra'), `Cassandra's keyspace ${keyspace}`, 'cassandra.keyspace', applied)
}

/**
 * Driver 4.10 handles errors of its socket, but not errors of the streams behind it, so that bytes that aren't CQL would crash the
 * process.
 */
const { bindSocketListeners } = Connection.prototype
Connection.prototype.bindSocketListeners = function (this: DriverConnection) {
  bindSocketListeners.call(this)
  for (const stream of [this.protocol, this.parser]) {
    stream.on('error', error => this.netClient.destroy(error))
  }
}

interface DriverConnection {
  bindSocketListeners(): void
  netClient: Socket
  protocol: Transform
  parser: Transform
}

async function connect(config: CassandraConfig, keyspace?: string): Promise<Client> {
  const { username, password = '', tls, consistency = 'LOCAL_QUORUM' } = config
  const client = new Client({
    contactPoints: hosts(config).map(host => `${host.includes(':') ? `[${host}]` : host}:${config.port}`),
    localDataCenter: config.local_dc,
    ...(keyspace === undefined ? {} : { keyspace }),
    ...(username === undefined ? {} : { credentials: { username, password } }),
    // By default the driver accepts any certificate.
    ...(tls === undefined ? {} : { sslOptions: { ...readTls(tls), rejectUnauthorized: true } }),
    encoding: { useBigIntAsLong: true },
    queryOptions: {
      prepare: true,
      consistency: consistencyOf(consistency),
      // All requests are idempotent, so the driver may try another node.
      isIdempotent: true,
    },
    socketOptions: { connectTimeout: CONNECT_MS, readTimeout: REQUEST_MS },
    policies: {
      // The driver's default waits up to ten minutes.
      reconnection: new policies.reconnection.ExponentialReconnectionPolicy(250, 4_000, false),
      // null means that Cassandra's clock decides which of two writes is the later one, not the collectors' clocks.
      timestampGeneration: null as never,
    },
  })
  // When a node returns, driver 4.10 may replace its Host object and leave the old one trying to connect forever.
  client.on('hostRemove', (host: unknown) => {
    ;(host as { shutdown(waitForPending: boolean): Promise<void> }).shutdown(false).catch(() => {})
  })
  try {
    await within(2 * CONNECT_MS, client.connect())
    return client
  } catch (error) {
    void client.shutdown().catch(() => {})
    throw cassandraError(config, error)
  }
}

/** The driver uses CQL's names in camel case. */
function consistencyOf(name: Consistency): types.consistencies {
  const camel = name.toLowerCase().replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
  return types.consistencies[camel as keyof typeof types.consistencies]
}

function hosts({ hostname }: CassandraConfig): string[] {
  const list = typeof hostname === 'string' ? hostname.split(',') : hostname
  return list.map(host => host.trim())
}

function cassandraError(config: CassandraConfig, error: unknown): StoreError {
  const where = `Cassandra at ${hosts(config).join(', ')}, port ${config.port}`
  // The error of the first node that was tried: the driver's own message contains it with a stack trace.
  const [reason = error] = Object.values((error as { innerErrors?: { [node: string]: Error } }).innerErrors ?? {})
  const { name, message } = reason as Error
  if (name === 'ResponseError' && TOO_LARGE.test(message)) {
    return new StoreError('MILO_STORE_REFUSED', `${where}: ${message}`)
  }
  return databaseError(where, reason, name === 'AuthenticationError' || name === 'ArgumentError')
}

function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`
}
