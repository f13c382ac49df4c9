import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { SpanRecord } from '../../src/codec/span'
import { flush, init, shutdown } from '../../src/index'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { closeAll, onClose, serve, type ThriftCopy, traced } from '../helpers/thrift'
import { until } from '../helpers/until'
import { THRIFT_VERSIONS, thriftOfVersion } from '../servers'
import { npmPackages } from '../servers/npm'
import { APP, checkApp, folderWith, folderWithCopy, isClient, isServer, OWN, removeFolders } from './versions-app'

describe('versions of npm thrift', () => {
  let scribe: ScribePeer

  before(async function () {
    this.timeout(300_000)
    await Promise.all(THRIFT_VERSIONS.map(thriftOfVersion))
  })

  beforeEach(async () => {
    scribe = await ScribePeer.listen()
  })

  afterEach(async () => {
    await scribe.close()
  })

  after(removeFolders)

  for (const version of [...THRIFT_VERSIONS, OWN]) {
    it(`${version}: every style, transport and protocol gives its replies, and whole traces of them`, async () => {
      await checkApp(scribe, version, version)
    })
  }

  for (const [server, client] of [
    [OWN, '0.20.0'],
    ['0.20.0', OWN],
    ['0.9.3', '0.23.0'],
  ] as const) {
    it(`two copies in one process: servers with ${server}, clients with ${client}, and traces that cross`, async () => {
      await checkApp(scribe, server, client)
    })
  }

  it('a fork under another name, thrift-patch: likewise', async () => {
    const installed = await npmPackages('thrift-patch@0.15.0')
    const copyIn = folderWithCopy('thrift-patch', join(installed, 'node_modules'))
    await checkApp(scribe, 'thrift-patch', 'thrift-patch', { copyIn })
  })

  it('a copy in a folder of the application’s own: likewise', async () => {
    const copyIn = folderWithCopy('./vendor/thrift', join(ROOT, 'node_modules'))
    await checkApp(scribe, './vendor/thrift', './vendor/thrift', { copyIn })
  })

  it('a copy whose protocols were changed: is left alone on both sides, and each is said once', async () => {
    const folder = folderWithCopy('./vendor/thrift', join(ROOT, 'node_modules'))
    for (const name of ['binary', 'compact', 'json']) {
      const file = join(folder, `vendor/thrift/${name}_protocol.js`)
      writeFileSync(
        file,
        readFileSync(file, 'utf8')
          .replaceAll('this.trans.', 'this.via.')
          .replaceAll('this.trans;', 'this.via;')
          .replaceAll('this.trans =', 'this.via ='),
      )
    }
    const ran = await runNode(['--no-deprecation', '-r', 'milo/register', APP, folder, folder, './vendor/thrift'], {
      MILO_SCRIBE: scribe.address,
      MILO_SAMPLER: 'always',
    })
    assert.equal(ran.status, 0, ran.stderr)
    assert.match(ran.stdout, /hello js callbacks multiplexed #3, 42/)
    assert.deepEqual(
      ran.stderr.trimEnd().split('\n').sort(),
      ['Binary', 'Compact', 'JSON'].map(
        name =>
          `milo warn: the Thrift protocol T${name}Protocol in ${folder}/vendor/thrift/${name.toLowerCase()}_protocol.js isn't derived from npm thrift's and isn't traced`,
      ),
    )
    assert.deepEqual(
      scribe.spans.filter(s => isClient(s) || isServer(s)),
      [],
    )
  })

  // These never empty the queue of what was called before they were connected: each time they connect, they send it again.
  for (const version of ['0.9.3', '0.12.0']) {
    describe(`a client with thrift ${version}, which replays its offline queue`, () => {
      const WIRE = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' } as const
      let sockets: Socket[]
      let answers: (() => void)[]
      let client: any

      beforeEach(async () => {
        init({ scribe: scribe.address, service: 'test', host: 'here', sampler: 'always', logLevel: 'warn' })
        sockets = []
        answers = []
        const handler = {
          ping: (name: string, done: Function) => answers.push(() => done(null, `${name}, answer ${answers.length}`)),
        }
        const { port, server } = await serve(traced, traced.Calculator, handler, WIRE)
        server.on('connection', (socket: Socket) => sockets.push(socket))
        const folder = await folderWith(version)
        const load = createRequire(join(folder, 'app.js'))
        const copy: ThriftCopy = { ...traced, thrift: load('thrift'), Calculator: load('./gen/es6/Calculator') }
        const connection = copy.thrift.createConnection('127.0.0.1', port, {
          transport: copy.thrift[WIRE.transport],
          protocol: copy.thrift[WIRE.protocol],
          max_attempts: 5,
        })
        // A connection that is to make itself anew says so; without a listener 0.9.3 throws.
        connection.on('error', () => {})
        onClose(() => {
          clearTimeout(connection.retry_timer)
          connection.connection.removeAllListeners('close')
          connection.connection.destroy()
        })
        client = copy.thrift.createClient(copy.Calculator, connection)
        assert.equal(connection.connected, false)
      })

      afterEach(async () => {
        closeAll()
        await shutdown(0)
      })

      const reported = async () => {
        assert.equal(await flush(20_000), true)
        const pings = scribe.spans.filter(s => s.name === 'Base.ping')
        const results = (halves: SpanRecord[]) => halves.map(s => s.annotations!.get('thrift.result'))
        return { clients: pings.filter(isClient), servers: pings.filter(isServer), results }
      }

      it('is answered by the replay when the connection is lost: one client half, a server half each time', async () => {
        const early = client.ping('early')
        await until('the request is being handled', () => answers.length === 1)
        sockets[0]!.destroy()
        await until('the request is being handled again', () => answers.length === 2)
        answers[1]!()
        assert.equal(await early, 'early, answer 2')
        const { clients, servers, results } = await reported()
        assert.deepEqual(results(clients), ['ok'])
        assert.ok(clients[0]!.counters!.get('thrift.queue_us')! > 0n)
        assert.deepEqual(results(servers), ['abandoned', 'ok'])
        for (const half of servers) {
          assert.deepEqual([half.traceId, half.id, half.parentId], [clients[0]!.traceId, clients[0]!.id, 0n])
        }
      })

      it('drops the second answer to a replayed call, which is no other call’s', async () => {
        const early = client.ping('early')
        await until('the request is being handled', () => answers.length === 1)
        answers[0]!()
        assert.equal(await early, 'early, answer 1')
        sockets[0]!.destroy()
        await until('the request is being handled again', () => answers.length === 2)
        const late = client.ping('late')
        await until('the next one is, too', () => answers.length === 3)
        answers[1]!()
        answers[2]!()
        assert.equal(await late, 'late, answer 3')
        const { clients, servers, results } = await reported()
        assert.deepEqual(results(clients), ['ok', 'ok'])
        assert.deepEqual(results(servers), ['ok', 'ok', 'ok'])
        assert.deepEqual(
          servers.map(s => s.id),
          [clients[0]!.id, clients[0]!.id, clients[1]!.id],
        )
      })

      it('doesn’t replay what was called when it was connected: that call’s half ends with the connection', async () => {
        const early = client.ping('early')
        await until('the request is being handled', () => answers.length === 1)
        answers[0]!()
        await early
        void client.ping('lost')
        await until('the next one is being handled', () => answers.length === 2)
        sockets[0]!.destroy()
        await until('the first is being handled again', () => answers.length === 3)
        const { clients, results } = await reported()
        assert.deepEqual(results(clients), ['ok', 'transport_error'])
        assert.equal(clients[1]!.annotations!.get('error.type'), 'connection closed')
      })
    })
  }
})
