import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { createServer, type Server } from 'node:tls'
import { Client } from 'cassandra-driver'
import { createConnection } from 'mysql2/promise'
import { scanRecords } from '../../collector/src/record/records'
import { migrate, openStore, pendingMigrations, replayCollector } from '../../collector/src/store/open'
import type { Store } from '../../collector/src/store/store'
import { collectorId, type StoreConfig } from '../../collector/src/store/store-config'
import {
  type CassandraServer,
  type MariaDbServer,
  type SharedServer,
  startCassandra,
  startMariaDb,
  startOwnCassandra,
  startOwnMariaDb,
} from '../servers'
import {
  append,
  found,
  messageOf,
  randomId,
  sameIds,
  soon,
  span,
  storeContract,
  structs,
  tag,
  unique,
} from './store-contract'

type SharedCassandra = SharedServer<CassandraServer>
type SharedMariaDb = SharedServer<MariaDbServer>

/** Servers, and a keyspace and a database in them that nobody has used. */
class Databases<C extends SharedCassandra = SharedCassandra, M extends SharedMariaDb = SharedMariaDb> {
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

/** Waits until everything is where later reads find it. */
async function settled(store: Store): Promise<void> {
  await soon(async () => assert.equal(store.backlog().spans, 0), 30_000)
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

  async function works(config = databases.config): Promise<void> {
    const store = await openStore(config)
    try {
      const record = span({ name: unique('works') })
      await append(store, record)
      assert.deepEqual(structs((await store.readTrace(record.traceId)).records), structs([record]))
      assert.deepEqual(await found(store, { name: record.name }), [record.traceId])
      await store.check()
    } finally {
      await store.close()
    }
  }

  const ofFirst = (lines: string[]) => lines.filter(line => line.includes('0001-'))

  it('is made by migrate, database and keyspace included, and left alone the second time', async () => {
    const lines: string[] = []
    await migrate(databases.config, line => lines.push(line))
    assert.equal(ofFirst(lines).length, 2, lines.join('\n'))
    await works()
    const again: string[] = []
    await migrate(databases.config, line => again.push(line))
    assert.deepEqual(again, [])
  })

  it('is made once by several collectors that migrate or start at the same time', async () => {
    const lines: string[] = []
    const log = (line: string) => lines.push(line)
    const starting = Array.from({ length: 6 }, async (_, i) => {
      if (i % 2 === 0) await migrate(databases.config, log)
      else await (await openStore(databases.collector(String(i)), log)).close()
    })
    await Promise.all(starting)
    assert.equal(ofFirst(lines).length, 2, lines.join('\n'))
    await works()
  })

  it('is made by the first start where there is none', async () => {
    await works()
    const tables = await databases.cql(
      'SELECT table_name, default_time_to_live, compaction FROM system_schema.tables WHERE keyspace_name = ?',
      [databases.config.cassandra.keyspace],
    )
    const days = { spans: 7, journal: 1 } as Record<string, number>
    for (const { table_name, default_time_to_live, compaction } of tables) {
      if (days[table_name] === undefined) continue
      assert.equal(default_time_to_live, days[table_name]! * 24 * 3600)
      assert.match(compaction.class, /TimeWindowCompactionStrategy$/)
      delete days[table_name]
    }
    assert.deepEqual(days, {})
  })

  it('is told by a dry run, which changes nothing', async () => {
    const { keyspace } = databases.config.cassandra
    const all = await pendingMigrations(databases.config)
    for (const database of [`MySQL, database ${keyspace}`, `Cassandra, keyspace ${keyspace}`]) {
      assert.ok(
        all.some(line => line.startsWith(database)),
        all.join('\n'),
      )
    }
    assert.deepEqual(await databases.sql('SHOW DATABASES LIKE ?', [keyspace]), [])
    await migrate(databases.config)
    assert.deepEqual(await pendingMigrations(databases.config), [])
    await databases.own('DELETE FROM schema_migration')
    const again = all.filter(line => line.startsWith('MySQL'))
    assert.deepEqual(await pendingMigrations(databases.config), again)
  })

  it('is refused when it is older, with the command that mends it', async () => {
    await migrate(databases.config)
    for (const undo of [
      () => databases.own('DELETE FROM schema_migration'),
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

  it('is refused when other files than ours made it, and left alone', async () => {
    await migrate(databases.config)
    const { keyspace } = databases.config.cassandra
    const mine = 'the schema of a development version (0001-index, where this milo-collector has 0001-schema'
    for (const [rename, remedy] of [
      [
        () => databases.own("UPDATE schema_migration SET name = '0001-index'"),
        `MySQL's database ${keyspace} has ${mine}.sql), which can't be brought up to date: drop it, or give another mysql.database`,
      ],
      [
        async () => {
          await databases.own("UPDATE schema_migration SET name = '0001-schema.sql'")
          await databases.cql(`UPDATE ${keyspace}.schema_migration SET name = '0001-index' WHERE version = 1`)
        },
        `Cassandra's keyspace ${keyspace} has ${mine}.cql), which can't be brought up to date: drop it, or give another cassandra.keyspace`,
      ],
    ] as const) {
      await rename()
      const error = { code: 'MILO_STORE_SCHEMA', message: remedy }
      await assert.rejects(openStore(databases.config), error)
      await assert.rejects(migrate(databases.config), error)
      await assert.rejects(pendingMigrations(databases.config), error)
    }
  })

  it('does for a collector that may not change it, which says what will be missing', async () => {
    await migrate(databases.config)
    const { database } = databases.config.mysql
    await databases.sql('CREATE USER ? IDENTIFIED BY ?', [database, 'only-data'])
    try {
      await databases.sql('GRANT SELECT, INSERT, UPDATE ON ??.* TO ?', [database, database])
      // As if days had gone by.
      for (const table of DAILY) {
        const days = await daysOf(table)
        await databases.own(`ALTER TABLE ${table} DROP PARTITION ${days.map(day => `d${day}`)}`)
      }
      const mysql = { ...databases.config.mysql, username: database, password: 'only-data' }
      const lines: string[] = []
      const store = await openStore({ ...databases.config, mysql }, line => lines.push(line))
      await soon(async () => assert.match(lines.join(), /may not alter tables: run milo-collector migrate/), 5_000)
      await append(store, span({}))
      await settled(store)
      await store.close()
      await works({ ...databases.config, mysql })
      // What has no day of its own isn't lost when there is one.
      await migrate(databases.config)
      assert.ok((await daysOf('span_idx')).includes(TODAY))
      await works()
      const [{ spans }] = await databases.own(`SELECT COUNT(*) AS spans FROM span_idx PARTITION (d${TODAY})`)
      assert.equal(spans, 3)
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

  it("answers the queries of the original's users", async () => {
    const store = await openStore(databases.config)
    const [first, second] = [randomId(), randomId()]
    const startUs = 1_700_000_000_000_000n
    await append(
      store,
      span({ traceId: first, id: 7n, name: 'Users.get', startUs, tags: { user: 'ann', 'http.url': '/a' } }),
      span({ traceId: first, id: 8n, name: 'Users.put', startUs, tags: { user: 'bob' } }),
      span({ traceId: second, id: 9n, name: 'Users.get', startUs: startUs + 5_000_000n, tags: { user: 'bob' } }),
    )
    await store.saveSearch({ id: 'a', name: 'Of Bob', query: 'name=Users.get&key=user&value=bob', createdUs: 1e15 })
    await store.close()
    const like = "name LIKE 'Users%' AND annotation_name = 'user' AND annotation_value LIKE 'b%'"
    const found = await databases.own(
      `SELECT trace_id + 0 AS trace_id, span_id, name, annotation_value FROM annotations WHERE ${like} ORDER BY date_created DESC, span_id`,
    )
    assert.deepEqual(
      found.map((row: any) => [row.span_id, row.name, row.annotation_value]),
      [
        [9, 'Users.get', 'bob'],
        [8, 'Users.put', 'bob'],
      ],
    )
    const traces = await databases.own(
      'SELECT CAST(trace_id AS CHAR) AS id, UNIX_TIMESTAMP(date_created) AS at FROM traces ORDER BY date_created',
    )
    assert.deepEqual(
      traces.map(({ id, at }: any) => [BigInt(id), Number(at)]),
      [
        [first, 1_700_000_000],
        [second, 1_700_000_005],
      ],
    )
    assert.deepEqual(await databases.own('SELECT search_name, name, `key`, value FROM saved_searches'), [
      { search_name: 'Of Bob', name: 'Users.get', key: 'user', value: 'bob' },
    ])
  })

  it('drops days that have expired, and makes those to come', async () => {
    await migrate(databases.config)
    const old = [TODAY - 9, TODAY - 8, TODAY - 7, TODAY - 1]
    for (const table of DAILY) {
      const days = await daysOf(table)
      assert.deepEqual(
        days,
        [0, 1, 2, 3, 4].map(n => TODAY + n),
      )
      const first = old.map(day => `PARTITION d${day} VALUES LESS THAN (${day + 1})`)
      const rest = `PARTITION d${TODAY} VALUES LESS THAN (${TODAY + 1})`
      await databases.own(`ALTER TABLE ${table} REORGANIZE PARTITION d${TODAY} INTO (${first}, ${rest})`)
      await databases.own(`ALTER TABLE ${table} DROP PARTITION d${TODAY + 3}, d${TODAY + 4}`)
    }
    const lines: string[] = []
    const store = await openStore({ ...databases.config, retention_days: 7 }, line => lines.push(line))
    try {
      const expected = [TODAY - 7, TODAY - 1, TODAY, TODAY + 1, TODAY + 2, TODAY + 3, TODAY + 4]
      await soon(async () => {
        for (const table of DAILY) assert.deepEqual(await daysOf(table), expected)
        assert.equal(lines.filter(line => /2 expired days/.test(line)).length, DAILY.length, lines.join('\n'))
      }, 10_000)
    } finally {
      await store.close()
    }
  })

  it('keeps spans for as long as the configuration says', async () => {
    const store = await openStore({ ...databases.config, retention_days: 3 })
    const record = span({})
    await append(store, record)
    await settled(store)
    await store.close()
    const [row] = await databases.cql(
      `SELECT ttl(records) AS seconds FROM ${databases.config.cassandra.keyspace}.spans WHERE trace_id = ? AND bucket = 0`,
      [record.traceId],
    )
    assert.ok(row!.seconds > 3 * 86_400 - 600 && row!.seconds <= 3 * 86_400, String(row!.seconds))
  })

  it('is warned of when Cassandra forgets what it has acknowledged', async () => {
    await migrate(databases.config)
    const lines: string[] = []
    const [{ value }] = (await databases.cql(
      "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'",
    )) as any
    await migrate(databases.config, line => lines.push(line))
    assert.equal(
      lines.some(line => /commitlog_sync/.test(line)),
      value !== 'batch',
      lines.join('\n'),
    )
  })

  async function daysOf(table: string): Promise<number[]> {
    const rows = await databases.own(
      'SELECT PARTITION_NAME AS name FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY PARTITION_ORDINAL_POSITION',
      [databases.config.mysql.database, table],
    )
    return rows
      .map(({ name }: any) => name)
      .filter((name: string) => name !== 'later')
      .map((name: string) => Number(name.slice(1)))
  }
})

const TODAY = Math.floor(Date.now() / 86_400_000)
const DAILY = ['span_idx', 'post', 'dict', 'trace_terms']

describe('cassandra-mysql store, in the databases', function () {
  this.timeout(120_000)
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

  function rowsOf(traceId: bigint, bucket = 0) {
    const { keyspace } = databases.config.cassandra
    return databases.cql(`SELECT uid, records FROM ${keyspace}.spans WHERE trace_id = ? AND bucket = ${bucket}`, [
      traceId,
    ])
  }

  it("keeps a trace's records that come together in one row, and what is written twice in the same row", async () => {
    const traceId = randomId()
    const records = Array.from({ length: 20 }, () => span({ traceId }))
    for (let i = 0; i < 2; i++) {
      await append(store, ...records)
      await settled(store)
      assert.equal((await rowsOf(traceId)).length, 1)
    }
  })

  it('divides what is larger than 256 KiB, and lets a larger record alone have more', async () => {
    const traceId = randomId()
    const records = [90, 90, 90, 600, 1, 255].map(kib => span({ traceId, tags: { large: 'x'.repeat(kib * 1000) } }))
    await append(store, ...records)
    await settled(store)
    const sizes = (await rowsOf(traceId)).map(row => row.records.length).sort((a, b) => b - a)
    assert.equal(sizes.length, 4)
    assert.ok(sizes[0] > 600_000 && sizes[0] < 601_000, String(sizes))
    for (const size of sizes.slice(1)) assert.ok(size <= 256 * 1024, String(sizes))
    assert.deepEqual(structs((await store.readTrace(traceId)).records), structs(records))
  })

  it('takes a message that is larger than anything Cassandra takes at once', async () => {
    const traceId = randomId()
    const records = Array.from({ length: 40 }, (_, i) => span({ traceId, tags: { large: `${i} `.repeat(200_000) } }))
    const message = messageOf(records)
    assert.ok(message.body.length > 18_000_000)
    await store.append([message])
    assert.equal((await store.readTrace(traceId)).records.length, 40)
    await settled(store)
    assert.deepEqual(structs((await store.readTrace(traceId)).records), structs(records))
  })

  it('takes a message of nothing but long words, more than MySQL takes at once', async () => {
    // Every quote is two in SQL.
    const word = () => unique('word') + "'".repeat(9_900)
    const records = Array.from({ length: 450 }, () => span({ name: word(), service: word(), tags: { [word()]: 'x' } }))
    await append(store, ...records)
    const { traceId, name } = records[300]!
    assert.deepEqual(await found(store, { name: name! }), [traceId])
    await settled(store)
    assert.deepEqual(structs((await store.readTrace(traceId)).records), structs([records[300]!]))
  })

  it('puts no more than 100,000 spans of a trace into a partition, whoever writes them, and reads them as one', async () => {
    const records = bareTrace(280_000)
    const { traceId } = records[0]!
    const other = await openStore(databases.collector('another'))
    try {
      for (let i = 0; i < records.length; ) {
        // More than a partition's at once, by one collector, and then few and many by both.
        for (const [by, count] of [
          [store, 120_000],
          [other, 30_000],
          [store, 700],
          [other, 9_300],
        ] as const) {
          await append(by, ...records.slice(i, i + count))
          await settled(by)
          i += count
        }
      }
      let spans = 0
      for (let bucket = 0; bucket < 5; bucket++) {
        let inBucket = 0
        for (const { records: row } of await rowsOf(traceId, bucket)) scanRecords(row, () => inBucket++)
        assert.ok(inBucket <= 100_000, `${inBucket} in bucket ${bucket}`)
        spans += inBucket
      }
      assert.equal(spans, 280_000)
      for (const by of [store, other]) assert.equal((await by.readTrace(traceId)).records.length, 280_000)
    } finally {
      await other.close()
    }
  })

  it('reads on where the writer of a bucket died on the way', async () => {
    const record = span({})
    await databases.own('INSERT INTO long_trace (trace_id, spans, day) VALUES (?, 200000, ?)', [record.traceId, TODAY])
    const records = [record, ...bareTrace(2_000).map(bare => ({ ...bare, traceId: record.traceId }))]
    await append(store, ...records)
    await settled(store)
    assert.equal((await store.readTrace(record.traceId)).records.length, 2_001)
  })

  it('writes the same index rows, whoever writes at the same time', async () => {
    const records = Array.from({ length: 300 }, (_, i) => span({ name: 'same', tags: { i: String(i % 7) } }))
    const other = await openStore(databases.collector('another'))
    try {
      await Promise.all(
        Array.from({ length: 40 }, (_, i) => {
          const own = i % 3 === 0 ? [...records].reverse() : records
          return append(i % 2 ? store : other, ...own)
        }),
      )
      const traceIds = records.map(({ traceId }) => traceId)
      for (const table of ['post', 'span_idx']) {
        const [{ count }] = await databases.own(`SELECT COUNT(*) AS count FROM ${table} WHERE trace_id IN (?)`, [
          traceIds,
        ])
        assert.equal(count, 300, table)
      }
    } finally {
      await other.close()
    }
  })

  it('shows what another collector has accepted within seconds, and to a search as well', async () => {
    const other = await openStore(databases.collector('another'))
    try {
      const record = span({ name: unique('others') })
      await append(other, record)
      await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]), 5_000)
    } finally {
      await other.close()
    }
  })

  it('finds a key with thousands of values, and the parts of values that many have, rare or common', async () => {
    const [key, name] = [unique('key'), unique('name')]
    const records = Array.from({ length: 6_000 }, (_, i) =>
      span({
        name,
        startUs: 1_600_000_000_000_000n + BigInt(i),
        tags: { [key]: `${i % 2 ? 'odd' : 'even'}-${i}`, ...(i % 1_500 === 0 ? { [`${key}x`]: `rare-${i}` } : {}) },
      }),
    )
    for (let i = 0; i < records.length; i += 1_000) await append(store, ...records.slice(i, i + 1_000))
    const ids = (matches: (i: number) => boolean) => records.filter((_, i) => matches(i)).map(({ traceId }) => traceId)
    const newest = async (annotations: ReturnType<typeof tag>[]) =>
      (await store.search({ annotations, limit: 20 })).traces.map(({ traceId }) =>
        BigInt.asIntN(64, BigInt(`0x${traceId}`)),
      )
    assert.deepEqual(
      await newest([tag(key)]),
      ids(() => true)
        .reverse()
        .slice(0, 20),
    )
    assert.deepEqual(
      await newest([tag(key, 'odd', 'prefix')]),
      ids(i => i % 2 === 1)
        .reverse()
        .slice(0, 20),
    )
    assert.deepEqual(
      await newest([tag(key, '-', 'contains')]),
      ids(() => true)
        .reverse()
        .slice(0, 20),
    )
    sameIds(
      await found(store, { annotations: [tag(key, '-59', 'contains')] }),
      ids(i => /^59/.test(String(i))),
    )
    sameIds(
      await found(store, { name, annotations: [tag(`${key}x`), tag(key, 'even', 'prefix')] }),
      ids(i => i % 1_500 === 0),
    )
    sameIds(await found(store, { annotations: [tag(`${key}x`), tag(key, 'odd', 'prefix')] }), [])
  })

  it('is no place for two collectors of the same id', async () => {
    const id = collectorId(databases.config)
    await assert.rejects(openStore(databases.config), (error: any) => {
      assert.equal(error.code, 'MILO_STORE_LOCKED')
      assert.ok(error.message.includes(id) && /another collector_id/.test(error.message), error.message)
      return true
    })
    await assert.rejects(
      replayCollector(databases.config, id, () => {}),
      { code: 'MILO_STORE_LOCKED' },
    )
    // Which has done no harm to the first one.
    await append(store, span({}))
  })

  it("is told the journal of a collector that doesn't come back by replay, once", async () => {
    const gone = unique('gone')
    const records = Array.from({ length: 50 }, () => span({ name: gone, tags: { [gone]: 'x' } }))
    const { keyspace } = databases.config.cassandra
    const nowUs = BigInt(Date.now()) * 1000n
    for (const [i, record] of records.entries()) {
      // As a collector leaves it that is killed: an hour's worth, in the journal alone, some behind its checkpoint.
      const seq = nowUs - BigInt(i) * 72_000_000n
      const slot = seq / 10_000_000n
      const insert = `INSERT INTO ${keyspace}.journal (collector, slot, seq, part, body) VALUES (?, ?, ?, 0, ?)`
      await databases.cql(insert, [gone, Number(slot), seq, messageOf([record]).body])
      await databases.cql(insert, [gone, -1, slot, Buffer.alloc(0)])
    }
    await databases.own('INSERT INTO checkpoint VALUES (?, ?)', [gone, nowUs - 40n * 72_000_000n])
    const steps: [number, number][] = []
    const spans = await replayCollector(
      databases.config,
      gone,
      () => {},
      (...step) => steps.push(step),
    )
    assert.equal(spans, 40)
    const [done, total] = steps.at(-1)!
    assert.ok(steps.length > 10 && done === total, `${steps.length} steps, ${done} of ${total}`)
    const wanted = records.slice(0, 40)
    sameIds(
      await found(store, { annotations: [tag(gone)] }),
      wanted.map(({ traceId }) => traceId),
    )
    for (const record of wanted)
      assert.deepEqual(structs((await store.readTrace(record.traceId)).records), structs([record]))
    assert.equal(await replayCollector(databases.config, gone, () => {}), 0)
  })
})

describe('cassandra-mysql store, over TLS', function () {
  this.timeout(60_000)
  const file = (name: string) => join(__dirname, '../fixtures/tls', name)
  const servers: Server[] = []
  let databases: Databases<SharedCassandra, MariaDbServer>

  before(async function () {
    this.timeout(300_000)
    const own = startOwnMariaDb({ tls: { cert: file('cert.pem'), key: file('key.pem') } }).catch(error => {
      if (process.env.MILO_TEST_MYSQL) this.skip()
      throw error
    })
    databases = new Databases(...(await Promise.all([startCassandra(), own])))
    await databases.sql('ALTER USER milo_test@127.0.0.1 REQUIRE SSL')
  })
  after(async () => {
    for (const server of servers) server.close()
    await databases?.mariaDb.kill()
    await databases?.cql(`DROP KEYSPACE IF EXISTS ${databases.config.cassandra.keyspace}`)
  })

  /** Takes TLS off what Cassandra's drivers say. @returns its port */
  async function cassandraOverTls(): Promise<number> {
    const { host, port } = databases.cassandra
    const options = { cert: readFileSync(file('cert.pem')), key: readFileSync(file('key.pem')) }
    const server = createServer(options, socket => {
      const upstream = connect(port, host)
      pipeline(socket, upstream, () => {})
      pipeline(upstream, socket, () => {})
    })
    server.on('tlsClientError', () => {})
    servers.push(server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return (server.address() as AddressInfo).port
  }

  it('speaks with servers whose certificates it can check, and with no others', async () => {
    const { config } = databases
    const port = await cassandraOverTls()
    const tls = { ca: file('cert.pem') }
    const encrypted = { ...config, cassandra: { ...config.cassandra, port, tls }, mysql: { ...config.mysql, tls } }
    const store = await openStore(encrypted)
    const record = span({ name: unique('encrypted') })
    await append(store, record)
    assert.deepEqual(await found(store, { name: record.name }), [record.traceId])
    await store.close()

    const stranger = { ca: file('first.pem') }
    for (const [name, refused] of [
      ['Cassandra', { ...encrypted, cassandra: { ...encrypted.cassandra, tls: stranger } }],
      ['MySQL', { ...encrypted, mysql: { ...encrypted.mysql, tls: stranger } }],
      ['MySQL', { ...encrypted, mysql: config.mysql }],
    ] as const) {
      await assert.rejects(migrate(refused), { code: 'MILO_STORE_UNAVAILABLE', message: new RegExp(`^${name} at `) })
    }
  })
})

describe('cassandra-mysql store, behind passwords', function () {
  this.timeout(60_000)
  let databases: Databases<CassandraServer, SharedMariaDb>

  before(async function () {
    this.timeout(300_000)
    const own = startOwnCassandra({ passwords: true }).catch(error => {
      if (process.env.MILO_TEST_CASSANDRA) this.skip()
      throw error
    })
    databases = new Databases(...(await Promise.all([own, startMariaDb()])))
  })
  after(async () => {
    await databases?.cassandra.kill()
    await databases?.sql('DROP DATABASE IF EXISTS ??', [databases.config.mysql.database])
  })

  it('is let in by Cassandra with its own, as a role that may make its keyspace and no more', async () => {
    await databases.cql("CREATE ROLE milo WITH PASSWORD = 'it''s milo' AND LOGIN = true")
    await databases.cql('GRANT CREATE ON ALL KEYSPACES TO milo')
    const { config } = databases
    const as = (username: string, password: string) => ({
      ...config,
      cassandra: { ...config.cassandra, username, password },
    })
    const store = await openStore(as('milo', "it's milo"))
    const record = span({ name: unique('known') })
    await append(store, record)
    assert.deepEqual(await found(store, { name: record.name }), [record.traceId])
    assert.deepEqual(structs((await store.readTrace(record.traceId)).records), structs([record]))
    await store.close()

    for (const refused of [as('milo', 'secret'), as('nobody', 'secret'), config]) {
      const isRefusal = (error: Error) => /^Cassandra at /.test(error.message) && !error.message.includes('secret')
      await assert.rejects(openStore(refused), isRefusal)
    }
  })
})

describe('cassandra-mysql store, with a database away', function () {
  this.timeout(120_000)
  let databases: Databases<CassandraServer, MariaDbServer>
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
    assert.deepEqual(structs((await store.readTrace(record.traceId)).records), structs([record]))
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
        assert.equal((await store.readTrace(long[0]!.traceId)).records.length, 100_000)
        assert.deepEqual(structs((await store.readTrace(kept.traceId)).records), structs([kept]))
        assert.deepEqual(await found(store, { name: kept.name }), [kept.traceId])
      })
    }
  }

  it('refuses writes when MariaDB hangs, and works again once it goes on', async () => {
    databases.mariaDb.pause()
    try {
      await Promise.all([assert.rejects(append(store, span({})), away), assert.rejects(store.check(), away)])
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
    await assert.rejects(migrate(databases.config), check(/^MySQL at .*ECONNREFUSED/))
    await databases.cassandra.kill()
    await assert.rejects(migrate(databases.config), check(/ECONNREFUSED/))
    await assert.rejects(
      replayCollector(databases.config, 'x', () => {}),
      check(/^Cassandra at .*ECONNREFUSED/),
    )
  })

  it('waits for databases that are away at start, says which, and then has everything', async () => {
    const lines: string[] = []
    await databases.cassandra.start()
    const waiting = await openStore(databases.collector('waiting'), line => lines.push(line))
    try {
      await assert.rejects(append(waiting, span({})), { ...away, message: /^MySQL at .*ECONNREFUSED/ })
      await assert.rejects(waiting.readTrace(1n), away)
      await assert.rejects(waiting.search({ annotations: [], limit: 1 }), away)
      await assert.rejects(waiting.check(), away)
      assert.equal(waiting.backlog().spans, 0)
      assert.match(lines.join('\n'), /^MySQL at .*ECONNREFUSED.*nothing is accepted until/)
      waiting.setIndex({ deny: ['secret'] })
      await databases.mariaDb.start()
      const record = span({ name: unique('late'), tags: { secret: 'x' } })
      await soon(() => append(waiting, record), 30_000)
      assert.deepEqual(await found(waiting, { name: record.name }), [record.traceId])
      await assert.rejects(found(waiting, { annotations: [tag('secret')] }), { code: 'MILO_NOT_INDEXED' })
      assert.match(lines.at(-1)!, /databases are there/)
    } finally {
      await waiting.close()
    }
    await assert.rejects(append(waiting, span({})), { code: 'MILO_STORE_CLOSED' })
  })

  it('can be closed while it waits', async () => {
    await databases.mariaDb.stop()
    const waiting = await openStore(databases.collector('closed'))
    await waiting.close()
    await assert.rejects(append(waiting, span({})), { code: 'MILO_STORE_CLOSED' })
  })
})
