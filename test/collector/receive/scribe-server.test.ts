import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import type { SecureContextOptions } from 'node:tls'
import fc from 'fast-check'
import { loadConfig } from '../../../collector/src/config'
import { Feed } from '../../../collector/src/keep/feed'
import { Rings } from '../../../collector/src/keep/rings'
import { createMetrics } from '../../../collector/src/metrics'
import { createFb303, type Fb303Options } from '../../../collector/src/receive/fb303'
import { createIngest } from '../../../collector/src/receive/ingest'
import { createScribeServer } from '../../../collector/src/receive/scribe-server'
import { type Message, NO_BACKLOG } from '../../../collector/src/store/store'
import { MessageType, Reader, T, type Writer } from '../../../src/codec/binary'
import { encodeRecord } from '../../../src/codec/span'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'
import { thriftSpan } from '../formats/zipkin-v1-thrift'
import {
  callFrame,
  cleanUp,
  collector,
  frame,
  hex,
  logFrame,
  Peer,
  putLogArgs,
  randomId,
  readReply,
  recordingLog,
  resultCode,
  span,
  type TestCollector,
  undo,
} from '../support'

const thrift = require('thrift')
const Scribe = require('../../gen/idl/scribe')
const { LogEntry } = require('../../gen/idl/scribe_types')

const OK = 0
const TRY_LATER = 1

function vectors(file: string): any[] {
  return JSON.parse(readFileSync(join(__dirname, '../../vectors', file), 'utf8'))
}

async function stored(c: TestCollector, traceId: bigint): Promise<any[]> {
  const { status, body } = await c.get(`/api/traces/${hex(traceId)}?form=records`)
  return status === 404 ? [] : body.records
}

