import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { createServer, type Server } from 'node:tls'
import { migrate, openStore, replayCollector } from '../../collector/src/store/open'
import type { Store } from '../../collector/src/store/store'
import {
  type CassandraServer,
  type MariaDbServer,
  startCassandra,
  startMariaDb,
  startOwnCassandra,
  startOwnMariaDb,
} from '../servers'
import { freePort } from '../servers/process'
import { bareTrace, Databases, type SharedCassandra, type SharedMariaDb, settled } from './databases'
import { append, found, soon, span, structs, tag, unique } from './store-contract'

/** Servers that ask for passwords, speak TLS, and can be stopped: one of each for all of this. */

const file = (name: string) => join(__dirname, '../fixtures/tls', name)
let cassandra: Promise<CassandraServer> | undefined
let mariaDb: Promise<MariaDbServer> | undefined

function ownCassandra(): Promise<CassandraServer> {
  cassandra ??= startOwnCassandra({ passwords: true })
  return cassandra
}

function ownMariaDb(): Promise<MariaDbServer> {
  mariaDb ??= startOwnMariaDb({ tls: { cert: file('cert.pem'), key: file('key.pem') } })
  return mariaDb
}

/** What waits for an answer gives it up after a tenth of its time. @returns what undoes it */
function hastenTimers(): () => void {
  const { setTimeout } = globalThis
  const hastened = (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => setTimeout(run, ms / 10, ...args)
  globalThis.setTimeout = hastened as typeof setTimeout
  return () => {
    globalThis.setTimeout = setTimeout
  }
}

describe('cassandra-mysql store, over TLS', () => {
  const servers: Server[] = []
  let databases: Databases<SharedCassandra, MariaDbServer>

  before(async function () {
    this.timeout(300_000)
    const own = ownMariaDb().catch(error => {
      if (process.env.MILO_TEST_MYSQL) this.skip()
      throw error
    })
    databases = new Databases(...(await Promise.all([startCassandra(), own])))
    const { mysql } = databases.config
    mysql.username = 'encrypted'
    await databases.sql('CREATE USER encrypted@127.0.0.1 IDENTIFIED BY ? REQUIRE SSL', [mysql.password])
    await databases.sql('GRANT ALL ON *.* TO encrypted@127.0.0.1')
  })
  after(async () => {
    for (const server of servers) server.close()
    await databases?.drop()
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
    await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
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

describe('cassandra-mysql store, behind passwords', () => {
  let databases: Databases<CassandraServer, SharedMariaDb>

  before(async function () {
    this.timeout(300_000)
    const own = ownCassandra().catch(error => {
      if (process.env.MILO_TEST_CASSANDRA) this.skip()
      throw error
    })
    databases = new Databases(...(await Promise.all([own, startMariaDb()])))
  })
  after(() => databases?.drop())

  it('is let in by Cassandra with its own, as a role that may make its keyspace and no more', async () => {
    await databases.cql("CREATE ROLE milo WITH PASSWORD = 'it''s milo' AND LOGIN = true")
    await databases.cql('GRANT CREATE ON ALL KEYSPACES TO milo')
    const { config } = databases
    const as = (username?: string, password?: string) => ({
      ...config,
      cassandra: { ...config.cassandra, username, password },
    })
    const store = await openStore(as('milo', "it's milo"))
    const record = span({ name: unique('known') })
    await append(store, record)
    await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
    assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
    await store.close()

    for (const refused of [as('milo', 'secret'), as('nobody', 'secret'), as()]) {
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
    const own = Promise.all([ownCassandra(), ownMariaDb()])
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

  for (const [name, where, server] of [
    ['MariaDB', '^MySQL at', () => databases.mariaDb],
    ['Cassandra', '^Cassandra at', () => databases.cassandra],
  ] as const) {
    for (const how of ['stop', 'kill'] as const) {
      it(`refuses writes after a ${how} of ${name}, keeps what it acknowledged, and works again once it is back`, async () => {
        const [kept, unsettled] = [span({ name: unique('kept') }), span({ name: unique('kept') })]
        await append(store, kept)
        await settled(store)
        await append(store, unsettled)
        const late = [span({}), span({}), span({})]
        // Under way while it ends: whatever comes of them, each must come to an answer.
        const underWay = Promise.allSettled(late.map(record => append(store, record)))
        await server()[how]()
        await underWay
        const long = bareTrace(100_000)
        await assert.rejects(append(store, ...long), away)
        await assert.rejects(store.check(), away)
        // MySQL says where a trace is in Cassandra.
        await assert.rejects(store.readTrace(kept.traceId), { ...away, message: new RegExp(where) })
        await server().start()
        await soon(writesAndReads, 30_000)
        // A connection that nobody has used since may be found closed: a sender then sends again.
        await soon(() => append(store, ...long), 30_000)
        assert.equal((await store.readTrace(long[0]!.traceId)).records.length, 100_000)
        for (const record of [kept, unsettled]) {
          await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
          assert.deepEqual(structs(await store.readTrace(record.traceId)), structs([record]))
        }
      })
    }
  }

  it('acknowledges when MariaDB hangs, says that it is away, and has everything once it goes on', async () => {
    const record = span({ name: unique('hangs') })
    databases.mariaDb.pause()
    let atLength = () => {}
    try {
      await append(store, record)
      atLength = hastenTimers()
      await assert.rejects(store.check(), away)
    } finally {
      atLength()
      databases.mariaDb.resume()
    }
    await soon(writesAndReads, 30_000)
    await soon(async () => assert.deepEqual(await found(store, { name: record.name }), [record.traceId]))
  })

  it('says which database it misses, at start too, and never a password', async () => {
    const secret = 'correct horse'
    const wrong = structuredClone(databases.config)
    wrong.mysql.password = secret
    const wrongToo = structuredClone(wrong)
    wrongToo.cassandra.password = secret
    const check = (pattern: RegExp) => (error: any) => {
      const everything = `${error.stack} ${JSON.stringify(error)} ${Object.values(error)} ${error.cause}`
      assert.match(error.message, pattern)
      assert.doesNotMatch(error.message, /\n/)
      assert.ok(!everything.includes(secret), everything)
      return true
    }
    await assert.rejects(openStore(wrong), check(/^MySQL at .*Access denied/))
    await assert.rejects(openStore(wrongToo), check(/^Cassandra at .*incorrect/))
    const elsewhere = structuredClone(databases.config)
    elsewhere.cassandra.local_dc = 'elsewhere'
    await assert.rejects(openStore(elsewhere), check(/^Cassandra at .*'elsewhere'.*datacenter1/))
    await databases.mariaDb.stop()
    await assert.rejects(migrate(databases.config), check(/^MySQL at .*ECONNREFUSED/))
    const bothAway = structuredClone(databases.config)
    bothAway.cassandra.port = await freePort()
    await assert.rejects(migrate(bothAway), check(/ECONNREFUSED/))
    await assert.rejects(
      replayCollector(bothAway, 'x', () => {}),
      check(/^Cassandra at .*ECONNREFUSED/),
    )
  })

  it('waits for databases that are away at start, says which, and then has everything', async () => {
    const lines: string[] = []
    const waiting = await openStore(databases.collector('waiting'), line => lines.push(line))
    try {
      await assert.rejects(append(waiting, span({})), { ...away, message: /^MySQL at .*ECONNREFUSED/ })
      await assert.rejects(waiting.readTrace(1n), away)
      await assert.rejects(waiting.search({ annotations: [], limit: 1 }), away)
      await assert.rejects(waiting.check(), away)
      assert.equal(waiting.backlog().spans, 0)
      assert.match(lines.join('\n'), /^MySQL at .*ECONNREFUSED.*no spans are accepted until/)
      waiting.setIndex({ deny: ['secret'] })
      await databases.mariaDb.start()
      const record = span({ name: unique('late'), tags: { secret: 'x' } })
      await soon(() => append(waiting, record), 30_000)
      await soon(async () => assert.deepEqual(await found(waiting, { name: record.name }), [record.traceId]))
      await assert.rejects(found(waiting, { annotations: [tag('secret')] }), { code: 'MILO_NOT_INDEXED' })
      assert.match(lines.at(-1)!, /databases are available/)
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
