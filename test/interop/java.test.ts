import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { current, flush, init, keep, shutdown, span } from '../../src/index'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, connect, serve, traced, type Wire } from '../helpers/thrift'
import { until } from '../helpers/until'
import {
  CLIENT_KIND,
  JAVA_CALLS,
  JAVA_CLIENTS,
  JAVA_RESULTS,
  JavaPeer,
  javaWithThrift,
  SERVER_KIND,
} from '../servers/java'

const Captured = require('../gen/agent/Captured')
const capturedTypes = require('../gen/agent/agent_types')

type Transport = 'buffered' | 'framed'
const PROTOCOLS = ['binary', 'compact', 'json'] as const
type Protocol = (typeof PROTOCOLS)[number]

const wire = (transport: Transport, protocol: Protocol) =>
  ({
    transport: { buffered: 'TBufferedTransport', framed: 'TFramedTransport' }[transport],
    protocol: { binary: 'TBinaryProtocol', compact: 'TCompactProtocol', json: 'TJSONProtocol' }[protocol],
  }) as Wire

/** Java's servers, and the transport in which they are called. */
const SERVERS = [
  ['TThreadPoolServer', 'buffered'],
  ['THsHaServer', 'framed'],
  ['TThreadedSelectorServer', 'framed'],
] as const

let scribe: ScribePeer

const start = (more: object = {}) =>
  init({ scribe: scribe.address, service: 'node', host: 'here', sampler: 'always', logLevel: 'warn', ...more })

const restart = async () => {
  scribe = await ScribePeer.listen()
  start()
}

const stop = async () => {
  closeAll()
  await shutdown(0)
  await scribe.close()
}

async function spans(): Promise<SpanRecord[]> {
  assert.equal(await flush(20_000), true)
  return scribe.spans
}

const has = (type: number) => (s: SpanRecord) => s.events!.some(e => e.eventType === type)
const isClient = has(EventType.CLIENT_SEND)
const isServer = has(EventType.SERVER_RECV)

/** Ids as W3C and OpenTelemetry write them. */
const hex = (id: bigint | undefined) => BigInt.asUintN(64, id!).toString(16).padStart(16, '0')
const traceIdOf = (s: SpanRecord) => hex(s.traceIdHigh ?? 0n) + hex(s.traceId)

/** Milo's names are Service.method, the agent's Service/method. */
const methodOf = (s: { name?: string }) => s.name!.split(/[./]/).at(-1)!

const handler = () => ({
  ping: async (name: string) => `hello ${name}`,
  add: async (a: number, b: number) => a + b,
  divide: async (a: number, b: number) => {
    if (b === 0) throw new traced.types.Oops({ why: 'zero', code: 7 })
    return a / b
  },
  touch: async () => {},
  fire: async (_what: string) => {},
  move: async (origin: any, by: number[]) => new traced.types.Point({ x: origin.x + by[0]!, label: origin.label }),
})

const isOops = (error: any) => error instanceof traced.types.Oops && error.why === 'zero' && error.code === 7

/** One call of each method, all at once. */
async function callAll(calculator: any, name: string, fired: string): Promise<void> {
  const [pinged, sum, oops, , , point] = await Promise.all([
    calculator.ping(name),
    calculator.add(20, 22),
    calculator.divide(1, 0).catch((error: unknown) => error),
    calculator.touch(),
    calculator.fire(fired),
    calculator.move(new traced.types.Point({ x: 1, label: name }), [41, -1]),
  ])
  assert.equal(pinged, `hello ${name}`)
  assert.equal(sum, 42)
  assert.ok(isOops(oops))
  assert.deepEqual([point.x, point.label], [42, name])
}
const METHODS = ['ping', 'add', 'divide', 'touch', 'fire', 'move']

let fires = 0
/** Of the same length each time. */
const newFire = () => `fire ${String(++fires).padStart(6, '0')}`

