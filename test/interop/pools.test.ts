import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { cassandraDriver } from '../../plugins/cassandra-driver'
import { mysql2 } from '../../plugins/mysql2'
import * as cls from '../../src/cls/namespaces'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { start, stop } from '../../src/testing'
import { until } from '../helpers/until'
import { startCassandra, startMariaDb } from '../servers'
import { npmPackages } from '../servers/npm'

/*
 * A pool hands a connection that one request has opened to another one, and a request that waits for one to another that
 * frees it. What comes back must come in the context of whoever asked: Milo's span, a namespace's context, and the
 * application's own AsyncLocalStorage.
 */

const storage = new AsyncLocalStorage<string>()
const namespace = cls.createNamespace<{ name: string }>('pools')

type Way = (query: (result: unknown) => void, failed: (error: unknown) => void) => void

/** Asks in many contexts at once, far more than there are connections; each answer must find its own. */
async function inManyContexts(way: Way, fails = false): Promise<void> {
  const spans = start()
  const requests = Array.from({ length: 12 }, (_, i) => `request-${i}`)
  await Promise.all(
    requests.map(name =>
      storage.run(name, () =>
        namespace.runAndReturn(() => {
          namespace.set('name', name)
          return span(name, async own => {
            const found = await new Promise<unknown>((resolve, reject) => {
              const look = () => {
                resolve([storage.getStore(), namespace.get('name'), current().spanId])
                span(`work-of-${name}`, () => {})
              }
              if (fails) way(() => reject(new Error('it did not fail')), look)
              else way(look, reject)
            })
            assert.deepEqual(found, [name, name, own.spanId])
          })
        }),
      ),
    ),
  )
  const locals = () => spans.filter(one => one.kind === 'local')
  await until('all have ended', () => locals().length === 24)
  for (const name of requests) {
    const { spanId } = locals().find(one => one.name === name)!
    assert.equal(locals().find(one => one.name === `work-of-${name}`)?.parentId, spanId)
    // What each asked the database is below it as well. With some drivers it ends after the first row.
    await until('a statement of this request has ended', () =>
      spans.some(one => one.kind === 'client' && one.parentId === spanId),
    )
  }
  stop()
}

const callback =
  (ask: (done: (error: unknown, result?: unknown) => void) => void): Way =>
  (look, failed) =>
    ask((error, result) => (error ? failed(error) : look(result)))

const promise =
  (ask: () => PromiseLike<unknown>): Way =>
  (look, failed) =>
    void ask().then(look, failed)

/** Another copy of the package than the collector's, which other tests may have loaded. */
async function load(name: string, version: string): Promise<any> {
  const folder = await npmPackages(`${name}@${version}`)
  return createRequire(join(folder, 'app.js'))(name)
}

describe('pools', function () {
  this.timeout(180_000)

  before(() => {
    start({ logLevel: 'error' })
    install([mysql2, cassandraDriver])
  })

  // After a failure too.
  afterEach(() => stop())

  for (const version of ['2.0.0', '3.9.9', '3.24.6'])
    describe(`of mysql2 ${version}`, () => {
      let pool: any

      before(async () => {
        const mysql = await load('mysql2', version)
        const { host, port, username, password } = await startMariaDb()
        pool = mysql.createPool({ host, port, user: username, password, connectionLimit: 2 })
      })

      after(done => {
        if (pool) pool.end(() => done())
        else done()
      })

      const ways: Record<string, [Way, boolean?]> = {
        'query’s callback': [callback(done => pool.query('SELECT 1 + 1', done))],
        'query’s callback with values': [callback(done => pool.query('SELECT ? + 1', [1], done))],
        'execute’s callback': [callback(done => pool.execute('SELECT ? + 1', [1], done))],
        'query’s promise': [promise(() => pool.promise().query('SELECT 1 + 1'))],
        'execute’s promise': [promise(() => pool.promise().execute('SELECT ? + 1', [1]))],
        'the callback of a query that fails': [callback(done => pool.query('SELECT nonsense', done)), true],
        'the promise of a query that fails': [promise(() => pool.promise().execute('SELECT nonsense')), true],
        'getConnection’s callback, and the query’s on it': [
          callback(done =>
            pool.getConnection((error: unknown, connection: any) => {
              if (error) return done(error)
              const here = current()
              connection.query('SELECT 1 + 1', (failed: unknown, rows: unknown) => {
                connection.release()
                done(
                  failed ?? (here === current() ? null : new Error('getConnection’s callback has another span')),
                  rows,
                )
              })
            }),
          ),
        ],
        'getConnection’s promise': [
          promise(async () => {
            const connection = await pool.promise().getConnection()
            await connection.beginTransaction()
            const [rows] = await connection.query('SELECT 1 + 1')
            await connection.commit()
            connection.release()
            return rows
          }),
        ],
        'a query’s events': [
          (look, failed) => {
            const query = pool.query('SELECT 1 + 1')
            query.on('result', look)
            query.on('error', failed)
          },
        ],
        'a query’s stream': [
          (look, failed) => {
            const stream = pool.query('SELECT 1 + 1').stream()
            stream.on('data', look)
            stream.on('error', failed)
          },
        ],
      }
      for (const [name, [way, fails]] of Object.entries(ways)) {
        it(`keep the context in ${name}`, () => inManyContexts(way, fails))
      }
    })

  for (const version of ['4.0.0', '4.10.0'])
    describe(`of cassandra-driver ${version}`, () => {
      let Client: any
      let client: any
      let options: object

      before(async () => {
        Client = (await load('cassandra-driver', version)).Client
        const { host, port, localDataCenter } = await startCassandra()
        options = { contactPoints: [`${host}:${port}`], localDataCenter }
        client = new Client(options)
        await client.connect()
      })

      after(() => client?.shutdown())

      const query = 'SELECT key FROM system.local'
      const bound = 'SELECT key FROM system.local WHERE key = ?'
      const ways: Record<string, [Way, boolean?]> = {
        'execute’s callback': [callback(done => client.execute(query, done))],
        'execute’s promise': [promise(() => client.execute(query))],
        'a prepared statement’s callback': [
          callback(done => client.execute(bound, ['local'], { prepare: true }, done)),
        ],
        'a prepared statement’s promise': [promise(() => client.execute(bound, ['local'], { prepare: true }))],
        'the callback of one that fails': [callback(done => client.execute('SELECT nonsense', done)), true],
        'the promise of one that fails': [promise(() => client.execute('SELECT nonsense')), true],
        'a batch’s callback': [callback(done => client.batch(['SELECT nonsense'], done)), true],
        'eachRow’s callbacks': [
          (look, failed) =>
            client.eachRow(
              query,
              [],
              { prepare: true },
              (_n: number, row: unknown) => look(row),
              (error: unknown) => error && failed(error),
            ),
        ],
        'a stream': [
          (look, failed) => {
            const stream = client.stream(query, [], { prepare: true })
            stream.on('data', look)
            stream.on('error', failed)
          },
        ],
        'a first query, which connects': [
          callback(done => {
            const own = new Client(options)
            own.execute(query, (error: unknown, result: unknown) => {
              done(error, result)
              own.shutdown(() => {})
            })
          }),
        ],
      }
      for (const [name, [way, fails]] of Object.entries(ways)) {
        it(`keep the context in ${name}`, () => inManyContexts(way, fails))
      }
    })
})
