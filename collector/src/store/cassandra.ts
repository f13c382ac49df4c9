import { Client, concurrent, policies, types } from 'cassandra-driver'
import { within } from './deadline'
import { hash64 } from './hash64'
import { migrations, newestVersion, statements } from './migrations'
import type { CassandraConfig } from './open'
import { TraceRecords } from './records'
import { type Message, type StoredRecord, type StoreError, unavailable } from './store'

/**
 * The raw spans: records of one trace that arrive together are one row, since Cassandra's cost is by the row and not by
 * the byte. Schema: sql/cassandra/.
 */

/** A row's size at most, unless a single record is larger. */
const ROW_BYTES = 256 * 1024
/** Rows on their way at once, for each write. */
const WRITE_CONCURRENCY = 64
/** A partition's length at most, roughly: beyond, the trace goes on in the next bucket. */
const BUCKET_RECORDS = 100_000
/** Of how many traces we remember how long they have become. */
const COUNTED_TRACES = 100_000
/** Rows of one page of a read: at most 64 MB. */
const PAGE_ROWS = 250
const CONNECT_MS = 5_000
const REQUEST_MS = 5_000
/** For a write or a read as a whole, retries included. */
const DEADLINE_MS = 10_000

export class CassandraSpans {
  private readonly client: Client
  private readonly config: CassandraConfig
  private readonly spans: string
  private readonly health: string
  private readonly lengths = new Map<bigint, number>()

  /** @throws StoreError when no node can be reached */
  static async open(config: CassandraConfig): Promise<CassandraSpans> {
    return new CassandraSpans(await connect(config), config)
  }

  private constructor(client: Client, config: CassandraConfig) {
    const keyspace = quoted(config.keyspace)
    this.client = client
    this.config = config
    this.spans = `${keyspace}.spans`
    this.health = `${keyspace}.health`
  }

  /** Resolves when all of it is durable, as far as the cluster's own settings make it so. */
  async write(messages: Message[]): Promise<void> {
    const insert = `INSERT INTO ${this.spans} (trace_id, bucket, uid, records) VALUES (?, ?, ?, ?)`
    const traces = byTrace(messages)
    const rows = [...traces].flatMap(([traceId, records]) => {
      const bucket = Math.floor((this.lengths.get(traceId) ?? 0) / BUCKET_RECORDS)
      return fatRows(records).map(row => [traceId, bucket, hash64(row), row])
    })
    await this.attempt(
      concurrent.executeConcurrent(this.client, insert, rows, {
        concurrencyLevel: WRITE_CONCURRENCY,
        raiseOnFirstError: true,
      }),
    )
    // Not before: where a bucket has been left empty, readers would stop.
    for (const [traceId, records] of traces) this.count(traceId, records.length)
  }

  async read(traceId: bigint): Promise<StoredRecord[]> {
    const select = `SELECT records FROM ${this.spans} WHERE trace_id = ? AND bucket = ?`
    const trace = new TraceRecords()
    for (let bucket = 0; ; bucket++) {
      let empty = true
      let pageState: string | undefined
      do {
        const page = await this.attempt(this.client.execute(select, [traceId, bucket], { pageState }))
        for (const { records } of page.rows) trace.add(records, 0, records.length)
        empty &&= page.rows.length === 0
        pageState = page.pageState
      } while (pageState)
      if (empty) return trace.records
    }
  }

  async check(): Promise<void> {
    const nowUs = BigInt(Date.now()) * 1000n
    await this.attempt(this.client.execute(`INSERT INTO ${this.health} (id, checked_us) VALUES (0, ?)`, [nowUs]))
    await this.attempt(this.client.execute(`SELECT uid FROM ${this.spans} WHERE trace_id = 0 AND bucket = 0 LIMIT 1`))
  }

  close(): Promise<void> {
    return this.client.shutdown()
  }

  /** The number of the last migration that was applied; undefined when there is nothing yet. */
  schemaVersion(): Promise<number | undefined> {
    return this.attempt(schemaVersion(this.client, this.config.keyspace))
  }

  /**
   * Of what this process has written. Another collector, or this one after a restart, begins at bucket 0 again: then a
   * partition becomes as many times longer.
   */
  private count(traceId: bigint, records: number): void {
    const length = this.lengths.get(traceId) ?? 0
    this.lengths.delete(traceId)
    this.lengths.set(traceId, length + records)
    if (this.lengths.size > COUNTED_TRACES) {
      const [oldest] = this.lengths.keys()
      this.lengths.delete(oldest!)
    }
  }

  private async attempt<R>(promise: Promise<R>): Promise<R> {
    try {
      return await within(DEADLINE_MS, promise)
    } catch (error) {
      throw away(this.config, error)
    }
  }
}