describe('Java peers', () => {
  let unaware: JavaPeer
  let agent: JavaPeer
  let unsampling: JavaPeer

  before(async function () {
    this.timeout(600_000)
    await javaWithThrift()
    ;[unaware, agent, unsampling] = await Promise.all([
      JavaPeer.start(),
      JavaPeer.start({ OTEL_TRACES_SAMPLER: 'parentbased_always_on' }),
      JavaPeer.start({ OTEL_TRACES_SAMPLER: 'always_off' }),
    ])
  })

  after(async () => {
    const peers = [unaware, agent, unsampling].filter(peer => peer !== undefined)
    await Promise.all(peers.map(peer => peer.stop()))
    // Java's servers log what they can't read.
    for (const peer of peers) assert.equal(peer.complaints, '')
  })

  beforeEach(restart)

  afterEach(stop)

  describe('that know nothing of tracing', () => {
    for (const [server, transport] of SERVERS) {
      for (const protocol of PROTOCOLS) {
        it(`answer a traced client right, whatever the carrier, call after call: ${server}, ${protocol}`, async () => {
          const sentBytes: Record<string, number> = {}
          const calls = 3 + 4 * METHODS.length
          for (const carrier of ['off', 'field', 'compat']) {
            start({ propagation: carrier })
            const connection = connect(traced, unaware.port(server, protocol), wire(transport, protocol))
            const calculator = traced.thrift.createClient(traced.Calculator, connection)
            const fired = Array.from({ length: 4 }, newFire)
            scribe.spans.length = 0
            assert.equal(await calculator.ping(''), 'hello ')
            await assert.rejects(calculator.divide(1, 0), isOops)
            assert.equal(await calculator.divide(9, 3), 3)
            await callAll(calculator, 'Grüße, 世界 🙂', fired[0]!)
            await callAll(calculator, 'x'.repeat(70_000), fired[1]!)
            await Promise.all([callAll(calculator, 'at', fired[2]!), callAll(calculator, 'once', fired[3]!)])
            await until('the oneway calls have come', () => fired.every(what => unaware.fired.includes(what)))
            sentBytes[carrier] = connection.connection.bytesWritten
            const all = await spans()
            assert.equal(all.filter(isClient).length, calls)
            assert.equal(all.length, calls)
          }
          const added = (carrier: string) => (sentBytes[carrier]! - sentBytes.off!) / calls
          // It did send them.
          if (protocol === 'json') assert.ok(added('field') > 29 && added('compat') > 55)
          else {
            const expected = { binary: [37, 83], compact: [34, 74] }[protocol]
            assert.deepEqual([added('field'), added('compat')], expected)
          }
        })
      }
    }

    for (const [kind, transport] of JAVA_CLIENTS) {
      for (const protocol of PROTOCOLS) {
        it(`get the right replies from a traced server, a root span a request: ${kind} client, ${protocol}`, async () => {
          const { port } = await serve(traced, traced.Calculator, handler(), wire(transport, protocol))
          assert.deepEqual(await unaware.call(kind, protocol, port), JAVA_RESULTS)
          const all = await spans()
          assert.deepEqual(all.map(methodOf), JAVA_CALLS)
          assert.ok(all.every(s => isServer(s) && s.parentId === 0n))
          assert.equal(new Set(all.map(s => s.traceId)).size, all.length)
          const results = ['ok', 'ok', 'exception', 'ok', 'ok', 'ok', 'ok']
          assert.deepEqual(
            all.map(s => s.annotations!.get('thrift.result')),
            results,
          )
        })
      }
    }
  })

  describe('under OpenTelemetry’s agent', () => {
    /** The agent's spans of these traces, once there are so many. */
    const reported = (traceIds: Set<string>, count: number) =>
      until(`the agent reports ${count} spans`, () => {
        const found = agent.agentSpans.filter(s => traceIds.has(s.traceId))
        return found.length >= count ? found : undefined
      })

    /** A client of one of its servers, and what the agent has reported of the client's connection. */
    function observed(server: string, transport: Transport, protocol: Protocol) {
      const port = agent.port(server, protocol)
      const connection = connect(traced, port, wire(transport, protocol))
      const calculator = traced.thrift.createClient(traced.Calculator, connection)
      const received = () => {
        const ports = { 'network.local.port': port, 'network.peer.port': connection.connection.localPort }
        return agent.agentSpans.filter(s =>
          Object.entries(ports).every(([key, port]) =>
            s.attributes.some(a => a.key === key && a.value.intValue === String(port)),
          ),
        )
      }
      /** A connection's requests are served one after the other: what comes after a sampled call comes too late. */
      const hasReportedNothing = async () => {
        start({ propagation: 'compat' })
        const traceId = await span('fence', async root => {
          await calculator.touch()
          return root.traceId.padStart(32, '0')
        })
        await until('the agent reports the last call', () => received().some(s => s.traceId === traceId))
        assert.deepEqual(
          received().map(s => s.traceId),
          [traceId],
        )
      }
      return { calculator, received, hasReportedNothing }
    }

    for (const [server, transport] of SERVERS) {
      for (const protocol of PROTOCOLS) {
        it(`continue the trace of a client that sends compat: ${server}, ${protocol}`, async () => {
          start({ propagation: 'compat' })
          const calculator = client(traced, traced.Calculator, agent.port(server, protocol), wire(transport, protocol))
          await span('root', () => callAll(calculator, 'é', newFire()))
          const all = await spans()
          const root = all.find(s => s.name === 'root')!
          const sent = all.filter(isClient)
          assert.deepEqual(sent.map(methodOf).sort(), [...METHODS].sort())
          const received = await reported(new Set([traceIdOf(root)]), METHODS.length)
          assert.equal(received.length, METHODS.length)
          for (const s of sent) {
            assert.equal(s.parentId, root.id)
            const [child, ...others] = received.filter(r => r.parentSpanId === hex(s.id))
            assert.deepEqual(others, [])
            assert.equal(methodOf(child!), methodOf(s))
            assert.equal(child!.kind, SERVER_KIND)
          }
        })
      }
    }

    for (const [kind, transport] of JAVA_CLIENTS) {
      for (const protocol of PROTOCOLS) {
        it(`have their traces continued by a traced server: ${kind} client, ${protocol}`, async () => {
          const { port } = await serve(traced, traced.Calculator, handler(), wire(transport, protocol))
          assert.deepEqual(await agent.call(kind, protocol, port), JAVA_RESULTS)
          const all = await spans()
          assert.deepEqual(all.map(methodOf), JAVA_CALLS)
          const sent = await reported(new Set(all.map(traceIdOf)), all.length)
          assert.equal(sent.length, all.length)
          for (const s of all) {
            assert.ok(isServer(s))
            assert.notEqual(s.traceIdHigh, undefined)
            const parent = sent.find(r => r.spanId === hex(s.parentId))!
            assert.equal(parent.traceId, traceIdOf(s))
            assert.equal(parent.kind, CLIENT_KIND)
            assert.equal(methodOf(parent), methodOf(s))
            assert.notEqual(hex(s.id), parent.spanId)
          }
        })
      }
    }

    for (const protocol of PROTOCOLS) {
      it(`are in one trace from Node through Java to Node: ${protocol}`, async () => {
        start({ propagation: 'compat' })
        const last = await serve(traced, traced.Calculator, handler(), wire('buffered', protocol))
        const calculator = client(
          traced,
          traced.Calculator,
          agent.port('TThreadPoolServer', protocol),
          wire('buffered', protocol),
        )
        const reply = await span('root', () => calculator.ping(`forward buffered ${protocol} ${last.port} Ann`))
        assert.equal(reply, 'hello Ann')
        const all = await spans()
        assert.equal(new Set(all.map(traceIdOf)).size, 1)
        const java = await reported(new Set(all.map(traceIdOf)), 2)
        assert.deepEqual([all.length, java.length], [3, 2])
        assert.equal(java.find(s => s.kind === SERVER_KIND)!.parentSpanId, hex(all.find(isClient)!.id))
        assert.equal(
          java.find(s => s.kind === CLIENT_KIND)!.parentSpanId,
          java.find(s => s.kind === SERVER_KIND)!.spanId,
        )
        assert.equal(hex(all.find(isServer)!.parentId), java.find(s => s.kind === CLIENT_KIND)!.spanId)
      })

      it(`pass on the ids of a trace that is recorded, and record nothing of it: ${protocol}`, async () => {
        start({ propagation: 'compat', sampler: 'never', retroactive: { triggers: 'none' } })
        const last = await serve(traced, traced.Calculator, handler(), wire('buffered', protocol))
        const { calculator, hasReportedNothing } = observed('TThreadPoolServer', 'buffered', protocol)
        await span('root', async () => {
          await calculator.ping(`forward buffered ${protocol} ${last.port} Ann`)
          assert.equal(keep(), true)
        })
        const all = await spans()
        assert.equal(new Set(all.map(traceIdOf)).size, 1)
        assert.deepEqual(all.map(s => `${methodOf(s)} ${isServer(s)}`).sort(), [
          'ping false',
          'ping true',
          'root false',
        ])
        // Java's client has told its own id, of a span that nobody has.
        const [sent, served] = [all.find(isClient)!, all.find(isServer)!]
        assert.notEqual(served.parentId, sent.id)
        await hasReportedNothing()
      })

      it(`are in one trace of a 128-bit id from Java through Node to Java: ${protocol}`, async () => {
        start({ propagation: 'compat' })
        const leaf = client(traced, traced.Calculator, agent.port('THsHaServer', protocol), wire('framed', protocol))
        const { port } = await serve(
          traced,
          traced.Calculator,
          { ...handler(), add: (a: number, b: number) => leaf.add(a, b) },
          wire('framed', protocol),
        )
        assert.deepEqual(await agent.call('framed', protocol, port), JAVA_RESULTS)
        const all = await spans()
        const served = all.find(s => methodOf(s) === 'add' && isServer(s))!
        const called = all.find(s => methodOf(s) === 'add' && isClient(s))!
        const traceId = traceIdOf(served)
        assert.notEqual(traceId.slice(0, 16), '0000000000000000')
        const java = await reported(new Set([traceId]), 2)
        assert.equal(java.length, 2)
        assert.equal(hex(served.parentId), java.find(s => s.kind === CLIENT_KIND)!.spanId)
        assert.equal(called.parentId, served.id)
        assert.equal(traceIdOf(called), traceId)
        assert.equal(java.find(s => s.kind === SERVER_KIND)!.parentSpanId, hex(called.id))
      })

      it(`that sample nothing keep a traced server, and whom it calls, from recording: ${protocol}`, async () => {
        start({ propagation: 'compat' })
        const leaf = observed('THsHaServer', 'framed', protocol)
        const sampled: boolean[] = []
        const handlers = {
          ...handler(),
          add: (a: number, b: number) => {
            sampled.push(current().sampled)
            return leaf.calculator.add(a, b)
          },
        }
        for (const [kind, transport] of JAVA_CLIENTS) {
          const { port } = await serve(traced, traced.Calculator, handlers, wire(transport, protocol))
          assert.deepEqual(await unsampling.call(kind, protocol, port), JAVA_RESULTS)
        }
        assert.deepEqual(sampled, [false, false, false])
        assert.deepEqual(await spans(), [])
        await leaf.hasReportedNothing()
        assert.deepEqual(unsampling.agentSpans, [])
      })

      it(`record nothing of a call that its client doesn’t sample: ${protocol}`, async () => {
        for (const [server, transport] of SERVERS) {
          start({ propagation: 'compat', sampler: 'never' })
          const { calculator, hasReportedNothing } = observed(server, transport, protocol)
          // The round before has left a span, which goes on to this start.
          assert.equal(await flush(20_000), true)
          scribe.spans.length = 0
          await callAll(calculator, 'unsampled', newFire())
          await span('root', () => callAll(calculator, 'unsampled', newFire()))
          assert.deepEqual(await spans(), [])
          await hasReportedNothing()
        }
      })

      it(`begin traces of their own for a client that sends field or nothing: ${protocol}`, async () => {
        for (const carrier of ['field', 'off']) {
          start({ propagation: carrier })
          for (const [server, transport] of SERVERS) {
            const { calculator, received } = observed(server, transport, protocol)
            await callAll(calculator, carrier, newFire())
            await until('the agent reports every call', () => received().length === METHODS.length)
            assert.ok(received().every(s => s.parentSpanId === undefined))
          }
        }
      })
    }
  })
})

