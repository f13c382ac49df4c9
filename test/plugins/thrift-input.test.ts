import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectSocket, createServer } from 'node:net'
import fc from 'fast-check'
import type { SpanRecord } from '../../src/codec/span'
import { current, flush, init, shutdown } from '../../src/index'
import { ScribePeer } from '../helpers/scribe-peer'
import {
  client,
  closeAll,
  listen,
  onClose,
  plain,
  serve,
  type ThriftCopy,
  traced,
  WIRES,
  type Wire,
  wireName,
} from '../helpers/thrift'
import { until } from '../helpers/until'

const BINARY: Wire = { transport: 'TBufferedTransport', protocol: 'TBinaryProtocol' }
const FRAMED: Wire = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' }
const COMPACT: Wire = { transport: 'TFramedTransport', protocol: 'TCompactProtocol' }

let peer: ScribePeer
const start = (more: object = {}) =>
  init({ scribe: peer.address, service: 'test', host: 'here', sampler: 'always', ...more })

async function spans(): Promise<SpanRecord[]> {
  assert.equal(await flush(20_000), true)
  return peer.spans
}

/** What a server does with bytes: what it replies, what its handlers are called with, and the errors it emits. */
interface Doing {
  handled: string[]
  replied: string
  errors: string[]
  closed: boolean
}

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')
const i32 = (n: number) => (n >>> 0).toString(16).padStart(8, '0')
const frame = (body: Buffer) => Buffer.concat([hex(i32(body.length)), body])

/** add(2, 3) in the binary protocol, with more fields behind the arguments. */
const addCall = (fields: string, type = 1, ids = '') =>
  hex(`8001000${type} 00000003 616464 00000007 ${ids} 08 0001 00000002 08 0002 00000003 ${fields} 00`)

/** The same in the compact protocol: 82 21 seqid name, 15 04 15 06. */
const compactCall = (fields: string) => hex(`8221 07 03 616464 15 04 15 06 ${fields} 00`)

interface Running {
  doing(): Doing
  send(bytes: Buffer): Promise<Doing>
}

async function running(copy: ThriftCopy, wire: Wire): Promise<Running> {
  let doing: Doing
  const handlers = {
    add: async (a: number, b: number) => {
      doing.handled.push(`add ${a} ${b}`)
      return a + b
    },
    ping: async (name: string) => {
      doing.handled.push(`ping ${name}`)
      return name
    },
    divide: async (a: number) => {
      doing.handled.push('divide')
      return a
    },
    touch: async () => {
      doing.handled.push('touch')
    },
    fire: (what: string) => {
      doing.handled.push(`fire ${what}`)
    },
    move: async (origin: any) => {
      doing.handled.push(`move ${origin?.x} ${origin?.label}`)
      return origin
    },
  }
  const { port, server } = await serve(copy, copy.Calculator, handlers, wire)
  server.on('error', (e: Error) => doing.errors.push(e.message))
  return {
    doing: () => doing,
    async send(bytes) {
      doing = { handled: [], replied: '', errors: [], closed: false }
      const socket = connectSocket(port, '127.0.0.1')
      socket.on('error', () => {})
      socket.on('data', data => {
        doing.replied += data.toString('hex')
      })
      socket.on('end', () => {
        doing.closed = true
      })
      socket.write(bytes)
      // A second, good call tells when the first has been dealt with: it is answered, or the connection is closed.
      const marker =
        wire.protocol === 'TCompactProtocol'
          ? hex('8221 4d 05 746f756368 00')
          : hex('80010001 00000005 746f756368 0000004d 00')
      socket.write(wire.transport === 'TFramedTransport' ? frame(marker) : marker)
      socket.end()
      await new Promise(resolve => socket.once('close', resolve))
      return doing
    },
  }
}

