import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pg as plugin } from '../../plugins/pg'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, ended, start, stop, type TestSpan } from '../../src/testing'
import { until } from '../helpers/until'
import { startPostgres } from '../servers'
import { npmPackages } from '../servers/npm'

/** pg, its pool, cursors and streams, at the oldest and the newest version, against PostgreSQL. */

const VERSIONS = {
  '8.0.3': ['pg-cursor@2.0.0', 'pg-query-stream@3.0.0'],
  '8.23.1': ['pg-query-stream@4.17.0'],
}

for (const [version, packages] of Object.entries(VERSIONS)) {
  describe(`pg ${version}`, function () {
    this.timeout(180_000)
    let pg: any
    let Cursor: any
    let QueryStream: any
    let client: any
    let options: any

    before(async () => {
      start({ logLevel: 'error' })
      install([plugin])
      const load = createRequire(join(await npmPackages(`pg@${version}`, ...packages), 'app.js'))
      ;[pg, Cursor, QueryStream] = ['pg', 'pg-cursor', 'pg-query-stream'].map(name => load(name))
      const { host, port, username, database } = await startPostgres()
      options = { host, port, user: username, database }
      client = new pg.Client(options)
      await client.connect()
    })

    beforeEach(() => {
      start()
    })

    afterEach(() => stop())

    after(() => client?.end())

    async function request(count: number, ask: () => Promise<unknown>): Promise<TestSpan[]> {
      await span('request', ask)
      return ended(count + 1)
    }

    it('has spans with the database’s keys, and no values', async () => {
      const [one] = await request(1, () =>
        client.query("SELECT relname FROM pg_class WHERE relname = $1 AND 'secret' <> ''", ['secret']),
      )
      assert.equal(one!.name, 'SELECT pg_class')
      assert.equal(one!.kind, 'client')
      assert.deepEqual(one!.annotations, {
        'db.system.name': 'postgresql',
        'db.namespace': 'postgres',
        'server.address': options.host,
        'server.port': String(options.port),
        'db.operation.name': 'SELECT',
        'db.query.summary': 'SELECT pg_class',
        'db.query.text': 'SELECT relname FROM pg_class WHERE relname = $1 AND ? <> ?',
      })
    })

    it('has one for each way to ask, and the asker’s context in each callback and event', async () => {
      const wrong: string[] = []
      await request(9, async () => {
        const own = current()
        const look = (how: string) => own === current() || wrong.push(how)
        const callback = (how: string, done: () => void) => () => {
          look(how)
          done()
        }
        await new Promise<void>(done => client.query('SELECT 1', callback('text', done)))
        await new Promise<void>(done => client.query('SELECT $1::int', [2], callback('values', done)))
        await new Promise<void>(done => client.query({ text: 'SELECT 3', callback: callback('config', done) }))
        await client.query({ name: 'four', text: 'SELECT 4 + $1', values: [1] })
        const query = client.query(new pg.Query('SELECT 5'))
        query.on('row', () => look('row'))
        await once(query, 'end')
        const cursor = client.query(new Cursor('SELECT generate_series(1, 6)'))
        for (let more = true; more; )
          await new Promise<void>(done =>
            cursor.read(4, (_: unknown, rows: unknown[]) => {
              more = rows.length > 0
              callback('cursor', done)()
            }),
          )
        const closed = client.query(new Cursor('SELECT 7'))
        await new Promise<void>(done => closed.read(1, () => closed.close(callback('close', done))))
        const stream = client.query(new QueryStream('SELECT generate_series(1, 500)'))
        stream.on('data', () => look('data'))
        await once(stream, 'end')
        await client.query('SELECT 9')
      })
      assert.deepEqual(wrong, [])
      const text = (value: string) => `  SELECT (client) db.query.text="${value}"`
      assertTree(
        [
          'request',
          ...['SELECT ?', 'SELECT $1::int', 'SELECT ?', 'SELECT ? + $1', 'SELECT ?'].map(text),
          ...['SELECT generate_series(?, ?)', 'SELECT ?', 'SELECT generate_series(?, ?)', 'SELECT ?'].map(text),
        ].join('\n'),
        { annotations: ['db.query.text'] },
      )
    })

    it('tells of failures by SQLSTATE, without the values that the server repeats', async () => {
      const failing = new pg.Query('SELECT 4 FROM nowhere')
      failing.on('error', () => {})
      const spans = await request(5, async () => {
        await assert.rejects(
          client.query("DO $$ BEGIN RAISE EXCEPTION 'a secret' USING ERRCODE = '22023'; END $$"),
          /secret/,
        )
        await assert.rejects(client.query("SELECT 'secret'::int"), /secret/)
        await new Promise(done => client.query('SELECT $1::int', ['secret'], done))
        await assert.rejects(client.query("SELECT 'secret' FROM nothing WHERE"), /syntax/)
        client.query(failing)
        await new Promise(done => failing.once('error', done))
      })
      const failures = spans
        .slice(0, 5)
        .map(({ annotations }) => [
          annotations['error.type'],
          annotations['db.response.status_code'],
          annotations['error.message'],
        ])
      assert.deepEqual(failures, [
        ['22023', '22023', undefined],
        ['22P02', '22P02', 'invalid input syntax for type integer: …'],
        ['22P02', '22P02', 'invalid input syntax for type integer: …'],
        ['42601', '42601', 'syntax error at end of input'],
        ['42P01', '42P01', 'relation "nowhere" does not exist'],
      ])
    })

    it('leaves a rejection that nobody handles to the process', async () => {
      const before = process.listeners('unhandledRejection')
      process.removeAllListeners('unhandledRejection')
      try {
        const told = once(process, 'unhandledRejection')
        void span('request', () => {
          void client.query('SELECT nothing')
        })
        assert.match((await told)[0].message, /nothing/)
      } finally {
        for (const listener of before) process.on('unhandledRejection', listener)
      }
    })

    it('keeps each request’s context in a pool that has fewer clients, and tells of one that drops', async () => {
      const pool = new pg.Pool({ ...options, max: 1 })
      pool.on('error', () => {})
      const wrong: string[] = []
      const ask = (name: string) =>
        span(name, async own => {
          const look = () => own === current() || wrong.push(name)
          await new Promise<void>(done =>
            pool.connect((_: unknown, one: any, release: () => void) => {
              look()
              one.query('SELECT 1', () => {
                look()
                release()
                done()
              })
            }),
          )
          await new Promise<void>(done => pool.query('SELECT 2', () => done(void look())))
          await pool.query('SELECT 3')
          look()
        })
      const names = ['a', 'b', 'c', 'd']
      await Promise.all(names.map(ask))
      assert.deepEqual(wrong, [])
      await ended(16)
      assertTree(names.map(name => `${name}${'\n  SELECT (client)'.repeat(3)}`).join('\n'), { annotations: [] })
      start()
      const dropped = span('request', () => pool.query('SELECT pg_sleep(60)')).catch(() => {})
      const kill =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query = 'SELECT pg_sleep(60)'"
      await until('it has been killed', async () => (await client.query(kill)).rows.length > 0)
      await dropped
      const spans = await ended(3)
      const one = spans.find(({ annotations }) => annotations['db.query.text']?.startsWith('SELECT pg_sleep'))
      assert.ok(
        ['57P01', 'ECONNRESET', 'Error'].includes(one!.annotations['error.type']!),
        one?.annotations['error.type'],
      )
      await pool.end()
    })

    it('leaves what pg returns, its lengths and its listeners, and does nothing in a trace that isn’t sampled', async () => {
      await span('request', async () => {
        assert.ok(client.query('SELECT 1') instanceof Promise)
        assert.equal(
          client.query('SELECT 1', () => {}),
          undefined,
        )
        const query = new pg.Query('SELECT 1')
        assert.equal(client.query(query), query)
        assert.deepEqual(query.eventNames(), [])
        assert.equal(pg.Client.prototype.query.length, 3)
        assert.throws(() => client.query(null), TypeError)
        await once(query, 'end')
      })
      await ended(4)
      const spans = start({ sampler: 'never' })
      await client.query('SELECT 1')
      assert.deepEqual(spans, [])
    })
  })
}
