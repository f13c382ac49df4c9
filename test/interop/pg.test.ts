import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { pg as plugin } from '../../plugins/pg'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop, type TestSpan } from '../../src/testing'
import { ended } from '../helpers/ended'
import { lookup } from '../helpers/lookup'
import { until } from '../helpers/until'
import { startPostgres } from '../servers'
import { npmPackages } from '../servers/npm'
import { freePort } from '../servers/process'

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

    it('lets no literal and no parameter out, whatever fails', async () => {
      const table =
        'CREATE TEMP TABLE IF NOT EXISTS held (a text PRIMARY KEY, b int CHECK (b < 5), c varchar(3), d date)'
      await client.query(table)
      const values = [
        'Xsecret77',
        "it's Xsecret77",
        '"Xsecret77" held',
        'held.Xsecret77',
        'a: Xsecret77, 2',
        '77777777777777777777',
      ]
      const bound = [
        ...[
          'int',
          'date',
          'uuid',
          'inet',
          'json',
          'bool',
          'interval',
          'point',
          'regclass',
          'tsquery',
          'bytea',
          'bit(3)',
        ].map(type => `SELECT $1::text::${type}`),
        ...[
          'now() AT TIME ZONE $1',
          "to_date('a', $1)",
          'current_setting($1)',
          'set_config($1, $1, false)',
          'nextval($1)',
        ].map(text => `SELECT ${text}`),
        ...["decode($1, 'hex')", "regexp_replace('a', '(' || $1, '')", "has_table_privilege($1, 'select')"].map(
          text => `SELECT ${text}`,
        ),
        "SELECT jsonb_path_query('{}', $1::text::jsonpath), to_tsquery($1)",
        'INSERT INTO held (a) VALUES ($1), ($1)',
        'INSERT INTO held (c) VALUES ($1)',
        'INSERT INTO held (b) VALUES (77777)',
        'SELECT nothing FROM held WHERE a = $1',
      ]
      const spans = start()
      let asked = 0
      const ask = (text: string, params?: string[]) => {
        asked++
        return span('request', () => client.query(text, params).catch(() => {}))
      }
      for (const value of values) {
        const literal = `'${value.replaceAll("'", "''")}'`
        for (const text of bound) {
          await ask(text, text.includes('$1') ? [value] : [])
          await ask(text.replaceAll('$1', literal))
        }
        const others = [
          `SELECT ${literal} ${literal}`,
          `SET TIME ZONE ${literal}`,
          `SET datestyle = ${literal}`,
          `SELECT (${literal}`,
        ]
        for (const text of [...others, `DO $$ BEGIN RAISE EXCEPTION ${literal}; END $$`]) await ask(text)
      }
      await until('all have ended', () => spans.filter(one => one.name === 'request').length === asked)
      assert.ok(spans.filter(one => one.annotations['error.type'] !== undefined).length > asked / 2)
      assert.doesNotMatch(
        JSON.stringify(spans.map(({ name, annotations, events }) => [name, annotations, events])),
        /secret77|77777/i,
      )
      assert.ok(spans.some(one => one.annotations['error.message'] === 'column "nothing" does not exist'))
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
        class Own extends Promise<unknown> {}
        const other = new pg.Client({ ...options, Promise: Own } as object)
        await other.connect()
        const toldOfOwn = once(process, 'unhandledRejection')
        const query = span('request', () => [other.query('SELECT nowhere')])
        assert.ok(query[0] instanceof Own)
        assert.match((await toldOfOwn)[0].message, /nowhere/)
        await other.end()
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

    it('has one span, with the error, of a statement that gets no client from a pool', async () => {
      const port = await freePort()
      const pool = new pg.Pool({ connectionString: `postgres://ada:secret@127.0.0.1:${port}/shop` })
      const spans = await request(4, async () => {
        const asked = new Promise(done => pool.query("SELECT 1 FROM pg_class WHERE 'secret' <> ''", done))
        span('asked later', () => {})
        await asked
        await new Promise(done => pool.query('SELECT $1', ['secret'], done))
        await assert.rejects(pool.query({ text: 'SELECT 3' }), /ECONNREFUSED/)
        await assert.rejects(pool.connect(), /ECONNREFUSED/)
      })
      const [where, failed] = [
        `db.namespace=shop server.port=${port}`,
        `error.type=ECONNREFUSED error.message="connect ECONNREFUSED 127.0.0.1:${port}"`,
      ]
      assertTree(
        `
        request
          "SELECT pg_class" (client) ${where} db.query.text="SELECT ? FROM pg_class WHERE ? <> ?" ${failed}
          "asked later"
          SELECT (client) ${where} db.query.text="SELECT $1" ${failed}
          SELECT (client) ${where} db.query.text="SELECT ?" ${failed}`,
        { annotations: ['db.namespace', 'db.query.text', 'error.type', 'error.message', 'server.port'] },
      )
      const [first, later] = ['SELECT pg_class', 'asked later'].map(name => spans.find(one => one.name === name)!)
      assert.ok(first!.startUs <= later!.startUs, 'it began when it was asked for')
      await pool.end()
    })

    it('tells why each address of a name refused', async function () {
      // The oldest version takes no function that makes streams.
      if (version === '8.0.3') this.skip()
      const port = await freePort()
      const stream = () => {
        const socket = new Socket()
        const { connect } = socket as any
        return Object.assign(socket, {
          connect: (port: number, host: string) => connect.call(socket, { port, host, lookup, autoSelectFamily: true }),
        })
      }
      const pool = new pg.Pool({ ...options, host: 'many.test', port, stream })
      const [refused] = await request(1, () => assert.rejects(pool.query('SELECT 1')))
      assert.equal(
        refused!.annotations['error.message'],
        `connect ECONNREFUSED 127.0.0.1:${port}; connect ECONNREFUSED 127.0.0.2:${port}`,
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
