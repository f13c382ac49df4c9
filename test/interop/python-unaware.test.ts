import assert from 'node:assert/strict'
import { AsyncResource } from 'node:async_hooks'
import { once } from 'node:events'
import { connect } from 'node:net'
import { MessageType, T, Writer, writeMessageBegin } from '../../src/codec/binary'
import { current, flush, init, shutdown, span } from '../../src/index'
import { Program, run } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, plain, serve, traced, type Wire, wireName } from '../helpers/thrift'
import { until } from '../helpers/until'
import { type Python, pythonWithThrift } from '../servers'
import {
  assertCarrier,
  assertClientHalves,
  assertServerHalves,
  callEverything,
  HANDLERS,
  PROPAGATIONS,
  REPLIES,
  relayTo,
  WIRES,
  wireArguments,
} from './calculator'

const PROGRAM = 'test/interop/calculator_peer.py'
const SERVERS = ['TSimpleServer', 'TThreadedServer', 'TThreadPoolServer', 'TNonblockingServer']

/** Python has pure and accelerated (C) implementations of the same protocol; how its program calls them. */
const IMPLEMENTATIONS: { wire: Wire; transport: string; protocol: string; title: string }[] = WIRES.flatMap(wire => {
  const [transport, protocol] = wireArguments(wire)
  const pure = { wire, transport, protocol, title: wireName(wire) }
  if (protocol === 'json') return [pure]
  return [pure, { ...pure, protocol: `${protocol}-accelerated`, title: `${pure.title}, accelerated` }]
})

describe('Python peers that know nothing of Milo', () => {
  let python: Python
  let scribe: ScribePeer

  before(async function () {
    this.timeout(120_000)
    python = await pythonWithThrift()
  })

  beforeEach(async () => {
    scribe = await ScribePeer.listen()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await scribe.close()
  })

  const start = (options: object) =>
    init({ scribe: scribe.address, service: 'test', host: 'here', sampler: 'always', logLevel: 'warn', ...options })

  describe('a traced client of a Python server', () => {
    let servers: Program
    let ports: Map<string, number>

    before(async () => {
      servers = new Program(python.python, [PROGRAM, 'serve'], python.env)
      const [all] = await servers.printed(/^(?:.+ \d+\n){35}/)
      ports = new Map(all.match(/.+ \d+/g)!.map(line => [line.replace(/ \d+$/, ''), Number(/\d+$/.exec(line)![0])]))
    })

    after(async () => {
      await servers?.stop()
    })

    for (const server of SERVERS) {
      for (const { wire, transport, protocol, title } of IMPLEMENTATIONS) {
        if (server === 'TNonblockingServer' && transport === 'buffered') continue
        for (const propagation of PROPAGATIONS) {
          it(`gets the right replies from ${server}, call after call on one connection: ${title}, ${propagation.title}`, async () => {
            const port = ports.get(`${server} ${transport} ${protocol}`)!
            const unaware = await relayTo(port)
            assert.deepEqual(
              await callEverything(client(plain, plain.Calculator, unaware.port, wire), plain.types),
              REPLIES,
            )
            // TSimpleServer serves one connection after the other.
            closeAll()
            start(propagation.options)
            const relay = await relayTo(port)
            const c = client(traced, traced.Calculator, relay.port, wire)
            assert.deepEqual(await span('root', () => callEverything(c, traced.types)), REPLIES)
            assertCarrier(unaware.sent(), relay.sent(), wire, propagation)
            assert.equal(await flush(5000), true)
            if (propagation.title === 'unsampled') return assert.deepEqual(scribe.spans, [])
            const root = scribe.spans.find(s => s.name === 'root')!
            assertClientHalves(
              scribe.spans.filter(s => s !== root),
              root,
              relay.port,
            )
          })
        }
      }
    }
  })

  describe('a Python client of a traced server', () => {
    for (const { wire, transport, protocol, title } of IMPLEMENTATIONS) {
      for (const style of ['promises', 'callbacks'] as const) {
        for (const [how, command] of [
          ['call after call', 'call'],
          ['all in one chunk', 'pipeline'],
        ] as const) {
          it(`gets the right replies, and each request is a root: ${title}, ${style}, ${how}`, async () => {
            start({})
            const { port } = await serve(traced, traced.Calculator, HANDLERS[style](traced), wire)
            const output = await run(python.python, [PROGRAM, command, String(port), transport, protocol], python.env)
            assert.deepEqual(JSON.parse(output), REPLIES)
            assert.equal(await flush(5000), true)
            assertServerHalves(scribe.spans)
          })
        }
      }
    }

    for (const style of ['promises', 'callbacks'] as const) {
      it(`has the requests of one chunk told apart, though all have the sequence id 0: ${style}`, async () => {
        // They are answered last first: each answer must end its own span.
        start({})
        const answers: (() => void)[] = []
        const { port } = await serve(
          traced,
          traced.Calculator,
          {
            ...HANDLERS[style](traced),
            ping:
              style === 'promises'
                ? async (name: string) => {
                    current().annotate('who', name)
                    await new Promise<void>(resolve => answers.push(resolve))
                    if (name === 'nobody') throw new Error('nobody is there')
                    return name
                  }
                : (name: string, done: Function) => {
                    current().annotate('who', name)
                    const answer = () => (name === 'nobody' ? done(new Error('nobody is there')) : done(null, name))
                    // Callbacks come from where the handler has got its answer, in a span of its own.
                    span('asking', () => setImmediate(() => answers.push(AsyncResource.bind(answer))))
                  },
          },
          { transport: 'TBufferedTransport', protocol: 'TBinaryProtocol' },
        )
        const names = ['ann', 'nobody', 'bob']
        const w = new Writer()
        for (const name of names) {
          writeMessageBegin(w, { name: 'ping', type: MessageType.CALL, seqid: 0, strict: true })
          w.field(T.STRING, 1)
          w.string(name)
          w.byte(T.STOP)
        }
        const socket = connect(port, '127.0.0.1')
        socket.write(w.take())
        await until('all are being handled', () => answers.length === names.length)
        for (const answer of answers.reverse()) {
          answer()
          await once(socket, 'data')
        }
        socket.destroy()
        assert.equal(await flush(5000), true)
        const served = scribe.spans.filter(s => s.name === 'Base.ping')
        assert.deepEqual(
          served.map(s => [s.annotations!.get('who'), s.annotations!.get('thrift.result')]),
          [
            ['bob', 'ok'],
            ['nobody', 'application_exception'],
            ['ann', 'ok'],
          ],
        )
      })
    }
  })
})
