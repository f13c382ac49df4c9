import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { http as httpPlugin } from '../../plugins/http'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { current, flush, init, keep, shutdown, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, onClose, serve, traced, WIRES, type Wire, wireName } from '../helpers/thrift'
import { until } from '../helpers/until'

install([httpPlugin])
const http: typeof import('node:http') = require('node:http')

/** Traces that aren't sampled, but recorded into histories: what of them travels. */

const BINARY: Wire = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' }

const i32 = (n: number) => n.toString(16).padStart(8, '0')
const text = (value: string) => i32(Buffer.byteLength(value)) + Buffer.from(value).toString('hex')

const IDS = '1122334455667788' + '0102030405060708' + '000000000000002a'
/** Milo's field with these flags, in the binary protocol. */
const field = (flags: string, more = '') => `0f1938 03 ${i32(29 + more.length / 2)} ${flags} ${IDS} 00000000 ${more}`

/** Calls ping as a peer that isn't this process does, with these fields behind its argument. */
async function ping(port: number, fields: string): Promise<string> {
  const call = Buffer.from(
    `80010001 ${text('ping')} 00000001 0b 0001 ${text('x')} ${fields} 00`.replace(/ /g, ''),
    'hex',
  )
  const socket = connect(port, '127.0.0.1')
  socket.write(Buffer.concat([Buffer.from(i32(call.length), 'hex'), call]))
  const [reply] = await once(socket, 'data')
  socket.destroy()
  return reply.toString('latin1')
}

/** A server that takes calls and answers none. */
async function deaf(): Promise<{ port: number; hex(): string }> {
  let bytes = Buffer.alloc(0)
  const server = createServer(socket => {
    socket.on('data', data => {
      bytes = Buffer.concat([bytes, data])
    })
    socket.on('error', () => {})
    onClose(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  onClose(() => server.close())
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, hex: () => bytes.toString('hex') }
}

/** What a handler that is called with these fields sends on in a call of its own. */
async function passedOn(fields: string): Promise<string> {
  const next = await deaf()
  const onward = client(traced, traced.Calculator, next.port, BINARY)
  const { port } = await serve(
    traced,
    traced.Calculator,
    {
      async ping(_name: string) {
        onward.ping('y').catch(() => {})
        return 'done'
      },
    },
    BINARY,
  )
  assert.match(await ping(port, fields), /done/)
  await until('the call has come', () => next.hex().endsWith('00') && next.hex().length > 0)
  return next.hex()
}

describe('a recorded trace, in a process without a history', () => {
  afterEach(async () => {
    closeAll()
    await shutdown(0)
  })

  it('goes on with its ids and its flag, as what a caller without a history sends doesn’t', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent' })
    const onward = (fields: string) => passedOn(fields).then(hex => hex.slice(hex.indexOf('0f193803')))
    assert.equal(await onward(field('08')), `0f193803${i32(29)}08${IDS}0000000000`)
    assert.equal(await onward(field('0c', '7700000000000077')), `0f193803${i32(37)}0c${IDS}00000000770000000000007700`)
    // Not recorded anywhere: the decision alone.
    assert.equal(await onward(field('00')), `0f193803${i32(1)}0000`)
  })

  it('goes on as traceparent 00 with its ids where that is the carrier', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', propagation: 'compat' })
    const sent = Buffer.from(await passedOn(field('08')), 'hex').toString('latin1')
    assert.match(sent, /traceparent.*00-00000000000000001122334455667788-0102030405060708-00/s)
  })

  it('isn’t told over CALLTRACE, which has no room for it', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', propagation: 'calltrace' })
    assert.doesNotMatch(await passedOn(field('08')), /1122334455667788|80010005/)
  })
})

