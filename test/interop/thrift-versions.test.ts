import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { flush, init, shutdown } from '../../src/index'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { closeAll, onClose, serve, type ThriftCopy, traced } from '../helpers/thrift'
import { until } from '../helpers/until'
import { THRIFT_VERSIONS, thriftOfVersion } from '../servers'

const APP = join(__dirname, '../fixtures/thrift-versions-app.js')
/** The version that this package has: no installing. */
const OWN = require('thrift/package.json').version as string

const folders: string[] = []

/** A folder whose code finds this version of thrift, with the generated code in it. */
async function folderWith(version: string): Promise<string> {
  const installed = version === OWN ? ROOT : await thriftOfVersion(version as (typeof THRIFT_VERSIONS)[number])
  const folder = mkdtempSync(join(tmpdir(), `milo-test-thrift-${version}-`))
  folders.push(folder)
  for (const style of ['es6', 'js'])
    cpSync(join(__dirname, '../gen', style), join(folder, 'gen', style), { recursive: true })
  symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

interface Ran {
  server: string
  client: string
  results: { label: string; replies: [unknown, string][]; inChunks: number }[]
}

const STYLES = ['es6 promises', 'js callbacks', 'js Q promises']
const hasQ = (version: string) => version !== OWN

const combinations = (styles: string[]) =>
  styles.flatMap(style => [
    ...['TBufferedTransport', 'TFramedTransport'].flatMap(transport =>
      ['TBinaryProtocol', 'TCompactProtocol'].map(protocol => `${style} ${transport} ${protocol}`),
    ),
    `${style} multiplexed`,
  ])

/** What the application must print for a combination, but for what is current. */
const REPLIES: [suffix: string, reply: (label: string) => unknown][] = [
  ['', label => `hello ${label}, 42`],
  [' divide', () => 3],
  [' by zero', () => 'zero 7'],
  [' touch', () => null],
  [' fire', () => null],
  [' add', () => 2],
  [' #1', label => `hello ${label}, 42`],
  [' #2', label => `hello ${label}, 42`],
  [' #3', label => `hello ${label}, 42`],
]

/** The methods of the calls whose handlers call nobody. */
const METHODS: Record<string, string> = {
  ' divide': 'divide',
  ' by zero': 'divide',
  ' touch': 'touch',
  ' fire': 'fire',
  ' add': 'add',
}

const isClient = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.CLIENT_SEND)
const isServer = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.SERVER_RECV)

/** The client half of the one call that was made in `parent`; it has one server half. */
function callIn(parent: SpanRecord, name: string, children: Map<bigint, SpanRecord[]>): SpanRecord {
  const halves = children.get(parent.id!)!.filter(s => s.name === name)
  assert.equal(halves.length, 2, `${parent.name}: ${halves.length} halves of ${name}`)
  const clientHalf = halves.find(isClient)!
  const serverHalf = halves.find(isServer)!
  for (const key of ['traceId', 'id', 'parentId'] as const) assert.equal(clientHalf[key], serverHalf[key], key)
  assert.equal(clientHalf.traceId, parent.traceId)
  assert.equal(clientHalf.annotations!.get('thrift.result'), serverHalf.annotations!.get('thrift.result'))
  assert.equal(clientHalf.annotations!.get('error.type'), serverHalf.annotations!.get('error.type'))
  return clientHalf
}

/** Each call one span with two halves, under its caller; what the handler did, under the request. */
function assertSpans(all: SpanRecord[], labels: string[]): void {
  const children = new Map<bigint, SpanRecord[]>()
  for (const s of all) children.set(s.parentId!, [...(children.get(s.parentId!) ?? []), s])
  let records = 0
  for (const label of labels) {
    // A multiplexed service goes by the name under which it is registered.
    const operation = (service: string, method: string) =>
      `${label.endsWith('multiplexed') ? 'registered' : service}.${method}`
    for (const [suffix] of REPLIES) {
      const [calling, ...others] = all.filter(s => s.name === `calling ${label}${suffix}`)
      assert.ok(calling !== undefined && others.length === 0)
      assert.equal(calling.parentId, 0n)
      records += 3
      const method = METHODS[suffix]
      if (method !== undefined) {
        const call = callIn(calling, operation('Calculator', method), children)
        assert.equal(call.annotations!.get('error.type'), suffix === ' by zero' ? 'Oops' : undefined)
        assert.equal(call.annotations!.get('thrift.result'), suffix === ' by zero' ? 'exception' : 'ok')
        continue
      }
      const ping = callIn(calling, operation('Base', 'ping'), children)
      const [handling, ...more] = children.get(ping.id!) ?? []
      assert.equal(handling?.name, `handling ${label}${suffix}`)
      assert.equal(more.length, 0)
      callIn(handling!, operation('Calculator', 'add'), children)
      records += 3
    }
  }
  assert.equal(all.length, records)
}

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

  after(() => {
    for (const folder of folders) rmSync(folder, { recursive: true })
  })

  const runApp = async (args: string[], env: Record<string, string> = {}): Promise<Ran> => {
    const { status, signal, stdout, stderr } = await runNode(['-r', 'milo/register', APP, ...args], {
      MILO_SCRIBE: scribe.address,
      MILO_SAMPLER: 'always',
      ...env,
    })
    assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, stdout)
    return JSON.parse(stdout)
  }

  const check = async (server: string, client: string) => {
    const ran = await runApp([await folderWith(server), await folderWith(client)])
    assert.deepEqual([ran.server, ran.client], [server, client])
    const styles = STYLES.filter(style => style !== 'js Q promises' || (hasQ(server) && hasQ(client)))
    const labels = combinations(styles)
    assert.deepEqual(
      ran.results.map(({ label, replies }) => [label, replies]),
      labels.map(label => [
        label,
        REPLIES.map(([suffix, reply]) => {
          const own = `${label}${suffix}`
          return [reply(own), `${own}|calling ${own}`]
        }),
      ]),
    )
    for (const { label, inChunks } of ran.results) assert.equal(inChunks, 1, `${label}: three requests in one chunk`)
    assertSpans(scribe.spans, labels)
  }

  for (const version of [...THRIFT_VERSIONS, OWN]) {
    it(`${version}: every style, transport and protocol gives its replies, and whole traces of them`, async () => {
      await check(version, version)
    })
  }

  for (const [server, client] of [
    [OWN, '0.20.0'],
    ['0.20.0', OWN],
    ['0.9.3', '0.23.0'],
  ] as const) {
    it(`two copies in one process: servers with ${server}, clients with ${client}, and traces that cross`, async () => {
      await check(server, client)
    })
  }

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
        assert.equal(await flush(5000), true)
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
