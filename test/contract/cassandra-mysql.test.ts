import assert from 'node:assert/strict'
import { Client } from 'cassandra-driver'
import { createConnection } from 'mysql2/promise'
import { migrate, openStore, type StoreConfig } from '../../collector/src/store/open'
import type { Store } from '../../collector/src/store/store'
import {
  type CassandraServer,
  type MariaDbServer,
  startCassandra,
  startMariaDb,
  startOwnCassandra,
  startOwnMariaDb,
} from '../servers'
import { append, found, randomId, soon, span, storeContract, structs, unique } from './store-contract'

/** Servers, and a keyspace and a database in them that nobody has used. */
class Databases {
  readonly cassandra: CassandraServer
  readonly mariaDb: MariaDbServer
  readonly config: StoreConfig

  constructor(cassandra: CassandraServer, mariaDb: MariaDbServer) {
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

  async cql(query: string, parameters: unknown[] = []) {
    const { cassandra } = this
    const client = new Client({
      contactPoints: [`${cassandra.host}:${cassandra.port}`],
      localDataCenter: cassandra.localDataCenter,
      encoding: { useBigIntAsLong: true },
    })
    try {
      return (await client.execute(query, parameters, { prepare: parameters.length > 0 })).rows
    } finally {
      await client.shutdown()
    }
  }

  async sql(query: string, parameters: unknown[] = []): Promise<any> {
    const { host, port, username, password } = this.mariaDb
    const connection = await createConnection({ host, port, user: username, password })
    try {
      return (await connection.query(query, parameters))[0]
    } finally {
      await connection.end()
    }
  }

  async drop(): Promise<void> {
    await Promise.all([
      this.cql(`DROP KEYSPACE IF EXISTS ${this.config.cassandra.keyspace}`),
      this.sql('DROP DATABASE IF EXISTS ??', [this.config.mysql.database]),
    ])
  }
}

async function newDatabases(): Promise<Databases> {
  return new Databases(...(await Promise.all([startCassandra(), startMariaDb()])))
}

/** Spans that have nothing but ids. */
function bareTrace(length: number) {
  const traceId = randomId()
  return Array.from({ length }, (_, i) => ({ traceId, id: BigInt(i) }))
}

storeContract('cassandra-mysql', async () => {
  const databases = await newDatabases()
  return { open: index => openStore({ ...databases.config, index }), remove: () => databases.drop() }
})

describe('cassandra-mysql store, schema', function () {
  this.timeout(60_000)
  let databases: Databases

  before(async function () {
    this.timeout(300_000)
    await Promise.all([startCassandra(), startMariaDb()])
  })
  beforeEach(async () => {
    databases = await newDatabases()
  })
  afterEach(() => databases.drop())

  async function works(): Promise<void> {
    const store = await openStore(databases.config)
    try {
      const record = span({ name: unique('works') })
      await append(store, record)
      assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
      assert.deepEqual(await found(store, { name: record.name }), [record.traceId])
      await store.check()
    } finally {
      await store.close()
    }
  }

  it('is made by migrate, database and keyspace included, and left alone the second time', async () => {
    const lines: string[] = []
    await migrate(databases.config, line => lines.push(line))
    assert.equal(lines.filter(line => line.includes('0001-')).length, 2, lines.join('\n'))
    await works()
    const again: string[] = []
    await migrate(databases.config, line => again.push(line))
    assert.deepEqual(again, [])
  })

  it('is made once by several collectors that migrate or start at the same time', async () => {
    const lines: string[] = []
    const starting = Array.from({ length: 6 }, async (_, i) => {
      if (i % 2 === 0) await migrate(databases.config, line => lines.push(line))
      else await (await openStore(databases.config, line => lines.push(line))).close()
    })
    await Promise.all(starting)
    assert.equal(lines.filter(line => line.includes('0001-')).length, 2, lines.join('\n'))
    await works()
  })

  it('is made by the first start where there is none', async () => {
    await works()
    const [table] = await databases.cql(
      "SELECT default_time_to_live, compaction FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'spans'",
      [databases.config.cassandra.keyspace],
    )
    assert.equal(table!.default_time_to_live, 7 * 24 * 3600)
    assert.match(table!.compaction.class, /TimeWindowCompactionStrategy$/)
  })

  it('is refused when it is older, with the command that mends it', async () => {
    await migrate(databases.config)
    for (const undo of [
      () => databases.sql('DELETE FROM ??.schema_migration', [databases.config.mysql.database]),
      () => databases.cql(`TRUNCATE ${databases.config.cassandra.keyspace}.schema_migration`),
    ]) {
      await undo()
      await assert.rejects(openStore(databases.config), {
        code: 'MILO_STORE_SCHEMA',
        message: /run milo-collector migrate$/,
      })
      await migrate(databases.config)
      await works()
    }
  })

  it('does for a collector that may not change it', async () => {
    await migrate(databases.config)
    const { database } = databases.config.mysql
    await databases.sql('CREATE USER ? IDENTIFIED BY ?', [database, 'only-data'])
    try {
      await databases.sql('GRANT SELECT, INSERT, UPDATE ON ??.* TO ?', [database, database])
      Object.assign(databases.config.mysql, { username: database, password: 'only-data' })
      await works()
    } finally {
      await databases.sql('DROP USER ?', [database])
    }
  })

  it('leaves tables of the original Milo in the same database as they were', async () => {
    const { database } = databases.config.mysql
    await databases.sql('CREATE DATABASE ??', [database])
    for (const table of ['traces', 'annotations', 'saved_searches']) {
      await databases.sql('CREATE TABLE ??.?? (original INT)', [database, table])
      await databases.sql('INSERT INTO ??.?? VALUES (1)', [database, table])
    }
    await works()
    for (const table of ['traces', 'annotations', 'saved_searches']) {
      assert.deepEqual(await databases.sql('SELECT * FROM ??.??', [database, table]), [{ original: 1 }])
    }
  })
})

describe('cassandra-mysql store, in the databases', function () {
  this.timeout(60_000)
  let databases: Databases
  let store: Store

  before(async function () {
    this.timeout(300_000)
    databases = await newDatabases()
    store = await openStore(databases.config)
  })
  after(async () => {
    await store?.close()
    await databases?.drop()
  })

  function rowsOf(traceId: bigint) {
    const { keyspace } = databases.config.cassandra
    return databases.cql(`SELECT uid, records FROM ${keyspace}.spans WHERE trace_id = ? AND bucket = 0`, [traceId])
  }

  it("keeps a message's records of one trace in one row, and the same message twice in the same row", async () => {
    const traceId = randomId()
    const records = Array.from({ length: 20 }, () => span({ traceId }))
    await append(store, ...records)
    await append(store, ...records)
    assert.equal((await rowsOf(traceId)).length, 1)
  })

  it('divides what is larger than 256 KiB, and lets a larger record alone have more', async () => {
    const traceId = randomId()
    const records = [90, 90, 90, 600, 1, 255].map(kib => span({ traceId, tags: { large: 'x'.repeat(kib * 1000) } }))
    await append(store, ...records)
    const sizes = (await rowsOf(traceId)).map(row => row.records.length).sort((a, b) => b - a)
    assert.equal(sizes.length, 4)
    assert.ok(sizes[0] > 600_000 && sizes[0] < 601_000, String(sizes))
    for (const size of sizes.slice(1)) assert.ok(size <= 256 * 1024, String(sizes))
    assert.deepEqual(structs(await store.readTrace(traceId)), structs(records))
  })

  it('continues a trace of 100,000 spans in another partition, and reads it as one', async () => {
    const records = bareTrace(100_010)
    const { traceId } = records[0]!
    await append(store, ...records.slice(0, 100_000))
    await append(store, ...records.slice(100_000))
    const { keyspace } = databases.config.cassandra
    const rows = (bucket: number) =>
      databases.cql(`SELECT uid FROM ${keyspace}.spans WHERE trace_id = ? AND bucket = ${bucket}`, [traceId])
    assert.equal((await rows(1)).length, 1)
    assert.equal((await rows(2)).length, 0)
    assert.equal((await store.readTrace(traceId)).length, 100_010)
  })

  it('writes the same index rows, whoever writes at the same time', async () => {
    const records = Array.from({ length: 300 }, (_, i) => span({ name: 'same', tags: { i: String(i % 7) } }))
    const other = await openStore(databases.config)
    try {
      await Promise.all(
        Array.from({ length: 40 }, (_, i) => {
          const own = i % 3 === 0 ? [...records].reverse() : records
          return append(i % 2 ? store : other, ...own)
        }),
      )
      const [{ postings }] = await databases.sql('SELECT count(*) AS postings FROM ??.posting WHERE trace_id IN (?)', [
        databases.config.mysql.database,
        records.map(({ traceId }) => traceId),
      ])
      assert.equal(postings, 300 * 4)
    } finally {
      await other.close()
    }
  })
})

describe('cassandra-mysql store, with a database away', function () {
  this.timeout(120_000)
  let databases: Databases
  let store: Store

  before(async function () {
    this.timeout(300_000)
    const own = Promise.all([startOwnCassandra(), startOwnMariaDb()])
    const servers = await own.catch(error => {
      // Where others' servers are given because none can be installed, none can be stopped either.
      if (process.env.MILO_TEST_CASSANDRA && process.env.MILO_TEST_MYSQL) this.skip()
      throw error
    })
    databases = new Databases(...servers)
    store = await openStore(databases.config)
  })
  after(async () => {
    await store?.close()
    await Promise.all([databases?.cassandra.kill(), databases?.mariaDb.kill()])
  })

  async function writesAndReads(): Promise<void> {
    const record = span({ name: unique('again') })
    await append(store, record)
    assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
    await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
    await store.check()
  }

  const away = { code: 'MILO_STORE_UNAVAILABLE' }

  for (const [name, server] of [
    ['MariaDB', () => databases.mariaDb],
    ['Cassandra', () => databases.cassandra],
  ] as const) {
    for (const how of ['stop', 'kill'] as const) {
      it(`refuses writes after a ${how} of ${name}, keeps what it acknowledged, and works again once it is back`, async () => {
        const kept = span({ name: unique('kept') })
        await append(store, kept)
        const late = [span({}), span({}), span({})]
        // Under way while it ends: whatever comes of them, each must come to an answer.
        const underWay = Promise.allSettled(late.map(record => append(store, record)))
        await server()[how]()
        await underWay
        // As long as a bucket, which must not count as full when none of it was written.
        const long = bareTrace(100_000)
        await assert.rejects(append(store, ...long), away)
        await assert.rejects(store.check(), away)
        await server().start()
        await soon(writesAndReads, 30_000)
        await append(store, ...long)
        assert.equal((await store.readTrace(long[0]!.traceId)).length, 100_000)
        assert.deepEqual(structs(await store.readTrace(kept.traceId)), structs([kept]))
        assert.deepEqual(await found(store, { name: kept.name }), [kept.traceId])
      })
    }
  }

  it('refuses writes when MariaDB hangs, and works again once it goes on', async () => {
    databases.mariaDb.pause()
    try {
      await Promise.all([
        assert.rejects(append(store, span({})), away),
        assert.rejects(store.check(), away),
        assert.rejects(openStore(databases.config), away),
      ])
    } finally {
      databases.mariaDb.resume()
    }
    await soon(writesAndReads, 30_000)
  })

  it('says which database it misses, at start too, and never a password', async () => {
    const secret = 'correct horse'
    const wrong = structuredClone(databases.config)
    wrong.mysql.password = secret
    wrong.cassandra.password = secret
    wrong.cassandra.username = 'milo'
    const check = (pattern: RegExp) => (error: any) => {
      const everything = `${error.stack} ${JSON.stringify(error)} ${Object.values(error)} ${error.cause}`
      assert.match(error.message, pattern)
      assert.doesNotMatch(error.message, /\n/)
      assert.ok(!everything.includes(secret), everything)
      return true
    }
    await assert.rejects(openStore(wrong), check(/^MySQL at .*Access denied/))
    const elsewhere = structuredClone(databases.config)
    elsewhere.cassandra.local_dc = 'elsewhere'
    await assert.rejects(openStore(elsewhere), check(/^Cassandra at .*'elsewhere'.*datacenter1/))
    await databases.mariaDb.stop()
    await assert.rejects(openStore(wrong), check(/^MySQL at .*ECONNREFUSED/))
    await assert.rejects(migrate(wrong), check(/^MySQL at .*ECONNREFUSED/))
    await databases.cassandra.kill()
    await assert.rejects(openStore(wrong), check(/^Cassandra at .*ECONNREFUSED/))
  })
})
