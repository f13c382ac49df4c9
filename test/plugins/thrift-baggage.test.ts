import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { http as httpPlugin } from '../../plugins/http'
import { baggage, init, shutdown, withBaggage } from '../../src/index'
import { install } from '../../src/patch/hook'
import { ROOT, startNode } from '../helpers/child'
import { client, closeAll, serve, traced, type Wire } from '../helpers/thrift'
import { until } from '../helpers/until'
import { application, SDK } from '../otel-instrumentation/support'

install([httpPlugin])
const live: typeof import('node:http') = require('node:http')

const FRAMED: Wire = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' }

const start = (more: object = {}) =>
  init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', propagation: 'compat', ...more })

/** A server that says which baggage its handler has. */
const telling = (wire = FRAMED) =>
  serve(traced, traced.Calculator, { ping: async (_name: string) => JSON.stringify(baggage()) }, wire)

async function askOver(wire: Wire, values: Record<string, string>): Promise<Record<string, string>> {
  const { port } = await telling(wire)
  const calculator = client(traced, traced.Calculator, port, wire)
  return JSON.parse(await withBaggage(values, () => calculator.ping('x')))
}

const i32 = (n: number) => n.toString(16).padStart(8, '0')
const text = (value: string) => i32(Buffer.byteLength(value)) + Buffer.from(value).toString('hex')
/** Field 8888 with these entries, in the binary protocol. */
const entries = (map: Record<string, string>) =>
  `0d 22b8 0b 0b ${i32(Object.keys(map).length)} ${Object.entries(map).flat().map(text).join('')}`
const PARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

/** What a caller that isn't Milo's gets for ping with these fields behind its argument. */
async function answerTo(port: number, fields: string): Promise<Record<string, string>> {
  const call = Buffer.from(
    `80010001 ${text('ping')} 00000001 0b 0001 ${text('x')} ${fields} 00`.replace(/ /g, ''),
    'hex',
  )
  const socket = connect(port, '127.0.0.1')
  socket.write(Buffer.concat([Buffer.from(i32(call.length), 'hex'), call]))
  const [reply] = await once(socket, 'data')
  socket.destroy()
  return JSON.parse(/\{.*\}/.exec(reply.toString())![0])
}

