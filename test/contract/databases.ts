import assert from 'node:assert/strict'
import { Client } from 'cassandra-driver'
import { createConnection } from 'mysql2/promise'
import type { Store } from '../../collector/src/store/store'
import type { StoreConfig } from '../../collector/src/store/store-config'
import { type CassandraServer, type MariaDbServer, type SharedServer, startCassandra, startMariaDb } from '../servers'
import { randomId, soon, unique } from './store-contract'

export type SharedCassandra = SharedServer<CassandraServer>
export type SharedMariaDb = SharedServer<MariaDbServer>

/** Servers, and a keyspace and a database in them that nobody has used. */
export class Databases<C extends SharedCassandra = SharedCassandra, M extends SharedMariaDb = SharedMariaDb> {
  readonly cassandra: C
  readonly mariaDb: M
  readonly config: StoreConfig

  constructor(cassandra: C, mariaDb: M) {
    const name = unique('milo').replace('-', '_')
    this.cassandra = cassandra
    this.mariaDb = mariaDb
    this.config = {
      store: 'cassandra-mysql',
      embedded: { path: '' },
      cassandra: {
        hostname: cassandra.host,
        port: cassandra.port,
        local_dc: cassandra.localDataCenter,
        keyspace: name,
        ...cassandra.credentials,
      },
      mysql: {
        hostname: mariaDb.host,
        port: mariaDb.port,
        database: name,
        username: mariaDb.username,
        password: mariaDb.password,
      },
    }
  }

  /** The configuration of one of several collectors. */
  collector(id: string, more: Partial<StoreConfig> = {}): StoreConfig {
    return { ...this.config, ...more, collector_id: id }
  }

  /** The rows of a statement in the database of ours. */
  async own(query: string, parameters: unknown[] = []): Promise<any> {
    return this.sql(query, parameters, this.config.mysql.database)
  }

  async cql(query: string, parameters: unknown[] = []) {
    const { cassandra } = this
    const client = new Client({
      contactPoints: [`${cassandra.host}:${cassandra.port}`],
      localDataCenter: cassandra.localDataCenter,
      ...(cassandra.credentials && { credentials: cassandra.credentials }),
      encoding: { useBigIntAsLong: true },
    })
    try {
      return (await client.execute(query, parameters, { prepare: parameters.length > 0 })).rows
    } finally {
      await client.shutdown()
    }
  }

  async sql(query: string, parameters: unknown[] = [], database?: string): Promise<any> {
    const { host, port, username, password } = this.mariaDb
    const connection = await createConnection({ host, port, user: username, password, ...(database && { database }) })
    try {
      return (await connection.query(query, parameters))[0]
    } finally {
      await connection.end()
    }
  }

  /** What servers of ours hold goes with them, and to drop it by itself takes a second. */
  async drop(): Promise<void> {
    const { cassandra, mariaDb } = this
    await Promise.all([
      cassandra.external && this.cql(`DROP KEYSPACE IF EXISTS ${this.config.cassandra.keyspace}`),
      mariaDb.external && this.sql('DROP DATABASE IF EXISTS ??', [this.config.mysql.database]),
    ])
  }
}

export async function newDatabases(): Promise<Databases> {
  return new Databases(...(await Promise.all([startCassandra(), startMariaDb()])))
}

/** Waits until everything is where later reads find it, and not for the second after which it would go there by itself. */
export async function settled(store: Store): Promise<void> {
  const { pipeline } = store as any
  await soon(async () => {
    if (pipeline.timer !== undefined) {
      clearTimeout(pipeline.timer)
      pipeline.settleInBackground()
    }
    assert.equal(store.backlog().spans, 0)
  })
}

/** Settles much sooner than after half a second, for tests that look for what they have just written. */
export function hastened(store: Store): Store {
  ;(store as any).backend.settleMs = 20
  return store
}

/** Spans that have nothing but ids. */
export function bareTrace(length: number) {
  const traceId = randomId()
  return Array.from({ length }, (_, i) => ({ traceId, id: BigInt(i) }))
}
