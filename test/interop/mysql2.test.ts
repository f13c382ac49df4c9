import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { join } from 'node:path'
import { mysql2 } from '../../plugins/mysql2'
import { span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop, type TestSpan } from '../../src/testing'
import { ended } from '../helpers/ended'
import { lookup } from '../helpers/lookup'
import { until } from '../helpers/until'
import { startMariaDb } from '../servers'
import { npmPackages } from '../servers/npm'
import { freePort } from '../servers/process'

/** Spans of mysql2, at the oldest and the newest version, against MariaDB. Contexts are in pools.test.ts. */

const SHOWN = { annotations: ['db.query.text', 'error.type', 'db.response.status_code'] }

for (const version of ['2.0.0', '3.24.6']) {
  describe(`mysql2 ${version}`, function () {
    this.timeout(180_000)
    let mysql: any
    let connection: any
    let options: any

    before(async () => {
      start({ logLevel: 'error' })
      install([mysql2])
      mysql = createRequire(join(await npmPackages(`mysql2@${version}`), 'app.js'))('mysql2')
      const { host, port, username, password } = await startMariaDb()
      options = { host, port, user: username, password, database: 'information_schema' }
      connection = mysql.createConnection(options)
      await connection.promise().query('SELECT 1')
    })

    beforeEach(() => {
      start()
    })

    afterEach(() => stop())

    after(() => connection?.destroy())

    /** Runs something in a span named request, and waits for that and `count` more. */
    async function request(count: number, ask: (done: (error?: unknown) => void) => void): Promise<TestSpan[]> {
      await span('request', () => new Promise<void>(resolve => ask(() => resolve())))
      return ended(count + 1)
    }

    it('has spans with the database’s keys, and no values', async () => {
      const [one] = await request(1, done =>
        connection.query('SELECT table_name FROM tables WHERE table_name = ? AND 3 > 2', ['secret'], done),
      )
      assert.equal(one!.name, 'SELECT tables')
      assert.equal(one!.kind, 'client')
      assert.deepEqual(one!.annotations, {
        'db.system.name': 'mysql',
        'db.namespace': 'information_schema',
        'server.address': options.host,
        'server.port': String(options.port),
        'db.operation.name': 'SELECT',
        'db.query.summary': 'SELECT tables',
        'db.query.text': 'SELECT table_name FROM tables WHERE table_name = ? AND ? > ?',
      })
    })

    it('has one for each way to ask: callbacks, promises, prepared statements, events, streams', async () => {
      await request(8, async done => {
        await new Promise(resolve => connection.query('SELECT 1', resolve))
        await new Promise(resolve => connection.execute('SELECT 2 + ?', [1], resolve))
        await connection.promise().query('SELECT 3')
        await connection.promise().execute('SELECT 4 + ?', [1])
        const statement = await connection.promise().prepare('SELECT 5 + ?')
        await statement.execute([1])
        await once(connection.query('SELECT 6'), 'end')
        const rows = connection.query('SELECT 7 UNION SELECT 8').stream()
        await once(rows.resume(), 'end')
        done()
      })
      assertTree(
        `
        request
          SELECT (client) db.query.text="SELECT ?"
          SELECT (client) db.query.text="SELECT ? + ?"
          SELECT (client) db.query.text="SELECT ?"
          SELECT (client) db.query.text="SELECT ? + ?"
          SELECT (client) db.query.text="SELECT ? + ?"
          SELECT (client) db.query.text="SELECT ? + ?"
          SELECT (client) db.query.text="SELECT ?"
          SELECT (client) db.query.text="SELECT ? UNION SELECT ?"`,
        SHOWN,
      )
    })

    it('lets no literal and no parameter out, whatever fails', async () => {
      await connection.promise().query('CREATE DATABASE IF NOT EXISTS milo_messages')
      const table = "(a VARCHAR(20) PRIMARY KEY, b INT, c DATETIME, d ENUM('x'), e DECIMAL(3,1))"
      await connection.promise().query(`CREATE OR REPLACE TABLE milo_messages.held ${table}`)
      const bound = [
        'INSERT INTO milo_messages.held (a) VALUES (?), (?)',
        ...['b', 'c', 'd', 'e'].map(column => `INSERT INTO milo_messages.held (${column}) VALUES (?)`),
        'INSERT INTO milo_messages.held (a) VALUES (CONCAT(?, REPEAT("x", 30)))',
        "SELECT EXTRACTVALUE('<a/>', ?)",
        "SELECT 'a' REGEXP CONCAT('(', ?)",
        'SELECT ST_GeomFromText(?)',
        'SET sql_mode = ?',
        'SET time_zone = ?',
        'SET character_set_client = ?',
        'SELECT nothing FROM milo_messages.held WHERE a = ?',
        'KILL QUERY 77777777',
      ]
      const values = [
        'Xsecret77',
        "it's Xsecret77",
        '"Xsecret77" held',
        'held.Xsecret77',
        '`held` Xsecret77',
        '77777777777777777777',
      ]
      const spans = start()
      let asked = 0
      const ask = (text: string, params: string[], how: 'query' | 'execute' = 'query') => {
        asked++
        return span('request', () =>
          connection
            .promise()
            [how](text, params)
            .catch(() => {}),
        )
      }
      for (const value of values) {
        const literal = mysql.escape(value)
        for (const text of bound) {
          const params = text
            .split('?')
            .slice(1)
            .map(() => value)
          await ask(text, params)
          await ask(text, params, 'execute')
          await ask(text.replaceAll('?', literal), [])
        }
        const others = [
          `SELECT ${literal} nonsense '`,
          `SELECT ${literal}(`,
          `PREPARE s FROM ${literal}`,
          `SET NAMES ${literal}`,
        ]
        const files = [`LOAD DATA INFILE ${literal} INTO TABLE milo_messages.held`, `SELECT LOAD_FILE(${literal}`]
        const signal = `SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = ${literal}`
        for (const text of [...others, ...files, signal]) await ask(text, [])
      }
      await until('all have ended', () => spans.filter(one => one.name === 'request').length === asked)
      assert.ok(spans.filter(one => one.annotations['error.type'] !== undefined).length > asked / 2)
      assert.doesNotMatch(
        JSON.stringify(spans.map(({ name, annotations, events }) => [name, annotations, events])),
        /secret77|77777/i,
      )
      assert.ok(spans.some(one => one.annotations['error.message']?.startsWith("Unknown column 'nothing' in '")))
    })

    it('tells of failures by their codes, without the values that the server repeats', async () => {
      const spans = await request(5, async done => {
        await connection
          .promise()
          .query("SELECT nothing FROM tables WHERE 'secret'")
          .catch(() => {})
        await connection
          .promise()
          .execute("SELECT 'secret' nonsense '")
          .catch(() => {})
        await new Promise(resolve => connection.execute('SELECT CAST(? AS INT) FROM nowhere', ['secret'], resolve))
        await connection
          .promise()
          .query("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a secret'")
          .catch(() => {})
        const failing = connection.query('SELECT 1 + oh')
        failing.on('error', () => {})
        await new Promise(resolve => failing.on('end', resolve))
        done()
      })
      assertTree(
        `
        request
          "SELECT tables" (client) db.query.text="SELECT nothing FROM tables WHERE ?" error.type=ER_BAD_FIELD_ERROR db.response.status_code=1054
          SELECT (client) db.query.text="SELECT ? nonsense ?" error.type=ER_PARSE_ERROR db.response.status_code=1064
          "SELECT nowhere" (client) db.query.text="SELECT CAST(? AS INT) FROM nowhere" error.type=ER_UNKNOWN_TABLE db.response.status_code=1109
          SIGNAL (client) db.query.text="SIGNAL SQLSTATE ? SET MESSAGE_TEXT = ?" error.type=ER_SIGNAL_EXCEPTION db.response.status_code=1644
          SELECT (client) db.query.text="SELECT ? + oh" error.type=ER_BAD_FIELD_ERROR db.response.status_code=1054`,
        SHOWN,
      )
      const messages = spans.flatMap(one => one.annotations['error.message'] ?? [])
      assert.match(messages[0]!, /^Unknown column 'nothing' in /)
      assert.match(messages[1]!, /near …$/)
      assert.ok(messages.every(message => !message.includes('secret')))
    })

    it('keeps all of a statement, or nothing, if asked for', async () => {
      start({ statements: 'all' })
      const [all] = await request(1, done => connection.query('SELECT 1 /* me */', done))
      assert.equal(all!.annotations['db.query.text'], 'SELECT 1 /* me */')
      start({ statements: 'none' })
      const [none] = await request(1, done => connection.query("SELECT no FROM tables WHERE 'x'", done))
      assert.equal(none!.annotations['db.query.text'], undefined)
      assert.equal(none!.name, 'SELECT tables')
    })

    it('begins a trace where nothing is current, and does nothing in one that isn’t sampled', async () => {
      const spans = start()
      await connection.promise().query('SELECT 1 FROM tables LIMIT 1')
      assertTree('"SELECT tables" (client)', { annotations: [] })
      start({ sampler: 'never' })
      await connection.promise().query('SELECT 2')
      start()
      await connection.promise().query('SELECT 3')
      assert.equal((await ended(1))[0]!.name, 'SELECT')
      assert.equal(spans.length, 1)
    })

    it('ends the spans of a connection that drops or is destroyed within a query, also of those that wait and have no callback', async () => {
      for (const [how, type] of [
        ['drop', 'PROTOCOL_CONNECTION_LOST'],
        ['destroy', 'aborted'],
      ] as const) {
        start()
        const other = mysql.createConnection(options)
        other.on('error', () => {})
        await other.promise().query('SELECT 1')
        start()
        span('request', () => {
          other.query('SELECT SLEEP(60)', () => {})
          other.query('SELECT 1')
          other.query('SELECT 2', () => {})
        })
        if (how === 'drop') other.stream.destroy()
        else other.destroy()
        const spans = await ended(4)
        assert.deepEqual(
          spans.filter(one => one.kind === 'client').map(one => one.annotations['error.type']),
          [type, type, type],
        )
        // A connection that is closed answers as well.
        start()
        await span('late', () => new Promise(resolve => other.query('SELECT 3', resolve)))
        assert.ok((await ended(2))[0]!.annotations['error.type'])
        other.stream.destroy()
      }
    })

    it('has the spans of a cluster’s and a pool’s queries in the traces of those who asked', async () => {
      const cluster = mysql.createPoolCluster()
      cluster.add('ONE', { ...options, connectionLimit: 1 })
      // The oldest version's cluster gives connections alone.
      const ask = (name: string) =>
        span(
          name,
          () =>
            new Promise<void>((resolve, reject) =>
              cluster.of('*').getConnection((error: unknown, one: any) => {
                if (error) return reject(error)
                one.query(`SELECT '${name}' ${name}`, () => {
                  one.release()
                  resolve()
                })
              }),
            ),
        )
      await Promise.all(['a', 'b', 'c'].map(ask))
      await ended(6)
      cluster.end()
      assertTree(
        ['a', 'b', 'c'].map(name => `${name}\n  SELECT (client) db.query.text="SELECT ? ${name}"`).join('\n'),
        SHOWN,
      )
    })

    it('has one span, with the error, of a statement that gets no connection from a pool', async () => {
      const port = await freePort()
      const pool = mysql.createPool({ ...options, host: '127.0.0.1', port })
      const spans = await request(6, async done => {
        const asked = new Promise(resolve => pool.query("SELECT 1 FROM tables WHERE 'secret'", resolve))
        span('asked later', () => {})
        await asked
        await new Promise(resolve => pool.execute('SELECT ?', ['secret'], resolve))
        await assert.rejects(pool.promise().query({ sql: 'SELECT 3' }), /ECONNREFUSED/)
        await assert.rejects(pool.promise().execute('SELECT 4 + ?', [1]), /ECONNREFUSED/)
        await once(pool.query('SELECT 5'), 'error').catch(() => {})
        pool.getConnection(() => done())
      })
      const failed = `error.type=ECONNREFUSED error.message="connect ECONNREFUSED 127.0.0.1:${port}"`
      assertTree(
        `
        request
          "SELECT tables" (client) server.port=${port} db.query.text="SELECT ? FROM tables WHERE ?" ${failed}
          "asked later"
          SELECT (client) server.port=${port} db.query.text="SELECT ?" ${failed}
          SELECT (client) server.port=${port} db.query.text="SELECT ?" ${failed}
          SELECT (client) server.port=${port} db.query.text="SELECT ? + ?" ${failed}
          SELECT (client) server.port=${port} db.query.text="SELECT ?" ${failed}`,
        { annotations: ['db.query.text', 'error.type', 'error.message', 'server.port'] },
      )
      const [first, later] = ['SELECT tables', 'asked later'].map(name => spans.find(one => one.name === name)!)
      assert.ok(first!.startUs <= later!.startUs, 'it began when it was asked for')
      pool.end()
    })

    it('has one span of a statement that waits for a pool’s connection and gets it', async () => {
      const pool = mysql.createPool({ ...options, connectionLimit: 1 })
      await request(3, async done => {
        await Promise.all(['1', '2'].map(n => pool.promise().query(`SELECT ${n}`)))
        await pool.promise().execute('SELECT ?', [3])
        done()
      })
      assertTree(`request${'\n  SELECT (client)'.repeat(3)}`, { annotations: ['error.type'] })
      pool.end()
    })

    it('has one of a cluster’s statement that gets no connection', async function () {
      const cluster = mysql.createPoolCluster({ canRetry: false })
      const port = await freePort()
      cluster.add('ONE', { ...options, host: '127.0.0.1', port })
      const of = cluster.of('*')
      // The oldest version's cluster gives connections alone.
      if (of.query === undefined) this.skip()
      await request(2, async done => {
        await new Promise(resolve => of.query('SELECT 1', resolve))
        await new Promise(resolve => of.execute('SELECT ?', [1], resolve))
        done()
      })
      cluster.end()
      const failed = `  SELECT (client) server.port=${port} error.type=ECONNREFUSED`
      assertTree(`request\n${failed}\n${failed}`, { annotations: ['error.type', 'server.port'] })
    })

    it('tells why each address of a name refused, and what a closed connection says', async () => {
      const port = await freePort()
      const stream = () => connect({ port, host: 'many.test', lookup, autoSelectFamily: true })
      const other = mysql.createConnection({ ...options, stream })
      other.on('error', () => {})
      const [refused] = await request(1, done => other.query('SELECT 1', done))
      assert.equal(refused!.annotations['error.type'], 'ECONNREFUSED')
      assert.equal(
        refused!.annotations['error.message'],
        `connect ECONNREFUSED 127.0.0.1:${port}; connect ECONNREFUSED 127.0.0.2:${port}`,
      )
      start()
      const [closed] = await request(1, done => other.execute('SELECT ?', [1], done))
      assert.equal(closed!.annotations['error.message'], "Can't add new command when connection is in closed state")
    })

    it('leaves what mysql2 returns, its lengths and its listeners', async () => {
      start()
      await span('request', async () => {
        const query = connection.query('SELECT 1')
        assert.equal(query.constructor.name, 'Query')
        assert.equal(query.listenerCount('end'), 0)
        assert.equal(connection.query.length, 3)
        assert.equal(connection.execute.length, 3)
        assert.equal(connection.addCommand.length, 1)
        await once(query, 'end')
      })
      await ended(2)
    })
  })
}
