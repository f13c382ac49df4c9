import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { context, isSpanContextValid, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { http as httpPlugin } from '../../plugins/http'
import { undici as undiciPlugin } from '../../plugins/undici'
import * as milo from '../../src/index'
import { register, unregister } from '../../src/otel'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop, tree } from '../../src/testing'
import { client, closeAll, listen, onClose, serve, traced, WIRES, type Wire, wireName } from '../helpers/thrift'

install([httpPlugin, undiciPlugin])
const http: typeof import('node:http') = require('node:http')
const http2: typeof import('node:http2') = require('node:http2')
const { WebSocket } = require('ws')

const tracer = trace.getTracer('test')
const CARRIED = /^(traceparent|tracestate|b3|x-b3-.*|baggage)$/

const carried = (headers: object) => Object.keys(headers).filter(name => CARRIED.test(name))

/** Where OpenTelemetry's instrumentations trace nothing: the key is that of `suppressTracing` of @opentelemetry/core. */
function suppressed<R>(fn: () => R): R {
  const key = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING')
  return context.with(context.active().setValue(key, true), fn)
}

describe('milo/otel: where tracing is suppressed', () => {
  let server: Server
  /** What came: the headers that carry a trace, and whether the callee has kept a trace of its own. */
  let received: { headers: string[]; isRoot: boolean }[]

  const begin = (more: object = {}) => {
    start({ logLevel: 'silent', baggage: '*', ...more })
    received = []
  }

  const note = (headers: object) => {
    const { sampled, parentId } = milo.current()
    received.push({ headers: carried(headers), isRoot: sampled && /^0+$/.test(parentId) })
  }
  const port = () => (server.address() as AddressInfo).port
  const url = () => `127.0.0.1:${port()}`

  beforeEach(async () => {
    begin()
    assert.equal(register(), true)
    server = http.createServer((req, res) => {
      note(req.headers)
      res.setHeader('content-type', 'application/json').end('{}')
    })
    server.on('upgrade', (req, socket) => {
      note(req.headers)
      socket.destroy()
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
  })

  afterEach(() => {
    server.closeAllConnections()
    server.close()
    closeAll()
    unregister()
    stop()
  })

  /** Calls in a suppressed part of a sampled span that has baggage, and in a suppressed part of nothing. */
  async function suppressedTwice(work: () => Promise<unknown>): Promise<void> {
    await milo.span('caller', () => milo.withBaggage({ tenant: 'acme' }, () => suppressed(work)))
    await suppressed(work)
  }

  /** All of HTTP's clients. */
  async function request(): Promise<void> {
    const options = { host: '127.0.0.1', port: port(), agent: false as const }
    for (const headers of [{}, { a: '1' }, ['Host', url()], [['Host', url()]] as any]) {
      const [res] = await once(http.get({ ...options, headers }), 'response')
      for await (const _ of res);
    }
    await (await fetch(`http://${url()}`)).text()
    await once(new WebSocket(`ws://${url()}`), 'error')
  }
  const REQUESTS = 6

  for (const propagation of ['w3c+b3+b3multi', 'w3c']) {
    it(`a request over HTTP says nothing, and its server decides for itself: ${propagation}`, async () => {
      begin({ propagation })
      await suppressedTwice(request)
      assert.deepEqual(received, Array(2 * REQUESTS).fill({ headers: [], isRoot: true }))
      assert.deepEqual(
        tree()
          .split('\n')
          .filter(line => line.includes('client')),
        [],
      )
      begin({ propagation })
      await milo.span('told', request)
      assert.equal(received.filter(({ headers }) => headers.includes('traceparent')).length, REQUESTS)
    })
  }

  it('a request over HTTP/2 says nothing', async () => {
    const other = http2.createServer().on('stream', (stream, headers) => {
      note(headers)
      stream.respond()
      stream.end()
    })
    await once(other.listen(0, '127.0.0.1'), 'listening')
    const session = http2.connect(`http://127.0.0.1:${(other.address() as AddressInfo).port}`)
    onClose(() => {
      session.destroy()
      other.close()
    })
    const ask = async () => {
      const stream = session.request({ ':path': '/' })
      stream.resume()
      await once(stream, 'close')
    }
    await suppressedTwice(ask)
    assert.deepEqual(received, Array(2).fill({ headers: [], isRoot: true }))
    await milo.span('told', ask)
    assert.deepEqual(received[2]!.headers, ['traceparent'])
  })

  it('a request to a server that was started there is traced, by both APIs', async () => {
    const handle = () => tracer.startActiveSpan('of OpenTelemetry', one => milo.span('of Milo', () => one.end()))
    const web = http.createServer((_req, res) => {
      // Makes a context of the current one.
      context.with(propagation.setBaggage(context.active(), propagation.createBaggage()), handle)
      res.end()
    })
    const add = async (a: number, b: number) => handle() ?? a + b
    const { port } = await suppressed(() => serve(traced, traced.Calculator, { add }, WIRES[0]!))
    await suppressed(async () => once(web.listen(0, '127.0.0.1'), 'listening'))
    onClose(() => web.close())
    await suppressed(async () => (await fetch(`http://127.0.0.1:${(web.address() as AddressInfo).port}/`)).text())
    await suppressed(() => client(traced, traced.Calculator, port, WIRES[0]!).add(1, 2))
    assertTree(
      `
        "GET /" (server)
          "of OpenTelemetry"
            "of Milo"
        Calculator.add (server) thrift.request_bytes+=30 thrift.reply_bytes+=23
          "of OpenTelemetry"
            "of Milo"
      `,
      { annotations: [] },
    )
  })

  it('begins a trace where that is taken back, though a span was asked for', () => {
    suppressed(() =>
      tracer.startActiveSpan('hidden', () => {
        const key = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING')
        context.with(context.active().deleteValue(key), () => tracer.startSpan('shown').end())
      }),
    )
    assertTree('shown otel.scope.name=test')
  })

  describe('a Thrift call says nothing, and its server decides for itself', () => {
    const handler = {
      add: async (a: number, b: number) => {
        note({})
        return a + b
      },
    }
    const isCalled = async (calculator: any) => {
      const call = async () => assert.equal(await calculator.add(1, 2), 3)
      await suppressedTwice(call)
      assert.deepEqual(received, Array(2).fill({ headers: [], isRoot: true }))
      await milo.span('told', call)
      assert.equal(received[2]!.isRoot, false)
    }

    for (const carrier of ['field', 'compat', 'calltrace'] as const) {
      for (const wire of [...WIRES, { transport: 'TFramedTransport', protocol: 'TJSONProtocol' } as Wire]) {
        if (carrier === 'calltrace' && wire.protocol !== 'TBinaryProtocol') continue
        it(`${carrier}, ${wireName(wire)}`, async () => {
          begin({ propagation: carrier })
          const { port } = await serve(traced, traced.Calculator, handler, wire)
          await isCalled(client(traced, traced.Calculator, port, wire))
        })
      }
    }

    for (const way of ['HTTP', 'WebSocket'] as const) {
      it(`over ${way}`, async () => {
        begin({ propagation: 'compat' })
        const { thrift, Calculator } = traced
        const options = { transport: thrift.TBufferedTransport, protocol: thrift.TJSONProtocol }
        const web = thrift.createWebServer({ services: { '/calc': { processor: Calculator, handler, ...options } } })
        const { port } = await listen(web)
        const where = { ...options, path: '/calc', nodeOptions: { agent: false } }
        const connection =
          way === 'HTTP'
            ? thrift.createHttpConnection('127.0.0.1', port, where)
            : thrift.createWSConnection('127.0.0.1', port, where)
        if (way === 'WebSocket') {
          connection.open()
          onClose(() => connection.socket.terminate())
        }
        const create = way === 'HTTP' ? thrift.createHttpClient : thrift.createWSClient
        const calculator = create(Calculator, connection)
        await suppressedTwice(async () => assert.equal(await calculator.add(1, 2), 3))
        const lines = tree({ annotations: [] })
          .replace(/ [\w.]+\+=\d+/g, '')
          .split('\n')
        // Each hangs under the request that has brought it, of which the server has decided for itself.
        const calls = lines.filter(line => line.trim() === 'Calculator.add (server)')
        assert.deepEqual([calls.length, lines.filter(line => /add \(client\)/.test(line))], [2, []])
      })
    }
  })

  describe('and where nobody has decided:', () => {
    it('a sampler’s own requests say nothing', async () => {
      let answered: Promise<unknown> | undefined
      const sample = () => {
        answered ??= fetch(`http://${url()}`).then(res => res.text())
        return 1
      }
      begin({ sampler: { sample } })
      const tracesNotKept = milo.stats().tracesNotKept
      milo.span('x', () => {})
      await answered
      assert.deepEqual(received, [{ headers: [], isRoot: true }])
      assert.equal(milo.stats().tracesNotKept, tracesNotKept)
    })

    it('requests after Milo’s end, and what a propagator injects then, say nothing', async () => {
      milo.init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', baggage: '*' })
      await milo.withBaggage({ tenant: 'acme' }, () =>
        milo.span('caller', async () => {
          await milo.shutdown(0)
          received = []
          await request()
          const carrier = {}
          propagation.inject(context.active(), carrier)
          tracer.startActiveSpan('late', {}, ROOT_CONTEXT, span => {
            assert.deepEqual([span.isRecording(), isSpanContextValid(span.spanContext())], [false, false])
            propagation.inject(context.active(), carrier)
          })
          const caller = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' }
          propagation.inject(propagation.extract(ROOT_CONTEXT, caller), carrier)
          assert.deepEqual(carrier, {})
        }),
      )
      assert.deepEqual(received, Array(REQUESTS).fill({ headers: [], isRoot: false }))
    })
  })
})
