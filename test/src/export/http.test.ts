import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import net, { type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { annotate, count, flush, init, record, shutdown, span, stats } from '../../../src'
import { register, unregister } from '../../../src/otel'
import { Kind } from '../../../src/trace/span'
import { startServerSpan, startSpan } from '../../../src/trace/tracer'
import { finished, ROOT, runNode, startNode } from '../../helpers/child'
import { HttpPeer, ok, plainAttributes, readOtlp, reply } from '../../helpers/http-peer'
import { ScribePeer } from '../../helpers/scribe-peer'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'
import { freePort } from '../../servers/process'

const pem = (name: string) => readFileSync(join(ROOT, 'test/fixtures/tls', name))

function work(spans: number): void {
  for (let i = 0; i < spans; i++) span(`work ${i}`, () => {})
}

/** Of all exporters and of each. */
function addsUp(): void {
  const { exports, ...total } = stats()
  const sums: Record<string, number> = {}
  for (const counts of [total, ...Object.values(exports)]) {
    const { ended, sent, buffered, inFlight, spooled, dropped, drops } = counts
    assert.equal(ended, sent + buffered + inFlight + spooled + dropped)
    assert.equal(
      dropped,
      Object.values(drops).reduce((a, b) => a + b, 0),
    )
    for (const n of [sent, buffered, inFlight, spooled, dropped]) assert.ok(n >= 0)
  }
  for (const key of ['ended', 'sent', 'dropped', 'failures', 'tryLater'] as const) {
    sums[key] = Object.values(exports).reduce((sum, counts) => sum + counts[key], 0)
    assert.equal(total[key], sums[key], key)
  }
}

describe('exporters over HTTP', () => {
  let peer: HttpPeer
  let other: HttpPeer
  let scribe: ScribePeer
  beforeEach(async () => {
    peer = await HttpPeer.listen()
    other = await HttpPeer.listen()
    scribe = await ScribePeer.listen()
  })
  afterEach(async () => {
    addsUp()
    await shutdown(0)
    await Promise.all([peer.close(), other.close(), scribe.close()])
  })

  const start = (target: string, more: object = {}) =>
    init({
      sampler: 'always',
      service: 'shop',
      host: 'web1',
      scribe: scribe.address,
      export: target,
      logLevel: 'silent',
      ...more,
    })

  describe('OTLP', () => {
    it('gets a trace with all that Milo knows of it', async () => {
      start(`otlp:${peer.url}`)
      span('outer', () => {
        annotate('http.response.status_code', 404)
        annotate('user', 'Ünïcode 😀'.repeat(20))
        annotate('not.a.number', '12')
        count('rows', -3)
        count('big', 2 ** 40)
        record('cache miss')
        const call = startSpan(Kind.CLIENT, 'Pricing.quote')
        call.fail(new TypeError('no price'))
        call.end()
      })
      assert.equal(await flush(20_000), true)
      const [request] = peer.requests
      assert.equal(request!.line, 'POST /v1/traces HTTP/1.1')
      assert.equal(request!.headers['content-type'], 'application/x-protobuf')
      assert.equal(request!.headers.host, peer.address)
      assert.match(request!.headers['user-agent']!, /^milo\/\d/)
      const { resourceSpans } = readOtlp(request!.body)
      assert.equal(resourceSpans.length, 1)
      const resource = plainAttributes(resourceSpans[0].resource.attributes)
      assert.deepEqual(
        [resource['service.name'], resource['host.name'], resource['process.pid'], resource['telemetry.sdk.language']],
        ['shop', 'web1', process.pid, 'nodejs'],
      )
      assert.equal(resourceSpans[0].scopeSpans[0].scope.name, 'milo')
      const [call, outer] = resourceSpans[0].scopeSpans[0].spans
      assert.deepEqual([outer.name, outer.kind, outer.parentSpanId], ['outer', 1, undefined])
      assert.match(outer.traceId, /^0{16}[\da-f]{16}$/)
      assert.deepEqual(
        [call.name, call.kind, call.parentSpanId, call.traceId],
        ['Pricing.quote', 3, outer.spanId, outer.traceId],
      )
      assert.deepEqual(call.status, { code: 2, message: 'no price' })
      assert.equal(outer.status, undefined)
      assert.deepEqual(plainAttributes(outer.attributes), {
        'http.response.status_code': 404,
        user: 'Ünïcode 😀'.repeat(20),
        'not.a.number': '12',
        rows: -3,
        big: 2 ** 40,
      })
      assert.deepEqual(
        outer.events.map(({ name }: any) => name),
        ['cache miss'],
      )
      assert.ok(BigInt(outer.startTimeUnixNano) <= BigInt(outer.events[0].timeUnixNano))
      assert.ok(BigInt(outer.events[0].timeUnixNano) <= BigInt(outer.endTimeUnixNano))
      const nowMs = Date.now()
      assert.ok(Math.abs(Number(BigInt(outer.startTimeUnixNano) / 1_000_000n) - nowMs) < 60_000)
      assert.deepEqual([outer.traceState, outer.flags], ['ot=th:0', 0x101])
    })

    it('has what came from OpenTelemetry in OpenTelemetry’s own fields, and nothing where it can’t be read', async () => {
      start(`otlp:${peer.url}`)
      const a = startSpan(Kind.LOCAL, 'a')
      a.annotate('otel.kind', 'producer')
      a.annotate('otel.status_code', 'ERROR').annotate('otel.status_description', 'why')
      a.annotate('otel.types', JSON.stringify({ n: 'int', d: 'double', b: 'bool', list: 'json', __proto__x: 'int' }))
      a.annotate('n', 5).annotate('d', 5).annotate('b', true).annotate('list', '["x",1,null,{"y":[2]}]')
      a.annotate(
        'otel.links',
        JSON.stringify([{ traceId: '1'.repeat(32), spanId: '2'.repeat(16), attributes: { k: 'v' } }, 3]),
      )
      a.record('first').record('second')
      a.annotate('otel.events', JSON.stringify({ 1: { attributes: { 'exception.type': 'E', n: 1.5 } } }))
      a.end()
      const b = startSpan(Kind.LOCAL, 'b')
      for (const key of ['kind', 'status_code', 'types', 'links', 'events']) b.annotate(`otel.${key}`, '{[')
      b.annotate('otel.scope.name', 'pg')
      b.end()
      assert.equal(await flush(20_000), true)
      const [one, two] = peer.spans
      assert.deepEqual([one.kind, one.status], [4, { code: 2, message: 'why' }])
      assert.deepEqual(plainAttributes(one.attributes), { n: 5, d: 5, b: true, list: ['x', 1, undefined, { y: [2] }] })
      assert.ok(one.attributes.find(({ key }: any) => key === 'd').value.doubleValue !== undefined)
      assert.deepEqual(
        one.links.map(({ attributes, ...link }: any) => ({ ...link, ...plainAttributes(attributes) })),
        [{ traceId: '1'.repeat(32), spanId: '2'.repeat(16), k: 'v' }],
      )
      assert.deepEqual(
        one.events.map(({ name, attributes }: any) => [name, plainAttributes(attributes)]),
        [
          ['first', {}],
          ['second', { 'exception.type': 'E', n: 1.5 }],
        ],
      )
      assert.deepEqual([two.kind, two.status, two.links, two.events], [1, undefined, undefined, undefined])
      assert.deepEqual(plainAttributes(two.attributes), { 'otel.scope.name': 'pg' })
    })

    it('has numbers and booleans as what they were, and strings as strings, whatever they look like', async () => {
      start(`otlp:${peer.url}`)
      span('a', a => {
        a.annotate('int', 7).annotate('double', 1.5).annotate('bool', false).annotate('big', 12n).annotate('text', '7')
        a.annotate('nan', Number.NaN).annotate('huge', 1e300).annotate('was', 5).annotate('was', '5')
      })
      assert.equal(await flush(20_000), true)
      const values = Object.fromEntries(peer.spans[0].attributes.map(({ key, value }: any) => [key, value]))
      assert.deepEqual(values, {
        ...{
          int: { intValue: '7' },
          double: { doubleValue: 1.5 },
          bool: { boolValue: false },
          big: { intValue: '12' },
        },
        ...{
          text: { stringValue: '7' },
          nan: { stringValue: 'NaN' },
          huge: { doubleValue: 1e300 },
          was: { stringValue: '5' },
        },
      })
    })

    it('has what OpenTelemetry’s API says as it was said', async () => {
      start(`otlp:${peer.url}`)
      register()
      try {
        const tracer = trace.getTracer('pg')
        const sent = tracer.startSpan('send', {
          kind: SpanKind.PRODUCER,
          attributes: { n: 3, ratio: 0.5, yes: true, text: '3', list: ['a', 'b'], numbers: [1, 2] },
          links: [
            { context: { traceId: '1'.repeat(32), spanId: '2'.repeat(16), traceFlags: 1 }, attributes: { k: 1 } },
          ],
        })
        sent.addEvent('retry', { attempt: 2 })
        sent.recordException(new TypeError('gone'))
        sent.setStatus({ code: SpanStatusCode.ERROR, message: 'why' })
        sent.end()
        tracer.startSpan('get', { kind: SpanKind.CLIENT }).end()
      } finally {
        unregister()
      }
      assert.equal(await flush(20_000), true)
      const [sent, got] = peer.spans
      assert.deepEqual([sent.kind, got.kind, sent.status, got.status], [4, 3, { code: 2, message: 'why' }, undefined])
      assert.deepEqual(plainAttributes(sent.attributes), {
        ...{ n: 3, ratio: 0.5, yes: true, text: '3', list: ['a', 'b'], numbers: [1, 2] },
        ...{ 'otel.scope.name': 'pg', 'error.type': 'TypeError', 'error.message': 'why' },
      })
      const [retry, exception] = sent.events
      assert.deepEqual([retry.name, plainAttributes(retry.attributes)], ['retry', { attempt: 2 }])
      assert.equal(plainAttributes(exception.attributes)['exception.message'], 'gone')
      const [{ traceId, spanId, attributes }] = sent.links
      assert.deepEqual([traceId, spanId, plainAttributes(attributes)], ['1'.repeat(32), '2'.repeat(16), { k: 1 }])
    })

    it('tells what OTEL_RESOURCE_ATTRIBUTES says of the process, but for what Milo knows better', async () => {
      const told = async (text: string) => {
        process.env.OTEL_RESOURCE_ATTRIBUTES = text
        start(`otlp:${peer.url}`)
        work(1)
        assert.equal(await flush(20_000), true)
        return plainAttributes(readOtlp(peer.requests.at(-1)!.body).resourceSpans[0].resource.attributes)
      }
      try {
        const resource = await told('deployment.environment.name=prod, service.name=other ,k8s.pod.name=a%2Cb')
        assert.deepEqual(
          ['deployment.environment.name', 'service.name', 'k8s.pod.name'].map(key => resource[key]),
          ['prod', 'shop', 'a,b'],
        )
        for (const bad of ['a=1,b', 'a=%zz', '=x']) assert.equal((await told(bad)).a, undefined)
      } finally {
        delete process.env.OTEL_RESOURCE_ATTRIBUTES
      }
    })

    it('learns the sampling probability by the trace state’s threshold, which the trace id fulfills', async () => {
      start(`otlp:${peer.url}`, { sampler: 'probability:0.25' })
      for (let i = 0; i < 100; i++) span('kept or not', () => {})
      span('forced', { force: true }, () => {})
      assert.equal(await flush(20_000), true)
      const spans = peer.spans
      const kept = spans.filter(({ name }) => name !== 'forced')
      assert.ok(kept.length > 0)
      for (const { traceId, traceState } of kept) {
        assert.equal(traceState, 'ot=th:c')
        assert.ok(BigInt(`0x${traceId.slice(-14)}`) >= 0xc0000000000000n)
      }
      const forced = spans.find(({ name }) => name === 'forced')
      assert.deepEqual([forced.traceState, plainAttributes(forced.attributes)], [undefined, { 'milo.probability': 0 }])
    })

    it('counts what a partial success left out', async () => {
      start(`otlp:${peer.url}`)
      // partial_success { rejected_spans: 2, error_message: "no" }
      peer.react = () => reply('200 OK', Buffer.from('0a06080212026e6f', 'hex'), 'content-type: application/x-protobuf')
      work(5)
      assert.equal(await flush(20_000), false)
      assert.deepEqual([stats().sent, stats().drops.refused], [3, 2])
      const json = JSON.stringify({ partialSuccess: { rejectedSpans: '9', errorMessage: 'no' } })
      peer.react = () => reply('200 OK', json, 'content-type: application/json')
      work(2)
      await flush(20_000)
      assert.deepEqual([stats().sent, stats().drops.refused], [3, 4])
    })

    it('takes all as sent where a partial success leaves out no number of spans that there could be', async () => {
      start(`otlp:${peer.url}`)
      // partial_success { rejected_spans: -1 }, and the smallest number
      const binary = ['0a0b08ffffffffffffffffff01', '0a0b0880808080808080808001']
      const json = ['"-1"', '0.5', '"many"', '1e999', '[1]', 'null']
      const replies = [
        ...binary.map(hex => reply('200 OK', Buffer.from(hex, 'hex'), 'content-type: application/x-protobuf')),
        ...json.map(n =>
          reply('200 OK', `{"partialSuccess":{"rejectedSpans":${n}}}`, 'content-type: application/json'),
        ),
      ]
      for (const [i, said] of replies.entries()) {
        peer.react = () => said
        work(1)
        assert.equal(await flush(20_000), true)
        assert.deepEqual([stats().sent, stats().drops.refused], [i + 1, 0], said.toString())
      }
    })
  })

  it('say how many spans a peer left out, also one that doesn’t say why', async () => {
    const { write } = process.stderr
    const said: string[] = []
    start(`otlp:${other.url},otlp:${peer.url}`, { logLevel: 'warn' })
    // partial_success { rejected_spans: 1 }
    peer.react = () => reply('200 OK', Buffer.from('0a020801', 'hex'), 'content-type: application/x-protobuf')
    process.stderr.write = ((line: string) => said.push(line)) as never
    try {
      work(1)
      await flush(20_000)
    } finally {
      process.stderr.write = write
    }
    assert.deepEqual(said, [`milo warn: OTLP at ${new URL(peer.url).host} left out 1 span\n`])
  })

  describe('Zipkin', () => {
    it('gets a trace in JSON', async () => {
      start(`zipkin:${peer.url}`, { host: '10.0.0.7' })
      span('outer', outer => {
        outer.annotate('user', '"quoted" \u2028 😀')
        outer.count('rows', 3)
        outer.record('cache miss')
        const call = startSpan(Kind.CLIENT, 'SELECT')
        call.annotate('db.system.name', 'mysql').annotate('server.address', '10.0.0.9').annotate('server.port', 3306)
        call.fail(new TypeError('gone'))
        call.end()
      })
      assert.equal(await flush(20_000), true)
      assert.equal(peer.requests[0]!.line, 'POST /api/v2/spans HTTP/1.1')
      const [call, outer] = peer.zipkinSpans
      assert.deepEqual(
        {
          ...outer,
          timestamp: 0,
          duration: 0,
          traceId: '',
          id: '',
          annotations: outer.annotations.map((a: any) => a.value),
        },
        {
          ...{ traceId: '', id: '', name: 'outer', timestamp: 0, duration: 0 },
          localEndpoint: { serviceName: 'shop', ipv4: '10.0.0.7' },
          annotations: ['cache miss'],
          tags: { user: '"quoted" \u2028 😀', rows: '3', 'milo.probability': '1' },
        },
      )
      assert.ok(outer.duration >= 1 && Number.isInteger(outer.timestamp))
      assert.deepEqual([call.kind, call.parentId, call.traceId], ['CLIENT', outer.id, outer.traceId])
      assert.deepEqual(call.remoteEndpoint, { serviceName: 'mysql', ipv4: '10.0.0.9', port: 3306 })
      assert.deepEqual([call.tags.error, call.tags['error.type']], ['gone', 'TypeError'])
    })
  })

  it('gives a server a span of its own below its caller’s, for each exporter, unless all are Scribes', () => {
    const remote = () => ({
      ...{ hi: 1, lo: 2, highHi: 0, highLo: 0, spanHi: 3, spanLo: 4, parentHi: 5, parentLo: 6 },
      ...{ sampled: true, debug: false, probability: 1, hasIds: true, sharesSpan: true, state: undefined },
    })
    const ids = (target: string) => {
      start(target)
      const served = startServerSpan('served', remote() as any)
      return [served.spanId === '0000000300000004', served.parentId]
    }
    assert.deepEqual(ids('scribe'), [true, '0000000500000006'])
    for (const target of [`otlp:${peer.url}`, `scribe,zipkin:${peer.url}`])
      assert.deepEqual(ids(target), [false, '0000000300000004'])
  })

  describe('what the peer answers', () => {
    const WHOLE: [string, () => string | Buffer][] = [
      ['202 without a body', () => 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n'],
      ['204', () => 'HTTP/1.1 204 No Content\r\n\r\n'],
      [
        'a body in chunks',
        () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n',
      ],
      [
        'interim answers first',
        () => `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${ok()}`,
      ],
      ['no reason phrase', () => 'HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n'],
    ]
    for (const [what, answer] of WHOLE) {
      it(`takes ${what}, also byte by byte, on one connection`, async () => {
        start(`otlp:${peer.url}`)
        peer.react = answer
        work(1)
        assert.equal(await flush(20_000), true)
        peer.react = (_request, socket) => void byteByByte(socket, answer())
        work(1)
        assert.equal(await flush(20_000), true)
        assert.deepEqual([stats().sent, stats().failures, peer.connections], [2, 0, 1])
      })
    }

    const CLOSING: [string, () => string | Buffer][] = [
      ['a body that ends with the connection', () => 'HTTP/1.1 200 OK\r\n\r\nhello'],
      ['connection: close', () => reply('200 OK', 'x', 'connection: close')],
      ['HTTP/1.0', () => 'HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n'],
      ['a body larger than is looked at', () => reply('200 OK', 'x'.repeat(1_000_000))],
      ['a body that it says is endless', () => 'HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx'],
      ['something behind the answer', () => Buffer.concat([ok(), ok()])],
    ]
    for (const [what, answer] of CLOSING) {
      it(`takes ${what} for an answer, and goes on with a new connection`, async () => {
        start(`otlp:${peer.url}`)
        peer.react = (_request, socket) => void socket.end(answer())
        work(1)
        assert.equal(await flush(20_000), true)
        work(1)
        assert.equal(await flush(20_000), true)
        assert.deepEqual([stats().sent, stats().failures, peer.connections], [2, 0, 2])
      })
    }

    it('makes a new connection when the peer has closed an idle one, also just as it is used, and calls it no failure', async () => {
      start(`otlp:${peer.url}`)
      work(1)
      assert.equal(await flush(20_000), true)
      // It closes at the sight of the second request, as if it had done so before.
      let requests = 0
      peer.react = (_request, socket) => {
        if (++requests > 1) return ok()
        socket.destroy()
        return undefined
      }
      work(1)
      assert.equal(await flush(20_000), true)
      peer.disconnect()
      work(1)
      assert.equal(await flush(20_000), true)
      assert.deepEqual([stats().sent, stats().failures, peer.connections], [3, 0, 3])
    })

    it('comes later after 429 and 503, when Retry-After says so', async () => {
      start(`otlp:${peer.url}`)
      const answers = ['429 Too Many Requests', '503 Service Unavailable']
      peer.react = () => (answers.length > 0 ? reply(answers.shift()!, '', 'retry-after: 0') : ok())
      work(3)
      assert.equal(await flush(20_000), true)
      assert.deepEqual([stats().tryLater, stats().failures, peer.requests.length], [2, 0, 3])
      // An hour, or more than a timer takes: it waits a minute, but a flush doesn't.
      for (const [i, seconds] of ['3600', '99999999999', '9'.repeat(400)].entries()) {
        answers.push('503 Service Unavailable')
        peer.react = () => (answers.length > 0 ? reply(answers.shift()!, '', `retry-after: ${seconds}`) : ok())
        work(1)
        assert.equal(await flush(200), false, seconds)
        await until('it was told to wait', () => stats().tryLater === 3 + i)
        assert.equal(stats().inFlight, 1)
        assert.equal(await flush(20_000), true)
      }
    })

    it('comes later by a date as well, in each form that HTTP has, by the clock of whoever says it', async () => {
      start(`otlp:${peer.url}`)
      const now = 'date: Sun, 06 Nov 1994 08:00:00 GMT'
      const later = ['Sun, 06 Nov 1994 09:00:00 GMT', 'Sunday, 06-Nov-94 09:00:00 GMT', 'Sun Nov  6 09:00:00 1994']
      const inAnHour = new Date(Date.now() + 3_600_000).toUTCString()
      let told = 0
      for (const headers of [...later.map(date => [now, `retry-after: ${date}`]), [`retry-after: ${inAnHour}`]]) {
        peer.react = () => {
          peer.react = ok
          return reply('503 Service Unavailable', '', ...headers)
        }
        work(1)
        assert.equal(await flush(50), false, headers.join())
        await until('it was told to wait', () => stats().tryLater === told + 1)
        told++
        assert.equal(stats().inFlight, 1)
        assert.equal(await flush(20_000), true)
      }
    })

    it('doesn’t wait for a date that is past', async () => {
      start(`otlp:${peer.url}`)
      peer.react = () => {
        peer.react = ok
        return reply('503 Service Unavailable', '', 'retry-after: Sun, 06 Nov 1994 08:00:00 GMT')
      }
      work(1)
      await until('it has come again', () => stats().sent === 1)
    })

    it('drops a batch that is answered five times with an error or a redirect, which it doesn’t follow, and goes on', async () => {
      start(`otlp:${peer.url}`)
      const statuses = [
        '302 Found',
        '400 Bad Request',
        '401 Unauthorized',
        '404 Not Found',
        '500 Internal Server Error',
      ]
      peer.react = () =>
        statuses.length > 0 ? reply(statuses.shift()!, 'no', `location: ${other.url}/v1/traces`) : ok()
      work(2)
      assert.equal(await flush(20_000), false)
      assert.equal(stats().drops.refused, 2)
      work(1)
      assert.equal(await flush(20_000), true)
      assert.deepEqual([other.requests.length, peer.requests.length, stats().failures], [0, 6, 0])
    })

    const BROKEN: [string, (socket: Socket) => unknown][] = [
      ['502', socket => socket.write(reply('502 Bad Gateway'))],
      ['a reset', socket => socket.resetAndDestroy()],
      ['half a head', socket => socket.end('HTTP/1.1 200 O')],
      ['half a body', socket => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf')],
      ['half a chunk', socket => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf')],
      ['garbage', socket => socket.write(Buffer.alloc(100, 0))],
      ['an answer of gRPC', socket => socket.write(Buffer.from('000012040000000000', 'hex'))],
      ['endless headers', socket => socket.write(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(10_000)}`)],
      ['endless interim answers', socket => socket.write('HTTP/1.1 100 Continue\r\n\r\n'.repeat(1000))],
      ['a chunk of no size', socket => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n')],
      ['another protocol', socket => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')],
      ['two lengths', socket => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nx')],
    ]
    for (const [what, answer] of BROKEN) {
      it(`sends again after ${what}`, async () => {
        start(`zipkin:${peer.url}`)
        let first = true
        peer.react = (_request, socket) => {
          if (!first) return ok()
          first = false
          answer(socket)
          return undefined
        }
        work(2)
        assert.equal(await flush(20_000), true)
        assert.deepEqual([stats().sent, stats().failures, peer.zipkinSpans.length], [2, 1, 4])
      })
    }

    it('bounds what a peer that sends a body without end can cost', async () => {
      start(`otlp:${peer.url}`)
      let written = 0
      peer.react = (_request, socket) => {
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
        const more = () => {
          if (socket.destroyed || written > 50_000_000) return
          written += 4096
          socket.write(`1000\r\n${'x'.repeat(4096)}\r\n`, more)
        }
        more()
        return undefined
      }
      work(1)
      assert.equal(await flush(20_000), true)
      assert.ok(written < 50_000_000)
    })
  })

  it('zips what goes to another machine, unless the peer doesn’t take it', async () => {
    const answers = ['200 OK', '415 Unsupported Media Type', '200 OK', '200 OK']
    peer.react = () => reply(answers.shift()!)
    // An address of this machine that isn't known as one.
    start(`zipkin:http://0.0.0.0:${peer.port}`)
    for (let i = 0; i < 3; i++) {
      work(50)
      assert.equal(await flush(20_000), true)
    }
    assert.deepEqual(
      peer.requests.map(({ headers }) => headers['content-encoding']),
      ['gzip', 'gzip', undefined, undefined],
    )
    assert.equal(peer.zipkinSpans.length, 200)
    start(`otlp:${peer.url}`)
    peer.react = () => ok()
    work(50)
    assert.equal(await flush(20_000), true)
    assert.equal(peer.requests.at(-1)!.headers['content-encoding'], undefined)
  })

  describe('headers', () => {
    it('are sent as they are set, by the variable and by the option, and are in no message', async () => {
      const program = `
        const milo = require('milo')
        milo.span('a', () => {})
        milo.flush(20_000)`
      peer.react = () => reply('401 Unauthorized s3cr3t')
      other.react = () => reply('403 Forbidden')
      const run = await runNode(['-r', './dist/register.js', '-e', program], {
        MILO_EXPORT: `otlp:http://user:pass%21@${peer.address}/base/,otlp:${other.url}?key=q`,
        MILO_EXPORT_HEADERS: 'otlp-2:authorization=Bearer%20t%2C0,otlp:x-key=hush, otlp:x-other=1',
        MILO_LOG_LEVEL: 'debug',
      })
      assert.equal(run.status, 0)
      const [{ line, headers }] = peer.requests as [any]
      assert.equal(line, 'POST /base/v1/traces HTTP/1.1')
      assert.equal(headers.authorization, `Basic ${Buffer.from('user:pass!').toString('base64')}`)
      assert.deepEqual([headers['x-key'], headers['x-other']], ['hush', '1'])
      assert.equal(other.requests[0]!.line, 'POST /v1/traces?key=q HTTP/1.1')
      assert.deepEqual(
        [other.requests[0]!.headers.authorization, other.requests[0]!.headers['x-key']],
        ['Bearer t,0', undefined],
      )
      assert.doesNotMatch(run.stderr, /hush|pass|Bearer|t%2C0|key=q/)
      start('scribe', { export: [{ to: `zipkin:${peer.url}/a/path`, headers: { 'X-Token': 'other' } }] })
      work(1)
      await flush(20_000)
      const last = peer.requests.at(-1)!
      assert.deepEqual([last.line, last.headers['x-token']], ['POST /a/path HTTP/1.1', 'other'])
    })
  })

  describe('with TLS', () => {
    it('sends to an authority that is named, to none that nobody vouches for, and speaks no plain HTTP to it', async () => {
      const secure = await HttpPeer.listen(undefined, { key: pem('key.pem'), cert: pem('cert.pem') })
      try {
        const to = `otlp:https://localhost:${secure.port}`
        start('', { export: [{ to, tls: { ca: pem('cert.pem') } }] })
        work(1)
        assert.equal(await flush(20_000), true)
        assert.equal(secure.spans.length, 1)
        for (const bad of [to, `otlp:http://localhost:${secure.port}`]) {
          start(bad)
          work(1)
          void flush(1000)
          await until('it has failed', () => stats().failures > 0)
          assert.equal(await shutdown(50), false)
        }
        assert.equal(secure.spans.length, 1)
      } finally {
        await secure.close()
      }
    })
  })

  it('goes on when the name isn’t known, and gives up a flush at its deadline', async () => {
    start('otlp:http://no-such-host.invalid:4318')
    work(1)
    void flush(1000)
    await until('it has failed', () => stats().failures > 0)
    assert.equal(await flush(10), false)
    assert.equal(stats().inFlight, 1)
  })

  it('traces nothing of its own work, whoever instruments sockets, and takes no context of the application’s into it', async () => {
    const { connect } = net
    const seen: unknown[] = []
    const requests = new AsyncLocalStorage<string>()
    Object.assign(net, {
      connect(this: unknown, ...args: any[]) {
        const own = span('net.connect')
        seen.push([own.sampled, requests.getStore()])
        own.end()
        return Reflect.apply(connect, this, args)
      },
    })
    try {
      for (const target of ['scribe', `otlp:${peer.url}`]) {
        start(target)
        requests.run('a request', () => work(1))
        assert.equal(await flush(20_000), true)
        assert.equal(stats().ended, 1)
      }
    } finally {
      Object.assign(net, { connect })
    }
    assert.deepEqual(seen, [
      [false, undefined],
      [false, undefined],
    ])
  })

  describe('several at once', () => {
    it('are independent: one hangs, one refuses, one is dead, one takes all', async () => {
      other.react = () => undefined
      const refusing = await HttpPeer.listen()
      refusing.react = () => reply('400 Bad Request')
      start(
        `otlp:${other.url},otlp:${refusing.url},zipkin:http://127.0.0.1:${await freePort()},scribe,zipkin:${peer.url}`,
        { maxBufferedSpans: 300 },
      )
      for (let i = 0; i < 20; i++) {
        work(50)
        addsUp()
        const { scribe: to, 'zipkin-2': and } = stats().exports
        const wanted = 50 * (i + 1)
        assert.deepEqual([to!.ended, and!.ended], [wanted, wanted])
        await until('the healthy have them', () => {
          addsUp()
          const all = stats().exports
          return all.scribe!.sent === wanted && all['zipkin-2']!.buffered < 200
        })
      }
      await until('those that refuse have dropped some', () => stats().exports['otlp-2']!.drops.refused > 0)
      assert.equal(await flush(300), false)
      const all = await until('the healthy have all, and the dead has failed', () => {
        addsUp()
        const { scribe: to, zipkin, 'zipkin-2': and } = stats().exports
        return to!.sent + and!.sent === 2000 && zipkin!.failures > 0 ? stats().exports : undefined
      })
      assert.deepEqual(Object.keys(all), ['otlp', 'otlp-2', 'zipkin', 'scribe', 'zipkin-2'])
      assert.deepEqual([scribe.spans.length, peer.zipkinSpans.length], [1000, 1000])
      assert.ok(all.otlp!.drops.buffer_full > 0 && all.otlp!.sent === 0)
      assert.ok(all.zipkin!.drops.buffer_full > 0)
      await refusing.close()
    })

    it('add up at every moment beside peers that misbehave by chance', async () => {
      const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 1_000_000)
      console.log(`      MILO_TEST_SEED=${seed}`)
      const random = seeded(seed)
      const reactions = [
        ...[
          ok,
          ok,
          () => reply('202 Accepted', 'x', 'connection: close'),
          () => reply('503 Later', '', 'retry-after: 0'),
        ],
        ...[() => reply('400 Bad Request'), () => Buffer.concat([ok(), ok()])],
        ...['destroy', 'reset', 'half', 'garbage', 'until it ends'],
      ]
      const directory = mkdtempSync(join(tmpdir(), 'milo-exports-'))
      try {
        for (const one of [peer, other]) {
          one.react = (_request, socket) => {
            const reaction = reactions[Math.floor(random() * reactions.length)]!
            if (typeof reaction === 'function') return reaction()
            if (reaction === 'half') socket.end('HTTP/1.1 200')
            else if (reaction === 'until it ends') socket.end('HTTP/1.1 200 OK\r\n\r\n')
            else if (reaction === 'garbage') socket.write('garbage')
            else if (reaction === 'reset') socket.resetAndDestroy()
            else socket.destroy()
            return undefined
          }
        }
        start(`otlp:${peer.url},scribe,zipkin:${other.url}`, { maxBufferedSpans: 1000, spool: { directory } })
        for (let i = 0; i < 60; i++) {
          work(Math.floor(random() * 200))
          addsUp()
          void flush(20)
          await new Promise(resolve => setImmediate(resolve))
          addsUp()
          await flush(10)
          addsUp()
        }
        peer.react = other.react = () => ok()
        await until('all is sent or given up', async () => {
          await flush(1000)
          addsUp()
          const { ended, sent, dropped } = stats()
          return ended === sent + dropped
        })
        const { otlp, zipkin, scribe: to } = stats().exports
        assert.equal(to!.sent, to!.ended)
        assert.ok(peer.spans.length >= otlp!.sent && other.zipkinSpans.length >= zipkin!.sent)
        for (const { drops } of [otlp!, zipkin!])
          assert.equal(drops.unencodable + drops.too_large + drops.spool_lost, 0)
      } finally {
        await shutdown(1000)
        rmSync(directory, { recursive: true, force: true })
      }
    })

    it('go on to the next start by their names; what waits for one that is left out goes to those that are new', async () => {
      other.react = () => undefined
      start(`otlp:${other.url},scribe`)
      work(3)
      assert.equal(stats().ended, 6)
      start(`scribe,otlp:${peer.url}`)
      assert.equal(stats().ended, 6)
      start(`otlp:${peer.url},zipkin:${other.url}`)
      other.react = () => ok()
      assert.equal(await flush(20_000), true)
      assert.deepEqual([peer.spans.length, other.zipkinSpans.length, stats().ended, stats().sent], [3, 3, 6, 6])
    })

    it('have a spool each, which the next process sends, to each its own', async () => {
      const directory = mkdtempSync(join(tmpdir(), 'milo-exports-'))
      try {
        const targets = `scribe,otlp:${peer.url},zipkin:${other.url}`
        const env = {
          MILO_EXPORT: targets,
          MILO_SCRIBE: scribe.address,
          MILO_SPOOL: directory,
          MILO_LOG_LEVEL: 'silent',
        }
        peer.react = other.react = (_request, socket) => void socket.destroy()
        scribe.react = () => 'close'
        const run = await runNode(
          [
            '-r',
            './dist/register.js',
            '-e',
            `require('milo').span('left', { force: true }, s => s.annotate('pid', process.pid))`,
          ],
          { ...env, MILO_SERVICE: 'first' },
        )
        assert.deepEqual([run.status, run.stderr], [0, ''])
        const spooled = (folder: string) => readdirSync(join(directory, folder)).filter(name => name.endsWith('.spans'))
        assert.deepEqual([spooled('.').length, spooled('otlp').length, spooled('zipkin').length], [1, 1, 1])
        peer.react = other.react = () => ok()
        scribe.react = () => ({ reply: 0 })
        peer.requests.length = other.requests.length = 0
        start(targets, { spool: { directory }, service: 'second' })
        await until('all are recovered', () => stats().recovered === 3)
        assert.deepEqual(
          Object.values(stats().exports).map(({ recovered }) => recovered),
          [1, 1, 1],
        )
        // Each says whose spans they were.
        assert.equal(
          plainAttributes(readOtlp(peer.requests[0]!.body).resourceSpans[0].resource.attributes)['service.name'],
          'first',
        )
        assert.equal(other.zipkinSpans[0].localEndpoint.serviceName, 'first')
        assert.equal(scribe.spans[0]!.service, 'first')
        await until('the files are gone', () => ['.', 'otlp', 'zipkin'].every(folder => spooled(folder).length === 0))
      } finally {
        await shutdown(1000)
        rmSync(directory, { recursive: true, force: true })
      }
    })
  })

  describe('in a process', () => {
    it('keep it not alive, make no span of their own, and send the last spans at its end', async () => {
      const program = `
        const http = require('node:http')
        const milo = require('milo')
        milo.span('GET', { force: true }, () => {})
        const asked = http.createServer((req, res) => res.end('ok')).listen(0, '127.0.0.1', () => {
          http.get({ port: asked.address().port, host: '127.0.0.1' }, res => res.resume().on('end', () => asked.close()))
        })
        process.on('exit', () => console.log(JSON.stringify(milo.stats().exports.otlp)))`
      const run = await runNode(['-r', './dist/register.js', '-e', program], {
        MILO_EXPORT: `otlp:${peer.url}`,
        MILO_SAMPLER: 'always',
      })
      assert.deepEqual([run.status, run.stderr], [0, ''])
      assert.deepEqual(peer.spans.map(({ name, kind }) => `${name} ${kind}`).sort(), ['GET / 2', 'GET / 3', 'GET 1'])
      const { ended, sent } = JSON.parse(run.stdout)
      assert.deepEqual([ended, sent], [3, 3])
      for (const { headers } of peer.requests) assert.equal(headers.traceparent, undefined)
    })

    it('end with it in time when a peer hangs, and say what was lost', async () => {
      peer.react = () => undefined
      const child = startNode(
        [
          '-r',
          './dist/register.js',
          '-e',
          `require('milo').span('last', () => {}); console.log('done'); setInterval(() => {}, 1000)`,
        ],
        { MILO_EXPORT: `otlp:${peer.url},zipkin:${other.url}`, MILO_SAMPLER: 'always' },
      )
      const end = finished(child)
      await new Promise(resolve => child.stdout!.once('data', resolve))
      child.kill('SIGTERM')
      const { signal, stderr } = await end
      assert.equal(signal, 'SIGTERM')
      assert.match(stderr, /1 span could not be sent to otlp before/)
      assert.equal(other.zipkinSpans.length, 1)
    })
  })
})

function byteByByte(socket: Socket, answer: string | Buffer): void {
  const bytes = Buffer.from(answer as string)
  const next = (i: number): void => {
    if (i === bytes.length || socket.destroyed) return
    socket.write(bytes.subarray(i, i + 1), () => setImmediate(next, i + 1))
  }
  next(0)
}