interface Vector {
  name: string
  protocol: Protocol
  chunks: { from: 'c' | 's'; hex: string }[]
}

describe('a traced server that gets what OpenTelemetry’s Java agent sent', () => {
  const vectors: Vector[] = JSON.parse(readFileSync(join(__dirname, '../vectors/otel-java-agent.json'), 'utf8'))

  const captured = {
    ping: async (name: string) => `pong:${name}`,
    add: async (a: number, b: number) => a + b,
    doVoid: async (_what: string) => {},
    fire: async (_what: string) => {},
    noargs: async () => 'na',
    complex: async (_texts: object, _numbers: number[], item: unknown, _words: string[], _items: unknown[]) => item,
    thrower: async (why: string) => {
      throw new capturedTypes.Oops({ why, code: 7 })
    },
  }

  beforeEach(restart)
  afterEach(stop)

  /** The framed messages of a chunk, without their frames' lengths. */
  function messages(chunk: Buffer): Buffer[] {
    const found: Buffer[] = []
    for (let at = 0; at < chunk.length; at += 4 + chunk.readInt32BE(at)) {
      found.push(chunk.subarray(at + 4, at + 4 + chunk.readInt32BE(at)))
    }
    return found
  }

  const FORMS = {
    'as it was recorded': { transport: 'framed', bytes: chunk => chunk, pieces: bytes => [bytes] },
    'a byte at a time': {
      transport: 'framed',
      bytes: chunk => chunk,
      pieces: bytes => [...bytes].map(b => Buffer.of(b)),
    },
    'without the frames': {
      transport: 'buffered',
      bytes: chunk => Buffer.concat(messages(chunk)),
      pieces: bytes => [bytes],
    },
  } satisfies Record<
    string,
    { transport: Transport; bytes: (chunk: Buffer) => Buffer; pieces: (bytes: Buffer) => Buffer[] }
  >

  for (const { name, protocol, chunks } of vectors) {
    for (const [form, { transport, bytes, pieces }] of Object.entries(FORMS)) {
      it(`continues each trace, and answers as Java’s server did: ${name}, ${form}`, async () => {
        const { port } = await serve(traced, Captured, captured, wire(transport, protocol))
        const socket = connectSocket(port, '127.0.0.1')
        socket.setNoDelay(true)
        await once(socket, 'connect')
        let replies = Buffer.alloc(0)
        socket.on('data', data => {
          replies = Buffer.concat([replies, data])
        })
        const callers: { traceId: string; parentId: string }[] = []
        let expected = Buffer.alloc(0)
        for (const chunk of chunks) {
          const content = Buffer.from(chunk.hex, 'hex')
          if (chunk.from === 's') {
            expected = Buffer.concat([expected, bytes(content)])
            await until('the reply has come', () => replies.length >= expected.length)
            assert.deepEqual(replies, expected)
            continue
          }
          for (const [, traceId, parentId] of content.toString('latin1').matchAll(/00-(\w{32})-(\w{16})-03/g)) {
            callers.push({ traceId: traceId!, parentId: parentId! })
          }
          for (const piece of pieces(bytes(content))) {
            socket.write(piece)
            await new Promise(resolve => setImmediate(resolve))
          }
        }
        socket.destroy()
        const all = await spans()
        assert.equal(callers.length, 7)
        assert.deepEqual(
          all.map(s => ({ traceId: traceIdOf(s), parentId: hex(s.parentId) })),
          callers,
        )
        assert.deepEqual(
          all.map(s => s.name),
          ['ping', 'add', 'doVoid', 'fire', 'noargs', 'complex', 'thrower'].map(method => `Captured.${method}`),
        )
        assert.equal(new Set(all.map(s => s.id)).size, 7)
        assert.ok(all.every(s => isServer(s) && !isClient(s) && !callers.some(c => c.parentId === hex(s.id))))
      })
    }
  }
})