describe('the Scribe server', () => {
  afterEach(undo)

  describe('with the calls of the original', () => {
    // Where the original lost or invented rows: what is right instead.
    const RIGHT: Record<string, object[]> = {
      bad_delimiter: [],
      truncated_record: [],
      py_emitter_empty_span: [],
      py_emitter_empty_strings_and_empty_collections_plus_empty_event: [
        {
          trace_id: '5',
          id: '0',
          parent_id: '0',
          name: '',
          client_host: '',
          events: [],
          annotations: {},
          counters: {},
        },
      ],
      same_span_twice_in_one_message: [{ trace_id: '9', id: '10', parent_id: '11' }],
      unknown_event_type_and_field: [{ trace_id: '9', id: '10', events: [{ timestamp: '1', event_type: 9 }] }],
    }
    const REJECTED: Record<string, number> = {
      bad_delimiter: 1,
      truncated_record: 1,
      py_emitter_empty_span: 1,
      py_emitter_empty_strings_and_empty_collections_plus_empty_event: 1,
    }

    for (const vector of vectors('original-collector-rows.json')) {
      it(`stores ${vector.name} as it was meant, and answers in the form of the call`, async () => {
        const c = await collector()
        const call = Buffer.from(vector.input_hex, 'hex')
        const reply = await new Peer(c.scribePorts[0]!).call(call)
        const strict = call[4] === 0x80
        // The original answered OK in the non-strict form, whatever the call's.
        const expected = strict
          ? frame(Buffer.from('80010002000000034c6f67000000000800000000000000', 'hex'))
          : vector.reply_hex
        assert.equal(reply.toString('hex'), expected.toString('hex'))
        const spans: any[] =
          RIGHT[vector.name] ??
          vector.decoded.body.messages.flatMap((entry: any) => entry.message.map((record: any) => record.span))
        const found: any[] = []
        for (const id of new Set(['0', '5', '9', '-1', '1234567890123456789', ...spans.map(s => s.trace_id)])) {
          found.push(...(await stored(c, BigInt(id))))
        }
        assert.equal(found.length, spans.length)
        for (const expectedSpan of spans) {
          assert.ok(
            found.some(s => sameJson(s, expectedSpan)),
            `${JSON.stringify(expectedSpan)} in ${JSON.stringify(found)}`,
          )
        }
        const rejected = (await c.metric('spans_received_total')) - (await c.metric('spans_stored_total'))
        assert.equal(rejected, REJECTED[vector.name] ?? 0)
      })
    }

    for (const vector of vectors('scribe-log.json')) {
      if (vector.decoded.type !== MessageType.CALL) continue
      it(`answers OK to ${vector.name}`, async () => {
        const c = await collector()
        const reply = await new Peer(c.scribePorts[0]!).call(Buffer.from(vector.hex, 'hex'))
        assert.equal(resultCode(reply), OK)
        assert.equal(readReply(reply).strict, vector.decoded.strict)
      })
    }
  })

  it('answers strict and non-strict calls in their form and with their sequence id', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    for (const strict of [true, false]) {
      for (const seqid of [0, 7, -1, 2147483647]) {
        const reply = readReply(await peer.call(logFrame([span()], { strict, seqid })))
        assert.deepEqual(reply, { strict, type: MessageType.REPLY, name: 'Log', seqid, value: OK })
      }
    }
  })

  it('takes CALLTRACE, whose ids it passes over, strict and not', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    for (const strict of [true, false]) {
      const sent = span()
      const call = callFrame('Log', { strict, type: MessageType.CALLTRACE, seqid: 3 }, w => {
        for (const id of [1, 2, 3]) w.i64(0, id)
        putLogArgs(w, [sent])
      })
      assert.equal(resultCode(await peer.call(call)), OK)
      assert.equal((await stored(c, sent.traceId)).length, 1)
    }
  })

  it('takes a oneway Log, without a reply', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    const [first, second] = [span(), span()]
    peer.send(logFrame([first], { type: MessageType.ONEWAY, seqid: 1 }))
    const reply = readReply(await peer.call(logFrame([second], { seqid: 2 })))
    assert.equal(reply.seqid, 2)
    assert.equal((await stored(c, first.traceId)).length, 1)
  })

  it('takes raw and base64 messages, several in one call', async () => {
    const c = await collector()
    const traceId = randomId()
    const [a, b] = [span({ traceId }), span({ traceId })]
    const text = Buffer.from(encodeRecord(b).toString('base64'))
    assert.equal(await new Peer(c.scribePorts[0]!).log(a, text), OK)
    assert.deepEqual(new Set((await stored(c, traceId)).map(r => r.id)), new Set([String(a.id), String(b.id)]))
  })

  it('answers OK to an empty Log, and to entries without a message', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    assert.equal(resultCode(await peer.call(logFrame([]))), OK)
    assert.equal(resultCode(await peer.call(callFrame('Log'))), OK)
    const empty = (w: Writer) => {
      w.field(T.LIST, 1)
      w.byte(T.STRUCT)
      w.i32(1)
      w.raw(Buffer.alloc(2))
    }
    assert.equal(resultCode(await peer.call(callFrame('Log', {}, empty))), OK)
  })

  it('answers OK to another category, which it counts and drops', async () => {
    const c = await collector()
    const sent = span()
    const reply = await new Peer(c.scribePorts[0]!).call(logFrame([sent], { category: 'access-log' }))
    assert.equal(resultCode(reply), OK)
    assert.deepEqual(await stored(c, sent.traceId), [])
    assert.equal(await c.metric('entries_dropped_total'), 1)
  })

  it('takes Zipkin’s category, or another that it is told, or none', async () => {
    const id = randomId()
    const message = Buffer.from(thriftSpan({ traceId: hex(id), id: hex(id), name: 'get' }).toString('base64'))
    for (const [wanted, sent, dropped] of [
      ['zipkin', 'zipkin', 0],
      ['spans', 'spans', 0],
      ['spans', 'zipkin', 1],
      ['', 'zipkin', 1],
      ['', '', 1],
    ] as const) {
      const c = await collector({ scribe: { category: 'Milo-Trace', zipkin_category: wanted } })
      const reply = await new Peer(c.scribePorts[0]!).call(logFrame([message], { category: sent }))
      assert.equal(resultCode(reply), OK)
      assert.equal(await c.metric('entries_dropped_total'), dropped)
      assert.equal(await c.metric('spans_stored_total'), 1 - dropped)
      if (dropped === 0) {
        await until('it is found', async () => (await c.get(`/api/traces/${hex(id)}`)).status === 200)
      }
    }
  })

  it('reads calls that arrive byte by byte, and many that arrive at once', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    const sent = span()
    const call = logFrame([sent])
    for (const byte of call) {
      peer.send(Buffer.from([byte]))
      await new Promise(setImmediate)
    }
    assert.equal(resultCode(await peer.reply()), OK)
    assert.equal((await stored(c, sent.traceId)).length, 1)
    const calls = Array.from({ length: 2000 }, (_, seqid) => logFrame([span()], { seqid }))
    peer.send(Buffer.concat(calls))
    for (let seqid = 0; seqid < calls.length; seqid++) assert.equal(readReply(await peer.reply()).seqid, seqid)
    assert.equal(await c.metric('spans_stored_total'), 2001)
  })

  it('takes a frame of the size limit in many parts', async () => {
    const c = await collector()
    const traceId = randomId()
    const records = Array.from({ length: 16 }, () => span({ traceId, name: 'x'.repeat(1_000_000) }))
    assert.equal(await new Peer(c.scribePorts[0]!).log(...records), OK)
    assert.equal((await stored(c, traceId)).length, 16)
    assert.equal(await c.metric('bytes_unfinished'), 0)
  })

  describe("with fb303's methods", () => {
    async function ask(peer: Peer, method: string, ...args: string[]) {
      const call = callFrame(method, {}, w => {
        for (const [i, arg] of args.entries()) {
          w.field(T.STRING, i + 1)
          w.string(arg)
        }
        w.byte(T.STOP)
      })
      const reply = readReply(await peer.call(call))
      assert.equal(reply.name, method)
      return reply
    }

    it('tells its name, version and status', async () => {
      const c = await collector()
      const peer = new Peer(c.scribePorts[0]!)
      assert.equal((await ask(peer, 'getName')).value, 'milo-collector')
      assert.match((await ask(peer, 'getVersion')).value as string, /^\d+\.\d+\.\d+/)
      assert.equal((await ask(peer, 'getStatus')).value, 2)
      assert.equal((await ask(peer, 'getStatusDetails')).value, '')
      assert.equal((await ask(peer, 'getCpuProfile')).value, '')
      const aliveSinceS = Number((await ask(peer, 'aliveSince')).value)
      assert.ok(Math.abs(aliveSinceS - Date.now() / 1000) < 60)
    })

    it('tells its counters', async () => {
      const c = await collector()
      const peer = new Peer(c.scribePorts[0]!)
      await peer.log(span(), Buffer.from('not a record'))
      const counters = (await ask(peer, 'getCounters')).value as Map<string, bigint>
      assert.equal(counters.get('spans_stored_total'), 1n)
      assert.equal(counters.get('spans_rejected_total.scribe.bad_delimiter'), 1n)
      assert.equal((await ask(peer, 'getCounter', 'spans_received_total')).value, 2n)
      assert.equal((await ask(peer, 'getCounter', 'no such counter')).value, 0n)
    })

    it("serves npm thrift's client, all of it: Log, fb303, an unknown counter, a refused option", async () => {
      const c = await collector()
      const connection = thrift.createConnection('127.0.0.1', c.scribePorts[0], { transport: thrift.TFramedTransport })
      cleanUp.push(() => connection.end())
      const client = thrift.createClient(Scribe, connection)
      const sent = span()
      const entry = new LogEntry({ category: 'Milo-Trace', message: encodeRecord(sent) })
      assert.equal(await client.Log([entry, entry]), OK)
      assert.equal((await stored(c, sent.traceId)).length, 1)
      assert.equal(await client.getName(), 'milo-collector')
      assert.equal(await client.getStatus(), 2)
      assert.equal(String((await client.getCounters()).spans_stored_total), '2')
      assert.equal(String(await client.getCounter('no such counter')), '0')
      assert.equal(await client.setOption('a', 'b'), undefined)
      assert.deepEqual({ ...(await client.getOptions()) }, { a: 'b' })
      await assert.rejects(client.setOption('a', 'x'.repeat(5000)), /an option may have 4096 characters/)
      client.shutdown()
      assert.equal(await client.getStatusDetails(), '')
      assert.ok(Number(await client.aliveSince()) > 1_600_000_000)
    })

    it('keeps options, but not without end', async () => {
      const c = await collector()
      const peer = new Peer(c.scribePorts[0]!)
      assert.equal((await ask(peer, 'getOption', 'a')).value, '')
      assert.equal((await ask(peer, 'setOption', 'a', 'b')).type, MessageType.REPLY)
      assert.equal((await ask(peer, 'getOption', 'a')).value, 'b')
      assert.deepEqual((await ask(peer, 'getOptions')).value, new Map([['a', 'b']]))
      assert.equal((await ask(peer, 'setOption', 'a', 'x'.repeat(5000))).type, MessageType.EXCEPTION)
      for (let i = 1; i < 100; i++) await ask(peer, 'setOption', `key ${i}`, 'v')
      assert.equal((await ask(peer, 'setOption', 'one more', 'v')).type, MessageType.EXCEPTION)
      assert.equal((await ask(peer, 'setOption', 'a', 'c')).type, MessageType.REPLY)
    })

    for (const type of [MessageType.ONEWAY, MessageType.CALL]) {
      it(`ignores shutdown and reinitialize sent as ${MessageType[type]}`, async () => {
        const c = await collector()
        const peer = new Peer(c.scribePorts[0]!)
        peer.send(callFrame('shutdown', { type, seqid: 1 }))
        peer.send(callFrame('reinitialize', { type, seqid: 2 }))
        const reply = readReply(await peer.call(callFrame('getStatus', { seqid: 3 })))
        assert.deepEqual([reply.seqid, reply.value], [3, 2])
        assert.equal(await c.metric('calls_total{method="shutdown"}'), 1)
        assert.ok(c.lines.some(line => line.method === 'shutdown' && line.level === 40))
      })
    }

    it('says WARNING while the store refuses (a store in this test)', async () => {
      const { port } = await server(async () => {
        throw new Error('disk full')
      })
      const peer = new Peer(port)
      assert.equal(await peer.log(span()), TRY_LATER)
      assert.equal((await ask(peer, 'getStatus')).value, 5)
      assert.match((await ask(peer, 'getStatusDetails')).value as string, /TRY_LATER/)
    })
  })

  it('answers an unknown method with an exception that says so, and goes on', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    const original = vectors('original-server-behaviour.json').find(v => v.name === 'java_server_unknown_method')
    // The original answered strict calls in the non-strict form; a non-strict one gets the very same bytes.
    const reply = await peer.call(callFrame('pung', { strict: false, seqid: 7 }))
    assert.equal(reply.toString('hex'), original.received[0])
    assert.deepEqual(readReply(await peer.call(callFrame('pung', { seqid: 8 }))), {
      strict: true,
      type: MessageType.EXCEPTION,
      name: 'pung',
      seqid: 8,
      message: "Invalid method name: 'pung'",
      exceptionType: 1,
    })
    assert.equal(await peer.log(span()), OK)
    assert.equal(await c.metric('calls_total{method="unknown"}'), 2)
  })

  describe('with bad input', () => {
    const framed = (bytes: string) => frame(Buffer.from(bytes, 'hex'))
    const closing: [string, Buffer, string][] = [
      ['a length over the limit', Buffer.from('01000001', 'hex'), 'frame_length'],
      ['a negative length', Buffer.from('ffffffff80010001', 'hex'), 'frame_length'],
      ['a frame of nothing', Buffer.alloc(4), 'frame_length'],
      ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'frame_length'],
      ['an unframed call', callFrame('Log').subarray(4), 'frame_length'],
      ['another version', framed('80020001000000034c6f670000000000'), 'bad_version'],
      ['a header that is cut off', framed('8001000100000003'), 'truncated'],
      ['a frame of three bytes', framed('800100'), 'truncated'],
      ['a name longer than its frame', framed('7fffffff4c6f6701'), 'truncated'],
      ['a negative name length', framed('80010001ffffffff4c6f6700000000'), 'negative_length'],
      ['a reply', callFrame('Log', { type: MessageType.REPLY }), 'bad_message_type'],
      ['an exception', callFrame('Log', { type: MessageType.EXCEPTION }), 'bad_message_type'],
      ['a type that does not exist', callFrame('Log', { type: 77 }), 'bad_message_type'],
      ['a CALLTRACE without its ids', callFrame('Log', { type: MessageType.CALLTRACE }), 'truncated'],
      ['a name of a kilobyte', callFrame('x'.repeat(1024)), 'bad_method'],
    ]
    for (const [what, bytes, reason] of closing) {
      it(`closes a connection that sends ${what}, counts it, and serves the others`, async () => {
        const c = await collector()
        const [good, bad] = [new Peer(c.scribePorts[0]!), new Peer(c.scribePorts[0]!)]
        assert.equal(await good.log(span()), OK)
        bad.send(bytes)
        await bad.closed
        assert.deepEqual(bad.unclaimed, [])
        assert.equal(await c.metric(`connection_errors_total{reason="${reason}"}`), 1)
        assert.ok(c.lines.some(line => line.reason === reason))
        assert.equal(await good.log(span()), OK)
        assert.equal(await new Peer(c.scribePorts[0]!).log(span()), OK)
      })
    }

    it('counts a frame that ends before its length, and stores nothing of it', async () => {
      const c = await collector()
      const sent = span()
      const peer = new Peer(c.scribePorts[0]!)
      peer.send(logFrame([sent]).subarray(0, -1))
      peer.socket.end()
      await peer.closed
      assert.equal(await c.metric('connection_errors_total{reason="truncated_frame"}'), 1)
      assert.deepEqual(await stored(c, sent.traceId), [])
    })

    it('answers what came before garbage, then closes', async () => {
      const c = await collector()
      const sent = span()
      const peer = new Peer(c.scribePorts[0]!)
      const reply = peer.reply()
      peer.send(Buffer.concat([logFrame([sent]), Buffer.from('ffffffff', 'hex')]))
      assert.equal(resultCode(await reply), OK)
      await peer.closed
      assert.equal((await stored(c, sent.traceId)).length, 1)
    })

    it('answers calls to the end when the sender has closed its half', async () => {
      const c = await collector()
      const peer = new Peer(c.scribePorts[0]!)
      const replies = [peer.reply(), peer.reply()]
      peer.socket.end(Buffer.concat([logFrame([span()]), logFrame([span()])]))
      assert.deepEqual((await Promise.all(replies)).map(resultCode), [OK, OK])
      await peer.closed
    })

    const unreadable: [string, (w: Writer) => void][] = [
      ['arguments that are cut off', w => w.raw(logFrame([span()]).subarray(19, -9))],
      [
        'more entries than can be there',
        w => {
          w.field(T.LIST, 1)
          w.byte(T.STRUCT)
          w.i32(2147483647)
        },
      ],
      [
        'a negative number of entries',
        w => {
          w.field(T.LIST, 1)
          w.byte(T.STRUCT)
          w.i32(-1)
        },
      ],
      ['a type that does not exist', w => w.raw(Buffer.from('630001', 'hex'))],
      ['structs nested a thousand deep', w => w.raw(Buffer.alloc(3000, Buffer.from([T.STRUCT, 0, 9])))],
      ['no arguments at all', () => {}],
    ]
    for (const [what, args] of unreadable) {
      it(`answers a Log with ${what} by an exception, and goes on`, async () => {
        const c = await collector()
        const peer = new Peer(c.scribePorts[0]!)
        const reply = readReply(await peer.call(callFrame('Log', { seqid: 5 }, args)))
        assert.deepEqual([reply.type, reply.seqid, reply.exceptionType], [MessageType.EXCEPTION, 5, 7])
        assert.match(reply.message!, /^bad arguments: /)
        assert.equal(await c.metric('log_calls_total{result="bad_arguments"}'), 1)
        assert.equal(await peer.log(span()), OK)
      })
    }

    it('stores the good records around bad ones, and answers OK', async () => {
      const c = await collector()
      const traceId = randomId()
      const [a, b, d] = [span({ traceId }), span({ traceId }), span({ traceId })]
      const noise = Buffer.from('deadbeef0000000100', 'hex')
      const message = Buffer.concat([encodeRecord(a), noise, encodeRecord(b), encodeRecord({ name: 'no ids' })])
      assert.equal(await new Peer(c.scribePorts[0]!).log(message, noise, d), OK)
      assert.deepEqual(
        new Set((await stored(c, traceId)).map(record => record.id)),
        new Set([a, b, d].map(({ id }) => String(id))),
      )
      assert.equal(await c.metric('spans_rejected_total{reason="bad_delimiter"}'), 2)
      assert.equal(await c.metric('spans_rejected_total{reason="no_trace_id"}'), 1)
      assert.equal(await c.metric('spans_received_total'), 6)
      assert.equal(await c.metric('spans_stored_total'), 3)
    })

    it('stays up and answers under random bytes on many connections', async () => {
      const c = await collector()
      const next = seeded(1)
      const random = () => next() * 2 ** 32
      const good = logFrame([span(), span({ annotations: new Map([['k', 'v']]), counters: new Map([['n', 1n]]) })])
      await Promise.all(
        Array.from({ length: 300 }, async () => {
          const bytes = Buffer.from(good)
          for (let n = 1 + (random() % 8); n > 0; n--) bytes[random() % bytes.length] = random() & 0xff
          const peer = new Peer(c.scribePorts[0]!)
          peer.socket.end(bytes)
          await peer.closed
        }),
      )
      assert.equal(await new Peer(c.scribePorts[0]!).log(span()), OK)
      assert.equal(await c.metric('bytes_unfinished'), 0)
      assert.equal(await c.metric('bytes_in_flight'), 0)
      assert.equal(await c.metric('spans_in_flight'), 0)
    })
  })

  /** A Scribe server on a store of the test's own. */
  async function server(append: (messages: Message[]) => Promise<void>, limits: Limits = {}) {
    const metrics = createMetrics()
    const { log, lines } = recordingLog()
    const ingest = createIngest({
      store: { append, backlog: () => NO_BACKLOG },
      category: 'Milo-Trace',
      maxInFlightBytes: limits.inFlight ?? 1024 * 1024,
      maxBacklogSpans: 1,
      maxBacklogBytes: 1,
      metrics,
      log,
    })
    const fb303 = createFb303({
      status: () => (ingest.storeFails() ? 'WARNING' : 'ALIVE'),
      counters: async () => new Map(),
      control: limits.control,
    })
    const scribe = createScribeServer({
      ingest,
      fb303,
      keeping: { feed: new Feed(), rings: new Rings() },
      maxFrameBytes: 16 * 1024 * 1024,
      maxUnfinishedBytes: limits.unfinished ?? 64 * 1024 * 1024,
      maxConnections: limits.connections ?? 1000,
      ...(limits.isTrusted && { isTrusted: limits.isTrusted }),
      idleTimeoutMs: limits.idleMs ?? 60_000,
      tls: limits.tls,
      metrics,
      log,
    })
    cleanUp.push(() => scribe.close(0))
    const value = async (name: string) =>
      (await metrics.registry.getSingleMetric(`milo_collector_${name}`)!.get()).values
    const closed = async (reason: string) =>
      (await value('connections_closed_total')).find(({ labels }) => labels.reason === reason)?.value ?? 0
    return { port: await scribe.listen('127.0.0.1', 0), scribe, lines, value, closed }
  }

  interface Limits {
    unfinished?: number
    inFlight?: number
    connections?: number
    isTrusted?: (address: string) => boolean
    idleMs?: number
    tls?: SecureContextOptions
    control?: Fb303Options['control']
  }

  it('answers in the order of the calls, though later ones are done first (a slow store in this test)', async () => {
    const releases: (() => void)[] = []
    const { port } = await server(() => new Promise(resolve => releases.push(resolve)))
    const peer = new Peer(port)
    peer.send(logFrame([span()], { seqid: 1 }))
    peer.send(callFrame('getName', { seqid: 2 }))
    peer.send(logFrame([span()], { seqid: 3 }))
    await until('both calls reach the store', () => releases.length === 2)
    releases[1]!()
    await new Promise(setImmediate)
    assert.deepEqual(peer.unclaimed, [])
    releases[0]!()
    for (const seqid of [1, 2, 3]) assert.equal(readReply(await peer.reply()).seqid, seqid)
  })

  it('answers TRY_LATER at once on every connection while too much waits for the store (a slow one in this test)', async () => {
    const releases: (() => void)[] = []
    const { port } = await server(() => new Promise(resolve => releases.push(resolve)))
    const waiting = [new Peer(port), new Peer(port)].map(peer => peer.log(span({ name: 'x'.repeat(600_000) })))
    await until('both calls reach the store', () => releases.length === 2)
    assert.equal(await new Peer(port).log(span()), TRY_LATER)
    for (const release of releases) release()
    assert.deepEqual(await Promise.all(waiting), [OK, OK])
    const last = new Peer(port).log(span())
    await until('the next call reaches the store', () => releases.length === 3)
    releases[2]!()
    assert.equal(await last, OK)
  })

  it('stops reading from a connection that has much waiting (a slow store in this test)', async () => {
    const releases: (() => void)[] = []
    const { port, value } = await server(() => new Promise(resolve => releases.push(resolve)), { inFlight: 1024 ** 3 })
    const peer = new Peer(port)
    const calls = 200
    let received = 0
    for (let seqid = 0; seqid < calls; seqid++) {
      peer.send(logFrame([span({ name: 'x'.repeat(1_000_000) })], { seqid }))
      void peer.reply().then(() => received++)
    }
    // 4 MiB and what one read brings, not the 200 MB that were sent.
    await until('calls reach the store', () => releases.length >= 4)
    for (let i = 0; i < 100; i++) await new Promise(setImmediate)
    assert.ok(releases.length <= 6, `${releases.length} calls were read`)
    assert.ok((await value('log_calls_in_flight'))[0]!.value <= 6)
    await until('all are answered in the end', () => {
      for (const release of releases.splice(0)) release()
      return received === calls
    })
  })

  it('reads the same calls wherever the stream is cut, and answers each in its place', async () => {
    const { port } = await server(async () => {})
    const calls = [
      logFrame([span(), span()]),
      callFrame('getName'),
      logFrame([]),
      logFrame([Buffer.from('noise')], { strict: false }),
      callFrame('nothing', { strict: false }),
      callFrame('Log', {}, w => w.byte(99)),
      logFrame([span({ name: 'x'.repeat(70_000) })]),
    ]
    const withId = fc.array(fc.constantFrom(...calls), { minLength: 1, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(withId, fc.array(fc.nat(), { maxLength: 6 }), async (calls, cuts) => {
        const stream = Buffer.concat(calls)
        const peer = new Peer(port)
        const replies = calls.map(() => peer.reply())
        let from = 0
        for (const to of [...cuts.map(cut => cut % stream.length).sort((a, b) => a - b), stream.length]) {
          peer.send(stream.subarray(from, to))
          from = to
          await new Promise(setImmediate)
        }
        const names = (await Promise.all(replies)).map(reply => readReply(reply).name)
        assert.deepEqual(
          names,
          calls.map(call => new Reader(call.subarray(4)).messageBegin().name),
        )
        peer.socket.destroy()
      }),
      { numRuns: 60 },
    )
  })

  it('answers any arguments of any method, or closes the connection, and never dies', async () => {
    const { port } = await server(async () => {})
    const method = fc.constantFrom(
      'Log',
      'getCounter',
      'getOption',
      'setOption',
      'getOptions',
      'shutdown',
      '',
      '__proto__',
    )
    const args = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      // Thrift's own types and small lengths: deeper than random bytes get.
      fc.array(fc.constantFrom(0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16, 127, 128, 255), { maxLength: 60 }),
    )
    await fc.assert(
      fc.asyncProperty(method, args, fc.constantFrom(1, 4, 5), async (name, bytes, type) => {
        const peer = new Peer(port)
        peer.send(callFrame(name, { type }, w => w.raw(Uint8Array.from(bytes))))
        const reply = await peer.call(callFrame('getName', { seqid: 77 })).catch(() => undefined)
        // What the first call was answered with comes before, unless it is oneway.
        if (reply !== undefined) assert.ok(readReply(reply).seqid === 77 || readReply(await peer.reply()).seqid === 77)
        peer.socket.destroy()
      }),
      { numRuns: 300 },
    )
    assert.equal(await new Peer(port).log(span()), OK)
  })

  it('closes the connection whose unfinished frames take the most memory, and not the one that comes next', async () => {
    const { port, value } = await server(async () => {}, { unfinished: 2_500_000 })
    const announced = Buffer.from('01000000', 'hex')
    const greedy = new Peer(port)
    greedy.send(Buffer.concat([announced, Buffer.alloc(1_500_000)]))
    await until('most of it is there', async () => (await value('bytes_unfinished'))[0]!.value > 1_500_000)
    const sender = new Peer(port)
    assert.equal(await sender.log(span({ name: 'x'.repeat(1_000_000) })), OK)
    await greedy.closed
    assert.equal((await value('connection_errors_total')).find(v => v.labels.reason === 'frame_memory')?.value, 1)
  })

  it('reads a small call at once while others send large ones full of bad records', async () => {
    const { port, value } = await server(async () => {}, { inFlight: 1024 ** 3 })
    const bad = encodeRecord({}).subarray(0)
    const hostile = logFrame([Buffer.concat(Array.from({ length: 1_600_000 }, () => bad))])
    const floods = Array.from({ length: 3 }, () => new Peer(port))
    const answers = floods.map(peer => peer.call(hostile))
    let answered = 0
    for (const answer of answers) void answer.then(() => answered++)
    await until('they are being read', async () => (await value('log_calls_in_flight'))[0]!.value > 0)
    const peer = new Peer(port)
    assert.equal(await peer.log(span()), OK)
    assert.ok(answered < floods.length, 'the small call waited for the large ones')
    assert.deepEqual((await Promise.all(answers)).map(resultCode), [OK, OK, OK])
    assert.equal((await value('spans_rejected_total'))[0]!.value, 4_800_000)
  })

  it('closes connections on which nothing comes, but not one that waits for its answer', async () => {
    const releases: (() => void)[] = []
    const { port, closed, value } = await server(() => new Promise(resolve => releases.push(resolve)), { idleMs: 1000 })
    const waiting = new Peer(port)
    const answer = waiting.log(span())
    await until('the call reaches the store', () => releases.length === 1)
    await new Peer(port).closed
    assert.equal(await closed('idle'), 1)
    await until('one is left', async () => (await value('connections'))[0]!.value === 1)
    releases[0]!()
    assert.equal(await answer, OK)
    await waiting.closed
    assert.equal(await closed('idle'), 2)
  })

  it('closes a connection whose frame stands still, and one that takes no replies', async () => {
    const { port, closed } = await server(async () => {}, { idleMs: 200 })
    const stuck = new Peer(port)
    stuck.send(Buffer.from('0000100080010001', 'hex'))
    await stuck.closed
    assert.equal(await closed('stalled'), 1)
    // Many small calls with a large answer each.
    const deaf = connect(port, '127.0.0.1')
    cleanUp.push(() => deaf.destroy())
    deaf.on('error', () => {})
    deaf.pause()
    const key = 'k'.repeat(4000)
    const set = callFrame('setOption', {}, w => {
      w.field(T.STRING, 1)
      w.string('key')
      w.field(T.STRING, 2)
      w.string(key)
      w.byte(T.STOP)
    })
    deaf.write(set)
    const calls = Buffer.concat(Array.from({ length: 20_000 }, () => callFrame('getOptions')))
    deaf.write(calls)
    await until('it is closed', async () => (await closed('stalled')) === 2)
  })

  it('makes room for a new connection by closing the one that has been idle for longest', async () => {
    const releases: (() => void)[] = []
    const { port, closed, value } = await server(() => new Promise(resolve => releases.push(resolve)), {
      connections: 3,
    })
    const open = async () => (await value('connections'))[0]!.value
    const busy = new Peer(port)
    const answer = busy.log(span())
    await until('its call reaches the store', () => releases.length === 1)
    const first = new Peer(port)
    await until('it is there', async () => (await open()) === 2)
    const second = new Peer(port)
    await until('it is there', async () => (await open()) === 3)
    const third = new Peer(port)
    await first.closed
    assert.equal(await closed('evicted'), 1)
    const call = third.log(span())
    await until('its call reaches the store', () => releases.length === 2)
    assert.equal(second.socket.destroyed, false)
    for (const release of releases) release()
    assert.deepEqual(await Promise.all([answer, call]), [OK, OK])
  })

  /** Sends a byte of a frame now and then, as slowly as keeps a connection from standing still. */
  function drip(port: number): Peer {
    const peer = new Peer(port)
    const frame = logFrame([span({ name: 'x'.repeat(100_000) })])
    let at = 0
    const timer = setInterval(() => peer.send(frame.subarray(at, ++at)), 20)
    void peer.closed.then(() => clearInterval(timer))
    cleanUp.push(() => clearInterval(timer))
    return peer
  }

  it('makes room for a new connection by closing one whose frame comes a byte at a time', async () => {
    const { port, closed } = await server(async () => {}, { connections: 2 })
    const slow = [drip(port), drip(port)]
    const log = () => new Peer(port).log(span()).catch(() => undefined)
    await until('somebody else gets in', async () => (await log()) === OK)
    assert.ok((await closed('evicted')) > 0)
    assert.ok(slow.some(({ socket }) => socket.destroyed))
  })

  it('closes a connection whose frame comes a byte at a time, even when there is room', async () => {
    const { port, closed } = await server(async () => {}, { idleMs: 300 })
    await drip(port).closed
    assert.equal(await closed('stalled'), 1)
  })

  it('gives half of the connections at most to one address that is not trusted', async () => {
    const releases: (() => void)[] = []
    const append = () => new Promise<void>(resolve => releases.push(resolve))
    const { port, closed } = await server(append, { connections: 4, isTrusted: () => false })
    const answers = [new Peer(port).log(span()), new Peer(port).log(span())]
    await until('both calls reach the store', () => releases.length === 2)
    await new Peer(port).closed
    assert.equal(await closed('refused'), 1)
    for (const release of releases) release()
    assert.deepEqual(await Promise.all(answers), [OK, OK])
    // The two are idle now, so that one of them makes room.
    const last = new Peer(port).log(span())
    await until('its call reaches the store', () => releases.length === 3)
    releases[2]!()
    assert.equal(await last, OK)
  })

  it('reads nothing more from any connection while complete frames wait for their turn', async () => {
    const { port, value } = await server(async () => {}, { unfinished: 256 * 1024, inFlight: 1024 ** 3 })
    const frame = logFrame([span({ name: 'x'.repeat(4000) })])
    const calls = 200
    const peers = Array.from({ length: 8 }, () => new Peer(port))
    for (const peer of peers) peer.send(Buffer.concat(Array.from({ length: calls }, () => frame)))
    let answered = 0
    for (const peer of peers) for (let i = 0; i < calls; i++) void peer.reply().then(() => answered++)
    let most = 0
    await until('all are answered', async () => {
      most = Math.max(most, (await value('bytes_unread'))[0]!.value)
      await new Promise(setImmediate)
      return answered === calls * peers.length
    })
    // Half of what is allowed, and what was read from each socket before it was paused.
    const bound = 128 * 1024 + peers.length * 64 * 1024
    assert.ok(most > 0 && most <= bound, `${most} bytes`)
    assert.equal((await value('bytes_unread'))[0]!.value, 0)
  })

  it('refuses a connection when all are busy', async () => {
    const releases: (() => void)[] = []
    const { port, closed } = await server(() => new Promise(resolve => releases.push(resolve)), { connections: 2 })
    const answers = [new Peer(port).log(span()), new Peer(port).log(span())]
    await until('both calls reach the store', () => releases.length === 2)
    await new Peer(port).closed
    assert.equal(await closed('refused'), 1)
    for (const release of releases) release()
    assert.deepEqual(await Promise.all(answers), [OK, OK])
  })

  it('takes a oneway call whose sender is gone already', async () => {
    const appended: Message[] = []
    const { port } = await server(async messages => void appended.push(...messages))
    const peer = new Peer(port)
    peer.socket.end(logFrame([span(), span()], { type: MessageType.ONEWAY }))
    await peer.closed
    await until('it is stored', () => appended.length > 0)
  })

  it('lets fb303 stop and reload it where the configuration says so', async () => {
    const called: string[] = []
    const control = {
      shutdown: () => void called.push('shutdown'),
      reinitialize: () => void called.push('reinitialize'),
    }
    const { port } = await server(async () => {}, { control })
    const peer = new Peer(port)
    peer.send(callFrame('reinitialize', { type: MessageType.ONEWAY, seqid: 1 }))
    peer.send(callFrame('shutdown', { type: MessageType.ONEWAY, seqid: 2 }))
    await until('both are called', () => called.length === 2)
    assert.deepEqual(called, ['reinitialize', 'shutdown'])
  })

  it('does not keep memory for a length that was only announced, and bounds what has arrived in part', async () => {
    const { port, value } = await server(async () => {}, { unfinished: 1024 * 1024 })
    const unfinished = async () => (await value('bytes_unfinished'))[0]!.value
    const announced = Buffer.from('01000000', 'hex')
    const peers = Array.from({ length: 20 }, () => new Peer(port))
    for (const peer of peers) peer.send(Buffer.concat([announced, Buffer.alloc(10)]))
    await until('every frame has begun', async () => (await unfinished()) === 20 * 16 * 1024)
    const greedy = new Peer(port)
    greedy.send(Buffer.concat([announced, Buffer.alloc(2 * 1024 * 1024)]))
    await greedy.closed
    assert.equal((await value('connection_errors_total')).find(v => v.labels.reason === 'frame_memory')?.value, 1)
    for (const peer of peers) peer.socket.destroy()
    await until('all is let go', async () => (await unfinished()) === 0)
  })

  it('answers what is in flight when it stops, and takes nothing more (a slow store in this test)', async () => {
    const releases: (() => void)[] = []
    const { port, scribe } = await server(() => new Promise(resolve => releases.push(resolve)))
    const peer = new Peer(port)
    const idle = new Peer(port)
    const answer = peer.log(span())
    await until('the call reaches the store', () => releases.length === 1)
    const stopped = scribe.close(60_000)
    await idle.closed
    peer.send(logFrame([span()]))
    releases[0]!()
    assert.equal(await answer, OK)
    await Promise.all([stopped, peer.closed])
    assert.equal(releases.length, 1)
    const late = new Peer(port)
    await late.closed
    assert.equal(late.socket.bytesRead, 0)
  })
})