/** Makes keyspace and tables, or brings them up to date. Only under MySQL's lock: two at once may make a table twice. */
export async function migrateCassandra(config: CassandraConfig, log: (message: string) => void): Promise<void> {
  const client = await connect(config)
  try {
    await createKeyspace(client, config, log)
  } catch (error) {
    throw away(config, error)
  } finally {
    await client.shutdown()
  }
  const inKeyspace = await connect(config, config.keyspace)
  const run = (cql: string, parameters: unknown[] = []) => inKeyspace.execute(cql, parameters)
  try {
    const version = (await schemaVersion(inKeyspace, config.keyspace)) ?? 0
    await run('CREATE TABLE IF NOT EXISTS schema_migration (version int PRIMARY KEY, name text, applied_at timestamp)')
    for (const migration of migrations('cassandra').slice(version)) {
      // Preparing what runs once is no use, and DDL can't be prepared everywhere.
      for (const cql of statements(migration)) await inKeyspace.execute(cql, [], { prepare: false })
      await run('INSERT INTO schema_migration (version, name, applied_at) VALUES (?, ?, ?)', [
        migration.version,
        migration.name,
        new Date(),
      ])
      log(`Cassandra, keyspace ${config.keyspace}: ${migration.name} applied`)
    }
  } catch (error) {
    throw away(config, error)
  } finally {
    await inKeyspace.shutdown()
  }
}

export function newestCassandraVersion(): number {
  return newestVersion(migrations('cassandra'))
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

async function schemaVersion(client: Client, keyspace: string): Promise<number | undefined> {
  const table = await client.execute(
    "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'schema_migration'",
    [keyspace],
  )
  if (table.rows.length === 0) return undefined
  const { rows } = await client.execute(`SELECT max(version) AS version FROM ${quoted(keyspace)}.schema_migration`)
  return rows[0]!.version ?? 0
}

async function connect(config: CassandraConfig, keyspace?: string): Promise<Client> {
  const { username, password = '' } = config
  const client = new Client({
    contactPoints: hosts(config).map(host => `${host.includes(':') ? `[${host}]` : host}:${config.port}`),
    localDataCenter: config.local_dc,
    ...(keyspace === undefined ? {} : { keyspace }),
    ...(username === undefined ? {} : { credentials: { username, password } }),
    encoding: { useBigIntAsLong: true },
    queryOptions: {
      prepare: true,
      consistency: types.consistencies.localQuorum,
      // Nothing here does harm when done twice, so that the driver may try another node.
      isIdempotent: true,
      fetchSize: PAGE_ROWS,
    },
    socketOptions: { connectTimeout: CONNECT_MS, readTimeout: REQUEST_MS },
    // The driver's own goes up to ten minutes.
    policies: { reconnection: new policies.reconnection.ExponentialReconnectionPolicy(250, 4_000, false) },
  })
  // When a node comes back, driver 4.10 may replace its Host, and leaves the old one trying to connect for ever.
  client.on('hostRemove', (host: unknown) => {
    void (host as { shutdown(waitForPending: boolean): Promise<void> }).shutdown(false)
  })
  try {
    await within(2 * CONNECT_MS, client.connect())
    return client
  } catch (error) {
    void client.shutdown().catch(() => {})
    throw away(config, error)
  }
}

function hosts({ hostname }: CassandraConfig): string[] {
  const list = typeof hostname === 'string' ? hostname.split(',') : hostname
  return list.map(host => host.trim())
}

function away(config: CassandraConfig, error: unknown): StoreError {
  const where = `Cassandra at ${hosts(config).join(', ')}, port ${config.port}`
  // Of the nodes that were tried, the first one's reason; the driver's own message is that with a stack trace in it.
  const [reason] = Object.values((error as { innerErrors?: { [node: string]: Error } }).innerErrors ?? {})
  return unavailable(where, reason ?? error)
}

function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`
}

/** Each trace's records, header included. */
function byTrace(messages: Message[]): Map<bigint, Buffer[]> {
  const traces = new Map<bigint, Buffer[]>()
  for (const { body, records } of messages) {
    for (const { record, start, end } of records) {
      const bytes = body.subarray(start, end)
      const known = traces.get(record.traceId)
      if (known === undefined) traces.set(record.traceId, [bytes])
      else known.push(bytes)
    }
  }
  return traces
}

function fatRows(records: Buffer[]): Buffer[] {
  const rows: Buffer[] = []
  let row: Buffer[] = []
  let bytes = 0
  for (const record of records) {
    if (bytes > 0 && bytes + record.length > ROW_BYTES) {
      rows.push(Buffer.concat(row))
      row = []
      bytes = 0
    }
    row.push(record)
    bytes += record.length
  }
  rows.push(Buffer.concat(row))
  return rows
}