describe('the Thrift plugin: bad input', () => {
  beforeEach(async () => {
    peer = await ScribePeer.listen()
    start()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await peer.close()
  })

  const field = (content: string, length = content.length / 2, elementType = '03') =>
    `0f 1938 ${elementType} ${i32(length)} ${content}`
  const good = `01 ${'0000000000000011'} ${'0000000000000022'} ${'0000000000000033'} 3f800000`.replace(/\s/g, '')
  const map = (id: string, entries: [string, string][], size = entries.length) =>
    `0d ${id} 0b 0b ${i32(size)} ${entries
      .flat()
      .map(t => i32(Buffer.byteLength(t)) + Buffer.from(t).toString('hex'))
      .join('')}`
  const varint = (n: number) => Buffer.from(n < 128 ? [n] : [(n & 127) | 128, n >> 7]).toString('hex')
  const compactMap = (entries: [string, string][]) =>
    `${varint(entries.length)} 88 ${entries
      .flat()
      .map(t => varint(Buffer.byteLength(t)) + Buffer.from(t).toString('hex'))
      .join('')}`
  const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

  const cases: [string, string][] = [
    ['Milo’s field, well formed', field(good)],
    ['Milo’s field twice', field(good) + field(`00${'0000000000000044'.repeat(3)}00000000`)],
    ['a longer tail', field(`${good}${'ab'.repeat(40)}`)],
    ['too short', field(good.slice(0, 20))],
    ['empty', field('')],
    ['another version', field(`f1${good.slice(2)}`)],
    ['ids of zero', field(`01${'0'.repeat(48)}3f800000`)],
    ['a list of i32', field('00000001', 1, '08')],
    ['a list of strings', field(`${i32(3)}616263`, 1, '0b')],
    ['a string with Milo’s id', `0b 1938 ${i32(3)} 616263`],
    ['a struct with Milo’s id', '0c 1938 08 0001 00000001 00'],
    ['a length that isn’t there', field(good, 0x7fffffff)],
    ['a negative length', field(good, -1)],
    ['truncated', `0f 1938 03 ${i32(29)} 0102`],
    [
      'garbage in 8888’s map',
      map('22b8', [
        ['traceparent', 'garbage'],
        ['\u0000', 'é\u{1f600}'],
      ]),
    ],
    ['8888, well formed', map('22b8', [['traceparent', parent]])],
    ['8888 that isn’t a map', `0b 22b8 ${i32(3)} 616263`],
    ['8888 of integers', '0d 22b8 08 08 00000001 00000001 00000002'],
    [
      '10,000 entries in 8888',
      map(
        '22b8',
        Array.from({ length: 10_000 }, (_, i) => [`key${i}`, 'value']),
      ),
    ],
    ['8888 of a size that isn’t there', map('22b8', [['traceparent', parent]], 0x7fffffff)],
    ['3333 with a b3', map('0d05', [['b3', 'a3ce929d0e0e4736-00f067aa0ba902b7-1']])],
    ['3333 with an uber-trace-id', map('0d05', [['uber-trace-id', 'a3ce929d0e0e4736:00f067aa0ba902b7:0:1']])],
    ['a type that doesn’t exist', '1f 1938 00'],
  ]

  for (const [name, fields] of cases) {
    it(`${name}: replies, handlers and errors are thrift’s own`, async () => {
      const calls = (wire: Wire) => (wire.transport === 'TFramedTransport' ? frame(addCall(fields)) : addCall(fields))
      for (const wire of [FRAMED, BINARY]) {
        const oracle = await (await running(plain, wire)).send(calls(wire))
        assert.deepEqual(await (await running(traced, wire)).send(calls(wire)), oracle, wireName(wire))
      }
    })
  }

  it('cuts CALLTRACE’s block at every byte: no handler runs, and a whole one runs it once', async () => {
    const call = addCall('', 5, '0000000000000011 0000000000000022 0000000000000033')
    const server = await running(traced, FRAMED)
    const start = 4 + 4 + 3 + 4
    for (let cut = start; cut < start + 24; cut++) {
      const doing = await server.send(frame(call.subarray(0, cut)))
      assert.deepEqual(doing.handled, ['touch'])
    }
    assert.deepEqual((await server.send(frame(call))).handled, ['add 2 3', 'touch'])
  })

  it('is harmed by no peer that closes at any byte of a request, and runs no handler twice', async () => {
    for (const wire of WIRES) {
      const chunks: Buffer[] = []
      const recorder = await listen(createServer(socket => socket.on('data', d => chunks.push(d))))
      client(traced, traced.Calculator, recorder.port, wire)
        .add(20, 22)
        .catch(() => {})
      await until('it is recorded', () => chunks.length > 0)
      const request = Buffer.concat(chunks)
      let handled = 0
      const { port } = await serve(
        traced,
        traced.Calculator,
        {
          add: async (a: number, b: number) => {
            handled++
            return a + b
          },
        },
        wire,
      )
      for (let cut = 0; cut < request.length; cut++) {
        const socket = connectSocket(port, '127.0.0.1')
        await once(socket, 'connect')
        socket.end(request.subarray(0, cut))
        socket.resume()
        await once(socket, 'close')
      }
      assert.equal(handled, 0, wireName(wire))
      assert.equal(await client(traced, traced.Calculator, port, wire).add(1, 2), 3)
      assert.equal(handled, 1)
    }
  })

  it('treats random fields behind the arguments as without Milo', async () => {
    const servers = {
      binary: [await running(plain, FRAMED), await running(traced, FRAMED)],
      compact: [await running(plain, COMPACT), await running(traced, COMPACT)],
    } as const
    const pieces = fc.oneof(
      fc.constantFrom(
        field(good),
        field(good.slice(0, 30)),
        map('22b8', [['traceparent', parent]]),
        map('0d05', [['b3', 'x']]),
        '0f193803',
        '0f193803ffffffff',
        '0d22b80b0b',
      ),
      fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes).toString('hex')),
    )
    const compactPieces = fc.oneof(
      fc.constantFrom(
        `09 f064 f31d ${good}`,
        `09 f064 f305 ${good}`,
        '09f064f3ffffffff0f',
        '0bf08a0101880b7472616365706172656e7437',
        '0bf08a01ff7f88',
      ),
      fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes).toString('hex')),
    )
    for (const [protocol, gen, make] of [
      ['binary', pieces, addCall],
      ['compact', compactPieces, compactCall],
    ] as const) {
      await fc.assert(
        fc.asyncProperty(fc.array(gen, { maxLength: 4 }), async parts => {
          const call = frame(make(parts.join('')))
          const [oracle, ours] = servers[protocol]
          assert.deepEqual(await ours.send(call), await oracle.send(call))
        }),
        { numRuns: 150 },
      )
    }
  }).timeout(60_000)

  it('takes Milo’s field before 8888, and that before 3333, in whatever order they come', async () => {
    const own = field(good)
    const compat = map('22b8', [['traceparent', parent]])
    const tracing = map('0d05', [['b3', '00000000000000aa-00000000000000bb-1']])
    const server = await running(traced, FRAMED)
    for (const [fields, traceId] of [
      [own + compat + tracing, 0x11n],
      [tracing + compat + own, 0x11n],
      [compat + tracing, BigInt.asIntN(64, 0xa3ce929d0e0e4736n)],
      [tracing + compat, BigInt.asIntN(64, 0xa3ce929d0e0e4736n)],
      [tracing, 0xaan],
    ] as const) {
      peer.spans.length = 0
      await server.send(frame(addCall(fields)))
      const add = (await spans()).find(s => s.name === 'Calculator.add')!
      assert.equal(add.traceId, traceId)
    }
  })

  for (const [protocol, call] of [
    ['TBinaryProtocol', (entries: [string, string][]) => addCall(map('22b8', entries))],
    ['TCompactProtocol', (entries: [string, string][]) => compactCall(`0b f08a01 ${compactMap(entries)}`)],
    [
      'TJSONProtocol',
      (entries: [string, string][]) =>
        Buffer.from(
          `[1,"add",1,7,{"1":{"i32":2},"2":{"i32":3},"8888":{"map":["str","str",${entries.length},${JSON.stringify(Object.fromEntries(entries))}]}}]`,
        ),
    ],
  ] as const) {
    // What the Java agent sends by its OTEL_PROPAGATORS: b3, b3multi, jaeger.
    for (const entries of [
      [['b3', '4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1']],
      [
        ['X-B3-TraceId', '4bf92f3577b34da6a3ce929d0e0e4736'],
        ['X-B3-SpanId', '00f067aa0ba902b7'],
        ['X-B3-Sampled', '1'],
      ],
      [['uber-trace-id', '4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1']],
    ] as [string, string][][]) {
      it(`joins the trace of ${entries[0]![0]} alone in 8888: ${protocol}`, async () => {
        const { port } = await serve(
          traced,
          traced.Calculator,
          { add: async (a: number, b: number) => a + b },
          { transport: 'TFramedTransport', protocol },
        )
        const socket = connectSocket(port, '127.0.0.1')
        socket.write(frame(call(entries)))
        await once(socket, 'data')
        socket.destroy()
        const [s] = await spans()
        assert.deepEqual(
          [s!.traceIdHigh, s!.traceId, s!.parentId],
          [0x4bf92f3577b34da6n, BigInt.asIntN(64, 0xa3ce929d0e0e4736n), 0x00f067aa0ba902b7n],
        )
      })
    }

    it(`keeps what it knows of 8888 beside what is too long or unknown, and looks through 64 entries at most: ${protocol}`, async () => {
      const { port } = await serve(
        traced,
        traced.Calculator,
        { add: async (a: number, b: number) => a + b },
        { transport: 'TFramedTransport', protocol },
      )
      const many = (count: number): [string, string][] => Array.from({ length: count }, (_, i) => [`key${i}`, 'v'])
      for (const [entries, isTaken] of [
        [[['traceparent', parent]], true],
        [
          [
            ['baggage', 'x'.repeat(3000)],
            ['traceparent', parent],
          ],
          true,
        ],
        [
          [
            ['traceparent', parent],
            ['tracestate', 'a='.padEnd(5000, 'é')],
          ],
          true,
        ],
        [
          [
            ['x'.repeat(3000), 'of a long key'],
            ['traceparent', parent],
            ['\u0000', 'é\u{1f600}'],
          ],
          true,
        ],
        [[['traceparent', 'x'.repeat(3000)]], false],
        [[...many(63), ['traceparent', parent]], true],
        [[['traceparent', parent], ...many(64)], false],
      ] as [[string, string][], boolean][]) {
        peer.spans.length = 0
        const socket = connectSocket(port, '127.0.0.1')
        socket.write(frame(call(entries)))
        await once(socket, 'data')
        socket.destroy()
        const [s] = await spans()
        assert.equal(s!.parentId === 0x00f067aa0ba902b7n, isTaken, JSON.stringify(entries).slice(0, 100))
      }
    })
  }

  it('finds 8888 in a nested struct, where older clients put it', async () => {
    // move(Point{x: 1, 8888: …}, [1])
    const call = hex(
      `80010001 00000004 6d6f7665 00000001 0c 0001 08 0001 00000001 ${map('22b8', [['traceparent', parent]])} 00 0f 0002 08 00000001 00000001 00`,
    )
    const server = await running(traced, FRAMED)
    assert.deepEqual((await server.send(frame(call))).handled, ['move 1 null', 'touch'])
    const move = (await spans()).find(s => s.name === 'Calculator.move')!
    assert.equal(move.traceIdHigh, 0x4bf92f3577b34da6n)
    assert.equal(move.parentId, 0x00f067aa0ba902b7n)
  })

  it('shows the arguments to onRequest alone, on both sides, and survives one that throws or rejects', async () => {
    const shown: unknown[][] = []
    start({
      logLevel: 'silent',
      onRequest: (span: any, args: unknown[]): any => {
        shown.push(args)
        span.annotate('first', String(args[0]))
        if (shown.length > 3) throw new Error('of the hook')
        return shown.length > 2 ? Promise.reject(new Error('of the hook')) : undefined
      },
    })
    const self: unknown[] = []
    const handlers = {
      add(this: unknown, a: number, b: number, done: Function) {
        self.push(this, current().sampled)
        done(null, a + b)
      },
    }
    const { port } = await serve(traced, traced.Calculator, handlers, FRAMED)
    const c = client(traced, traced.Calculator, port, FRAMED)
    assert.equal(await c.add(20, 22), 42)
    assert.deepEqual(shown, [
      [20, 22],
      [20, 22],
    ])
    assert.deepEqual(self, [handlers, true])
    assert.ok((await spans()).every(s => s.annotations!.get('first') === '20'))
    assert.equal(await c.add(1, 2), 3)
    // The next Milo sends on what this one still has.
    await spans()
    start()
    peer.spans.length = 0
    assert.equal(await c.add(1, 2), 3)
    assert.ok((await spans()).every(s => ![...s.annotations!.values()].includes('1')))
  })

  it('keeps nothing of calls to a peer that never answers, beyond a bound', async () => {
    const { port } = await listen(createServer(socket => onClose(() => socket.destroy())))
    const c = client(traced, traced.Calculator, port, FRAMED)
    start({ maxBufferedSpans: 20_000 })
    for (let i = 0; i < 10_050; i++) c.add(i, i).catch(() => {})
    await until('the oldest are given up', async () => {
      await flush(1000)
      return peer.spans.length >= 50
    })
    assert.equal(peer.spans.length, 50)
    assert.ok(peer.spans.every(s => s.annotations!.get('thrift.result') === 'abandoned'))
  })
})
