import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { cassandraDriver } from '../../plugins/cassandra-driver'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop, type TestSpan } from '../../src/testing'
import { ended } from '../helpers/ended'
import { until } from '../helpers/until'
import { startCassandra } from '../servers'
import { npmPackages } from '../servers/npm'
import { freePort } from '../servers/process'

/** Spans of cassandra-driver, at the oldest and the newest version of 4. Contexts are in pools.test.ts. */

for (const version of ['4.0.0', '4.10.0']) {
  describe(`cassandra-driver ${version}`, function () {
    this.timeout(180_000)
    let Client: any
    let client: any
    let server: { host: string; port: number; localDataCenter: string }

    before(async () => {
      start({ logLevel: 'error' })
      install([cassandraDriver])
      ;({ Client } = createRequire(join(await npmPackages(`cassandra-driver@${version}`), 'app.js'))(
        'cassandra-driver',
      ))
      server = await startCassandra()
      const { host, port, localDataCenter } = server
      client = new Client({ contactPoints: [`${host}:${port}`], localDataCenter, keyspace: 'system' })
      await client.connect()
    })

    after(async () => {
      await client?.shutdown()
      stop()
    })

    it('has one span for each call, over all pages, and none has a value', async () => {
      start()
      const query = 'SELECT key FROM system.local'
      await span('request', async () => {
        await client.execute(`${query} WHERE key = 'local'`)
        await new Promise(done => client.execute(`${query} WHERE key = ?`, ['local'], { prepare: true }, done))
        const paged = 'SELECT column_name FROM system_schema.columns'
        await new Promise(done => client.eachRow(paged, [], { fetchSize: 20, autoPage: true }, () => {}, done))
        await once(client.stream(paged, [], { fetchSize: 20, autoPage: true }).resume(), 'end')
        await assert.rejects(client.execute("SELECT nothing FROM system.local WHERE key = 'secret'"))
        await assert.rejects(client.batch([{ query: 'INSERT INTO nowhere (a) VALUES (?)', params: ['secret'] }]))
      })
      const [first] = await ended(7)
      assert.deepEqual(first!.annotations, {
        'db.system.name': 'cassandra',
        'db.namespace': 'system',
        'db.operation.name': 'SELECT',
        'db.query.summary': 'SELECT system.local',
        'db.query.text': `${query} WHERE key = ?`,
        'server.address': server.host,
        'server.port': String(server.port),
      })
      assertTree(
        `
        request
          "SELECT system.local" (client)
          "SELECT system.local" (client)
          "SELECT system_schema.columns" (client)
          "SELECT system_schema.columns" (client)
          "SELECT system.local" (client) error.type=8704
          "BATCH nowhere" (client) db.operation.batch.size=1 error.type=8704`,
        { annotations: ['error.type', 'db.operation.batch.size'] },
      )
    })

    it('lets no literal and no parameter out, whatever fails', async () => {
      const values = ['Xsecret77', "it's Xsecret77", '"Xsecret77" key', 'key.Xsecret77', '77777777777777777777']
      const wheres = [
        'rpc_port',
        'host_id',
        'listen_address',
        'tokens',
        'gossip_generation',
        'key',
        'nothing',
        'token(key)',
      ]
      const spans = start()
      let asked = 0
      const ask = (text: string, params: unknown[] = [], options = {}) => {
        asked++
        return span('request', () => client.execute(text, params, options).catch(() => {}))
      }
      for (const value of values) {
        const literal = `'${value.replaceAll("'", "''")}'`
        for (const where of wheres) {
          const text = `SELECT key FROM system.local WHERE ${where} = `
          await ask(`${text}?`, [value])
          await ask(`${text}?`, [value], { prepare: true })
          await ask(`${text}?`, [{ [value]: value }], { prepare: true })
          await ask(`${text}${literal}`)
          await ask(`${text}$$${value}$$`)
        }
        await ask(`SELECT ${literal} ${literal}`)
        await ask(`SELECT key FROM system.local WHERE key = ${literal} LIMIT -77777`)
        await ask('SELECT key FROM system.local LIMIT ?', [-77777], { prepare: true })
        await ask(`SELECT now(${literal}) FROM system.local`)
        await ask(`INSERT INTO system.local JSON ${literal}`)
        await ask(`INSERT INTO system.local (key) VALUES (${literal}) USING TTL 7777777777`)
        await ask(`SELECT key FROM system.local WHERE key = ${literal.slice(0, -1)}`)
      }
      const ended = () => spans.filter(one => one.name === 'request').length === asked
      await until('all have ended', ended)
      assert.ok(spans.filter(one => one.annotations['error.type'] !== undefined).length > asked / 2)
      assert.doesNotMatch(
        JSON.stringify(spans.map(({ name, annotations, events }) => [name, annotations, events])),
        /secret77|77777/i,
      )
      assert.ok(spans.some(one => /^Undefined (column )?name nothing/.test(one.annotations['error.message'] ?? '')))
    })

    it('tells why each host failed', async () => {
      const port = await freePort()
      const hosts = ['127.0.0.1', '127.0.0.2'].map(host => `${host}:${port}`)
      const down = new Client({ contactPoints: hosts, localDataCenter: 'any' })
      start()
      await span('request', () => assert.rejects(down.execute("SELECT a FROM t WHERE k = 'secret'"), /All host/))
      const [{ annotations }] = (await ended(2)) as [TestSpan]
      assert.equal(annotations['error.type'], 'NoHostAvailableError')
      const reasons = hosts.map(host => `(?=.*connect ECONNREFUSED ${host}(;|$))`)
      assert.match(annotations['error.message']!, new RegExp(`^All hosts failed: ${reasons.join('')}`))
      await down.shutdown()
    })

    it('ends the spans of a connection that drops within a query, in the context of whoever asked', async () => {
      const sockets: Socket[] = []
      const proxy = createServer(asking => {
        const answering = connect(server.port, server.host)
        sockets.push(asking, answering)
        for (const socket of [asking, answering]) socket.on('error', () => {})
        answering.pipe(asking)
        asking.on('data', data => {
          if (data.includes('dropped')) for (const socket of sockets) socket.destroy()
          else answering.write(data)
        })
      }).listen(0, '127.0.0.1')
      await once(proxy, 'listening')
      const { port } = proxy.address() as AddressInfo
      const { localDataCenter } = server
      const other = new Client({ contactPoints: [`127.0.0.1:${port}`], localDataCenter, protocolOptions: { port } })
      try {
        await other.connect()
        start()
        const names: string[] = []
        await span('request', async () => {
          await assert.rejects(other.execute('SELECT dropped FROM system.local'))
          names.push(current().name)
        })
        await span('callback', () => {
          return new Promise<void>(done =>
            other.execute('SELECT dropped FROM system.local', (error: unknown) => {
              names.push(`${error !== null} ${current().name}`)
              done()
            }),
          )
        })
        assert.deepEqual(names, ['request', 'true callback'])
        const failed = (await ended(4)).filter(one => one.name === 'SELECT system.local')
        assert.equal(failed.length, 2)
        for (const one of failed) assert.ok(one.annotations['error.type'])
      } finally {
        proxy.close()
        await other.shutdown()
        for (const socket of sockets) socket.destroy()
      }
    })
  })
}
