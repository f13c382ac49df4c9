import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate, openStore, pendingMigrations } from '../../collector/src/store/open'
import { startCassandra, startMariaDb } from '../servers'
import { type Databases, newDatabases, settled } from './databases'
import { append, found, randomId, soon, span, structs, unique } from './store-contract'

const DAY_MS = 86_400_000
const DAILY = ['post', 'trace_terms', 'dict', 'value_block']

describe('cassandra-mysql store, schema', () => {
  let databases: Databases
  let today: number

  before(async function () {
    this.timeout(500_000)
    await Promise.all([startCassandra(), startMariaDb()])
    // Days are those of MySQL's clock: none may end while this runs.
    const leftMs = DAY_MS - (Date.now() % DAY_MS)
    if (leftMs < 120_000) await sleep(leftMs)
    today = Math.floor(Date.now() / DAY_MS)
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
      assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
      await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
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

  it('has the values of before in blocks after a migration: a search for a part of one finds it', async () => {
    const [key, value] = [unique('key'), unique('value')]
    const record = span({ tags: { [key]: value, other: 'x'.repeat(200) } })
    const isFound = async (...records: ReturnType<typeof span>[]) => {
      const store = await openStore(databases.config)
      try {
        if (records.length > 0) await append(store, ...records)
        const annotations = [{ key, value: value.slice(2), match: 'contains' as const }]
        await soon(async () => assert.deepEqual(await found(store, { annotations }), [record.traceId]))
      } finally {
        await store.close()
      }
    }
    await isFound(record)
    await databases.own('DROP TABLE value_block')
    await databases.own('DELETE FROM schema_migration WHERE version = 4')
    await migrate(databases.config)
    await isFound()
  })

  it('is refused when other files than ours made it, and left alone', async () => {
    await migrate(databases.config)
    const { keyspace } = databases.config.cassandra
    const mine = 'the schema of a development version (0001-index, where this milo-collector has 0001-'
    for (const [rename, remedy] of [
      [
        () => databases.own("UPDATE schema_migration SET name = '0001-index' WHERE version = 1"),
        `MySQL's database ${keyspace} has ${mine}blocks.sql), which can't be brought up to date: drop it, or set another mysql.database`,
      ],
      [
        async () => {
          await databases.own("UPDATE schema_migration SET name = '0001-blocks.sql' WHERE version = 1")
          await databases.cql(`UPDATE ${keyspace}.schema_migration SET name = '0001-index' WHERE version = 1`)
        },
        `Cassandra's keyspace ${keyspace} has ${mine}tables.cql), which can't be brought up to date: drop it, or set another cassandra.keyspace`,
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
      await soon(async () => assert.match(lines.join(), /may not alter tables: run milo-collector migrate/))
      await append(store, span({}))
      await settled(store)
      await store.close()
      await works({ ...databases.config, mysql })
      // What has no day of its own isn't lost when there is one.
      await migrate(databases.config)
      assert.ok((await daysOf('post')).includes(today))
      await works()
      const [{ spans }] = await databases.own(
        `SELECT COUNT(*) AS spans FROM post PARTITION (d${today}) WHERE term = x'05000000000000'`,
      )
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
      span({ traceId: second, id: -2n, name: undefined, startUs: startUs + 5_000_002n, tags: { both: 'x' } }),
      span({ traceId: second, id: 10n, name: 'Users.put', startUs: startUs + 5_000_001n, tags: { both: 'x' } }),
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
    // Of two spans with one value in a message, the newer one.
    assert.deepEqual(await databases.own("SELECT span_id, name FROM annotations WHERE annotation_value = 'x'"), [
      { span_id: -2, name: null },
    ])
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
    const old = [today - 9, today - 8, today - 7, today - 1]
    for (const table of DAILY) {
      const days = await daysOf(table)
      assert.deepEqual(
        days,
        [0, 1, 2, 3, 4].map(n => today + n),
      )
      const first = old.map(day => `PARTITION d${day} VALUES LESS THAN (${day + 1})`)
      const rest = `PARTITION d${today} VALUES LESS THAN (${today + 1})`
      await databases.own(`ALTER TABLE ${table} REORGANIZE PARTITION d${today} INTO (${first}, ${rest})`)
      await databases.own(`ALTER TABLE ${table} DROP PARTITION d${today + 3}, d${today + 4}`)
    }
    const lines: string[] = []
    const store = await openStore({ ...databases.config, retention_days: 7 }, line => lines.push(line))
    try {
      const expected = [today - 7, today - 1, today, today + 1, today + 2, today + 3, today + 4]
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
    const { keyspace } = databases.config.cassandra
    const rows = await databases.cql(`SELECT ttl(records) AS seconds FROM ${keyspace}.spans`)
    const least = Math.min(...rows.map(({ seconds }) => seconds))
    assert.ok(least > 3 * 86_400 - 600 && least <= 3 * 86_400, String(least))
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