describe('baggage over Thrift', () => {
  afterEach(async () => {
    closeAll()
    await shutdown(0)
  })

  const BOTH = { tenant: 'größer, "gut"', secret: 'x' }

  for (const protocol of ['TBinaryProtocol', 'TCompactProtocol', 'TJSONProtocol'] as const) {
    it(`travels in field 8888, the keys that the settings name, whether the trace is kept or not: ${protocol}`, async () => {
      const wire: Wire = { transport: 'TBufferedTransport', protocol }
      for (const sampler of ['always', 'never']) {
        start({ baggage: 'tenant', sampler })
        assert.deepEqual(await askOver(wire, BOTH), { tenant: BOTH.tenant })
      }
      start()
      assert.deepEqual(await askOver(wire, BOTH), {})
    })
  }

  it('isn’t in the other carriers', async () => {
    for (const propagation of ['field', 'calltrace', 'off']) {
      start({ propagation, baggage: '*' })
      assert.deepEqual(await askOver(FRAMED, BOTH), {}, propagation)
    }
  })

  it('has 180 members and 8,192 bytes at most', async () => {
    start({ baggage: '*' })
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, 'v']))
    assert.equal(Object.keys(await askOver(FRAMED, many)).length, 180)
    assert.deepEqual(await askOver(FRAMED, { a: 'x'.repeat(8191), b: '1' }), { b: '1' })
    const whole = { a: 'x'.repeat(8190) }
    assert.deepEqual(await askOver(FRAMED, whole), whole)
  })

  it('is read beside whatever else a request brings, and not of callers that aren’t trusted', async () => {
    const { port } = await telling()
    const own = `0f 1938 03 ${i32(1)} 00`
    const tenant = { tenant: 'acme' }
    for (const fields of [
      entries({ traceparent: PARENT, baggage: 'tenant=acme,secret=x' }),
      entries({ Baggage: 'tenant=acme' }),
      entries({ traceparent: 'garbage', baggage: 'tenant=acme,,b,=c,d=\r\nx' }),
      own + entries({ traceparent: PARENT, baggage: 'tenant=acme' }),
      entries({ traceparent: PARENT, baggage: 'tenant=acme' }) + own,
    ]) {
      start({ baggage: 'tenant' })
      assert.deepEqual(await answerTo(port, fields), tenant, fields)
      start({ baggage: 'tenant', trustedCallers: '127.0.0.1' })
      assert.deepEqual(await answerTo(port, fields), tenant, fields)
      start({ baggage: 'tenant', trustedCallers: '10.0.0.0/8' })
      assert.deepEqual(await answerTo(port, fields), {}, fields)
      start()
      assert.deepEqual(await answerTo(port, fields), {}, fields)
    }
  })

  it('isn’t read where it is a megabyte, and lets nothing of a caller be another header of the requests that its handler makes', async () => {
    start({ baggage: '*', propagation: 'compat,w3c+b3+b3multi' })
    const received: string[][] = []
    const http = live.createServer((req, res) => {
      received.push(req.rawHeaders)
      res.end()
    })
    await once(http.listen(0, '127.0.0.1'), 'listening')
    const ping = async (_name: string) => {
      await once(
        live.get({ port: (http.address() as AddressInfo).port, agent: false }).on('response', res => res.resume()),
        'close',
      )
      return JSON.stringify(baggage())
    }
    const { port } = await serve(traced, traced.Calculator, { ping }, FRAMED)
    try {
      for (const value of [
        'a=1\r\nx-evil: 1',
        'a=1\nx-evil: 1',
        'a=\u{1f600}\u010d\u010ax-evil: 1',
        'a=1\0x-evil',
        `a=${'x'.repeat(1 << 20)}`,
      ]) {
        const headers = { traceparent: PARENT, tracestate: value, baggage: value, [value]: '1' }
        assert.deepEqual(await answerTo(port, entries(headers)), {}, value.slice(0, 20))
        const names = received.pop()!.filter((_, i) => i % 2 === 0)
        const own = /^(host|connection|traceparent|b3|x-b3-(traceid|spanid|parentspanid|sampled))$/i
        assert.deepEqual(
          names.filter(name => !own.test(name)),
          [],
        )
      }
    } finally {
      http.close()
    }
  })

  it('is the caller’s alone: not what is current where a server was started', async () => {
    start({ baggage: '*' })
    const { port } = await withBaggage({ mine: '1' }, () => telling())
    assert.deepEqual(await answerTo(port, ''), {})
    assert.deepEqual(await answerTo(port, entries({ traceparent: PARENT, baggage: 'theirs=2' })), { theirs: '2' })
  })

  it('goes through a service under OpenTelemetry’s SDK and ThriftInstrumentation, and comes back', async () => {
    const home = await application(SDK)
    const child = startNode(['peer.cjs'], { GEN: join(ROOT, 'test/gen') }, home)
    try {
      let printed = ''
      child.stdout!.on('data', data => (printed += data))
      const theirs = Number(await until('the peer listens', () => /^\d+\n/.test(printed) && printed, 30_000))
      const { port } = await telling()
      const calculator = client(traced, traced.Calculator, theirs, FRAMED)
      for (const [keys, expected] of [
        ['tenant', { tenant: 'acme' }],
        [undefined, {}],
      ] as const) {
        start({ baggage: keys })
        const answer = await withBaggage({ tenant: 'acme', secret: 'x' }, () => calculator.ping(String(port)))
        assert.deepEqual(JSON.parse(answer), { theirs: { ...expected }, mine: { ...expected } })
      }
    } finally {
      child.kill()
      rmSync(home, { recursive: true, force: true })
    }
  })
})
