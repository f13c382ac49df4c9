import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { http as httpPlugin } from '../../plugins/http'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { start, stop, type TestSpan } from '../../src/testing'
import { contextOfHeaders, type HeaderTarget, writeHeaders } from '../../src/trace/http-headers'
import { Kind } from '../../src/trace/span'
import { currentSpan, startSpan } from '../../src/trace/tracer'
import { until } from '../helpers/until'
import { npmPackages } from '../servers/npm'

install([httpPlugin])
const http: typeof import('node:http') = require('node:http')

describe('B3', function () {
  this.timeout(300_000)
  let peer: ChildProcess | undefined
  let port: number
  let propagators: Record<'b3' | 'b3multi', any>
  let api: any

  before(async () => {
    const zipkin = await npmPackages('zipkin@0.22.0', 'zipkin-transport-http@0.22.0', 'zipkin-transport-scribe@0.22.0')
    peer = spawn(process.execPath, [join(__dirname, 'b3-zipkin-peer.cjs'), zipkin], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = await once(peer.stdout!, 'data')
    port = Number(String(line))
    const load = createRequire(
      join(await npmPackages('@opentelemetry/propagator-b3@2.12.0', '@opentelemetry/api@1.9.1'), 'package.json'),
    )
    api = load('@opentelemetry/api')
    const { B3InjectEncoding, B3Propagator } = load('@opentelemetry/propagator-b3')
    propagators = {
      b3: new B3Propagator(),
      b3multi: new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER }),
    }
  })
  after(() => peer?.kill())
  afterEach(() => stop())

  for (const sampler of ['always', 'never'] as const) {
    it(`goes through a service under zipkin-js and back, with the decision: ${sampler}`, async () => {
      const spans: TestSpan[] = start({ sampler, propagation: 'b3multi' })
      let served: boolean | undefined
      const server = http.createServer((_req, res) => {
        served = current().sampled
        res.end()
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const callee = `http://127.0.0.1:${(server.address() as AddressInfo).port}/back`
      let text = ''
      await span('root', async () => {
        const req = http.get(`http://127.0.0.1:${port}/?callee=${encodeURIComponent(callee)}`)
        const [res] = (await once(req, 'response')) as [IncomingMessage]
        for await (const chunk of res) text += chunk
      })
      server.close()
      const zipkin = JSON.parse(text)
      assert.equal(served, sampler === 'always')
      assert.equal(zipkin.served.sampled, sampler === 'always')
      assert.equal(zipkin.sent['X-B3-Sampled'], sampler === 'always' ? '1' : '0')
      if (sampler === 'never') return assert.deepEqual(spans, [])
      await until('three spans have ended', () => spans.length === 3)
      const [root, call, back] = ['root', 'GET /', 'GET /back'].map(name => spans.find(one => one.name === name)!)
      // zipkin-js joins the span of the call; Milo's server is the child of zipkin's call.
      const { traceId, spanId, parentId } = call!
      assert.deepEqual(zipkin.served, { traceId, spanId, parentId, sampled: true })
      assert.equal(parentId, root!.spanId)
      assert.deepEqual([back!.traceId, back!.parentId], [traceId, zipkin.sent['X-B3-SpanId']])
    })
  }

  const target: HeaderTarget<Record<string, string>> = {
    has: (headers, name) => name in headers,
    add: (headers, name, value) => {
      headers[name] = value
    },
    host: () => undefined,
    port: () => undefined,
  }
  for (const format of ['b3', 'b3multi'] as const) {
    it(`is read as OpenTelemetry’s propagator reads and writes it: ${format}`, () => {
      start({ propagation: format })
      span('root', () => {
        const call = startSpan(Kind.CLIENT, 'call')
        const headers: Record<string, string> = {}
        writeHeaders(headers, target, call)
        const context = propagators[format].extract(api.ROOT_CONTEXT, headers, api.defaultTextMapGetter)
        const { traceId, spanId, traceFlags } = api.trace.getSpanContext(context)
        assert.deepEqual([traceId, spanId, traceFlags], [`0000000000000000${call.traceId}`, call.spanId, 1])
        const written: Record<string, string> = {}
        propagators[format].inject(context, written, api.defaultTextMapSetter)
        const read = contextOfHeaders(Object.entries(written).flat(), undefined)!
        const { hi, lo, highHi, highLo } = currentSpan()!.trace
        assert.deepEqual(
          [read.hi, read.lo, read.highHi, read.highLo, read.spanHi, read.spanLo, read.sampled, read.undecided],
          [hi, lo, highHi, highLo, call.idHi, call.idLo, true, false],
        )
      })
    })
  }
})
