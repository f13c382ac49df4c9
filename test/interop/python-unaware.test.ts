import assert from 'node:assert/strict'
import { AsyncResource } from 'node:async_hooks'
import { once } from 'node:events'
import { connect } from 'node:net'
import { MessageType, T, Writer, writeMessageBegin } from '../../src/codec/binary'
import { current, flush, shutdown, span } from '../../src/index'
import { Program, run } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { closeAll, serve, traced, type Wire, wireName } from '../helpers/thrift'
import { until } from '../helpers/until'
import { type Python, pythonWithThrift } from '../servers'
import { checkClient, checkServer, PROPAGATIONS, portsOf, STYLES, start, WIRES, wireArguments } from './calculator'

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

  describe('a traced client of a Python server', () => {
    let servers: Program
    let ports: Map<string, number>

    before(async () => {
      servers = new Program(python.python, [PROGRAM, 'serve'], python.env)
      const [all] = await servers.printed(/^(?:.+ \d+\n){35}/)
      ports = portsOf(all)
    })

    after(async () => {
      await servers?.stop()
    })

    for (const server of SERVERS) {
      for (const { wire, transport, protocol, title } of IMPLEMENTATIONS) {
        if (server === 'TNonblockingServer' && transport === 'buffered') continue
        for (const propagation of PROPAGATIONS) {
          it(`gets the right replies from ${server}, call after call on one connection: ${title}, ${propagation.title}`, async () => {
            await checkClient(scribe, ports.get(`${server} ${transport} ${protocol}`)!, wire, propagation)
          })
        }
      }
    }
  })

  describe('a Python client of a traced server', () => {
    for (const { wire, transport, protocol, title } of IMPLEMENTATIONS) {
      for (const style of STYLES) {
        for (const [how, command] of [
          ['call after call', 'call'],
          ['all in one chunk', 'pipeline'],
        ] as const) {
          it(`gets the right replies, and each request is a root: ${title}, ${style}, ${how}`, async () => {
            await checkServer(scribe, wire, style, port =>
              run(python.python, [PROGRAM, command, port, transport, protocol], python.env),
            )
          })
        }
      }
    }

    for (const style of STYLES) {
      it(`has the requests of one chunk told apart, though all have the sequence id 0: ${style}`, async () => {
        // They are answered last first: each answer must end its own span.
        start(scribe)
        const answers: (() => void)[] = []
        const { port } = await serve(
          traced,
          traced.Calculator,
          {
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
        assert.equal(await flush(20_000), true)
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