function sameJson(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b)
    return true
  } catch {
    return false
  }
}

describe('the ports', () => {
  afterEach(undo)

  async function busyPort(): Promise<number> {
    const taken = createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    cleanUp.push(() => taken.close())
    return (taken.address() as { port: number }).port
  }

  it('are all opened, and named in the log with those that 0 stood for', async () => {
    const c = await collector({ collector_port: [0, 0] })
    assert.equal(c.scribePorts.length, 2)
    for (const port of c.scribePorts) assert.equal(await new Peer(port).log(span()), OK)
    const said = c.lines
      .filter(line => line.msg === 'listening')
      .map(({ listener, host, port }) => ({ listener, host, port }))
    assert.deepEqual(said, [
      { listener: 'scribe', host: '127.0.0.1', port: c.scribePorts[0] },
      { listener: 'scribe', host: '127.0.0.1', port: c.scribePorts[1] },
      { listener: 'http', host: '127.0.0.1', port: c.httpPort },
    ])
    const { msg, web } = c.lines.at(-1)!
    assert.deepEqual([msg, web], ['ready', `${c.url}/`])
  })

  it('may be busy when it is the second by default: a warning with the remedy, and healthy without it', async () => {
    const busy = await busyPort()
    const c = await collector({ collector_port: [0, busy], collectorPortGiven: false })
    assert.equal(c.scribePorts.length, 1)
    const warning = c.lines.find(line => line.port === busy)!
    assert.equal(warning.level, 40)
    assert.match(warning.msg, new RegExp(`let Scribe forward category Milo-Trace to 127.0.0.1:${c.scribePorts[0]}`))
    assert.equal((await c.get('/healthz')).status, 200)
  })

  it('must not be busy when they were given: the error names key, address and remedy', async () => {
    const busy = await busyPort()
    const taken = {
      name: 'Error',
      message: new RegExp(`^collector_port: can't listen on 127.0.0.1:${busy} .*give another port`),
    }
    await assert.rejects(collector({ collector_port: [0, busy], collectorPortGiven: true }), taken)
    await assert.rejects(collector({ collector_port: [busy], collectorPortGiven: false }), taken)
    await assert.rejects(
      collector({ http: { ...loadConfig(undefined, {}).config.http, port: busy } }),
      /^Error: http.port: /,
    )
  })
})