describe('a recorded trace, in processes with histories', () => {
  let peer: ScribePeer
  const start = (propagation: string) =>
    init({ scribe: peer.address, sampler: 'never', logLevel: 'silent', retroactive: { triggers: 'none' }, propagation })

  beforeEach(async () => {
    peer = await ScribePeer.listen()
  })

  afterEach(async () => {
    closeAll()
    await shutdown(0)
    await peer.close()
  })

  /** Runs a call in a trace that is kept afterwards. @returns its spans: root, client's half, server's half */
  async function kept(call: () => Promise<unknown>, n = 3): Promise<SpanRecord[]> {
    await span('root', async () => {
      assert.deepEqual([current().sampled, current().recording], [false, true])
      await call()
      assert.equal(keep(), true)
    })
    await until('all spans have come', async () => {
      await flush()
      return peer.spans.length >= n
    })
    assert.equal(peer.spans.length, n)
    assert.equal(new Set(peer.spans.map(({ traceId }) => traceId)).size, 1)
    const has = (type: number) => (s: SpanRecord) => s.events!.some(e => e.eventType === type)
    return ['root', EventType.CLIENT_SEND, EventType.SERVER_RECV].map(
      what => peer.spans.find(typeof what === 'string' ? s => s.name === what : has(what))!,
    )
  }

  const keys = ({ annotations }: SpanRecord) => [...annotations!.keys()].filter(key => !key.startsWith('milo.')).sort()

  for (const wire of [...WIRES, { transport: 'TBufferedTransport', protocol: 'TJSONProtocol' } as Wire]) {
    for (const propagation of ['field', 'compat']) {
      it(`has what a sampled one has, on both sides of a call: ${wireName(wire)}, ${propagation}`, async () => {
        start(propagation)
        const seen: boolean[] = []
        const { port } = await serve(
          traced,
          traced.Calculator,
          {
            async add(a: number, b: number) {
              seen.push(current().recording)
              return a + b
            },
          },
          wire,
        )
        const calculator = client(traced, traced.Calculator, port, wire)
        const [root, sent, served] = await kept(async () => assert.equal(await calculator.add(20, 22), 42))
        assert.deepEqual(seen, [true])
        assert.equal(sent!.parentId, root!.id)
        if (propagation === 'field') assert.equal(served!.id, sent!.id)
        else assert.equal(served!.parentId, sent!.id)
        assert.deepEqual(keys(sent!).includes('server.port') && keys(sent!).includes('thrift.result'), true)
        assert.deepEqual(
          keys(served!).includes('network.peer.address') && keys(served!).includes('thrift.result'),
          true,
        )
        assert.ok(served!.counters!.get('thrift.request_bytes')! > 0n)
      })
    }
  }

  for (const headers of ['w3c', 'b3', 'b3multi']) {
    it(`has what a sampled one has, over HTTP: ${headers}`, async () => {
      start(headers)
      let came: Record<string, unknown> = {}
      const server = http
        .createServer((req, res) => {
          came = { ...req.headers, id: current().traceId }
          res.end('hello')
        })
        .listen(0, '127.0.0.1')
      onClose(() => {
        server.closeAllConnections()
        server.close()
      })
      await once(server, 'listening')
      const [root, sent, served] = await kept(async () => {
        const req = http.get(`http://127.0.0.1:${(server.address() as AddressInfo).port}/x`)
        const [res] = await once(req, 'response')
        await once(res.resume(), 'close')
      })
      assert.deepEqual([sent!.parentId, served!.parentId], [root!.id, sent!.id])
      const hex = (n: bigint) => n.toString(16).padStart(16, '0')
      const [trace, id] = [hex(root!.traceId!), hex(sent!.id!)]
      assert.equal(came.id, trace)
      const written = {
        w3c: [came.traceparent, `00-0000000000000000${trace}-${id}-00`],
        b3: [came.b3, `${trace}-${id}-0-${hex(root!.id!)}`],
        b3multi: [[came['x-b3-traceid'], came['x-b3-spanid'], came['x-b3-sampled']].join(' '), `${trace} ${id} 0`],
      }[headers]!
      assert.equal(written[0], written[1])
      assert.deepEqual(keys(served!), ['http.request.method', 'http.response.status_code', 'url.path'])
    })
  }
})
