import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { buildTrace, type TraceSpan } from '../../collector/src/trace'
import { ResultCode } from '../../src/codec/scribe'
import { SpanServer } from '../collector/formats/span-server'
import { cleanUp, collector, Peer, span, undo } from '../collector/support'
import { until } from '../helpers/until'
import { run } from '../servers/install'
import { JavaPeer, javaWithThrift } from '../servers/java'
import { npmPackages } from '../servers/npm'

const OTEL = [
  '@opentelemetry/api@1.9.1',
  '@opentelemetry/resources@2.12.1',
  '@opentelemetry/sdk-trace-base@2.12.1',
  '@opentelemetry/exporter-trace-otlp-proto@0.223.1',
  '@opentelemetry/exporter-trace-otlp-http@0.223.1',
]
const ZIPKIN = ['zipkin@0.22.0', 'zipkin-transport-http@0.22.0', 'zipkin-transport-scribe@0.22.0']

describe('services that Milo does not instrument', function () {
  this.timeout(600_000)
  let server: SpanServer

  beforeEach(async () => {
    server = await SpanServer.start()
  })
  afterEach(async () => {
    await undo()
    await server.close()
  })

  /** All that was reported, as one trace. */
  function theTrace() {
    const trace = buildTrace(server.records)
    assert.deepEqual(server.rejected, [])
    return trace
  }

  for (const encoding of ['proto', 'http']) {
    it(`join the tree from OpenTelemetry’s JavaScript SDK, exporter-trace-otlp-${encoding}`, async () => {
      const folder = await npmPackages(...OTEL)
      await run(process.execPath, [join(__dirname, 'otlp-sender.cjs'), folder, encoding, server.url])
      const trace = theTrace()
      assert.equal(trace.traceId, '5b8efff798038103d269b633813fc60c')
      const [incoming, query] = trace.spans
      assert.equal(trace.spans.length, 2)
      assert.deepEqual(
        [
          incoming!.kind,
          incoming!.parentId,
          incoming!.service,
          incoming!.serverHost,
          incoming!.annotations['url.path'],
        ],
        ['server', '000000000000abcd', 'otel-js', 'web1', '/orders'],
      )
      assert.deepEqual(
        [query!.kind, query!.depth, query!.clientService, query!.clientHost, query!.serverHost, query!.error],
        ['client', 1, 'otel-js', 'web1', 'db', true],
      )
      const { annotations, events } = query!
      assert.deepEqual(
        [annotations.rows, annotations.ratio, annotations.hit, annotations.ids, annotations['otel.resource.pid']],
        ['3', '0.5', 'false', '["a","b"]', '7'],
      )
      assert.deepEqual([annotations['otel.scope.name'], annotations['otel.scope.version']], ['sender', '1.2.3'])
      assert.match(annotations['otel.links']!, /"spanId":"000000000000abcd"/)
      assert.match(annotations['otel.events']!, /"exception\.message":"boom"/)
      assert.deepEqual(
        events.map(({ value }) => value),
        ['retry', 'exception'],
      )
    })
  }

  for (const [how, by] of [
    ['v2', 'zipkin-transport-http'],
    ['v1', 'zipkin-transport-http with JSON of version 1'],
    ['scribe', 'zipkin-transport-scribe'],
  ] as const) {
    it(`join the tree from ${by}, and Milo’s spans join theirs`, async () => {
      const folder = await npmPackages(...ZIPKIN)
      const c = await collector()
      const port = how === 'scribe' ? c.scribePorts[0]! : c.httpPort
      const sender = spawn(process.execPath, [join(__dirname, 'zipkin-sender.cjs'), folder, how, String(port)])
      cleanUp.push(() => sender.kill())
      let said = ''
      sender.stderr.on('data', text => (said += text))

      const theirs = async () => {
        assert.equal(sender.exitCode, null, said)
        const { status, body } = await c.get('/api/traces/463ac35c9f6413ad48485a3953bb6124')
        const isWhole = status === 200 && body.spans.length === 3 && body.spans.some((s: TraceSpan) => s.kind === 'rpc')
        return isWhole ? (body.spans as TraceSpan[]) : undefined
      }
      const order = (await until('all three have come', theirs, 60_000)).find(({ name }) => name === 'order')!
      const [traceIdHigh, traceId] = [0x463ac35c9f6413adn, 0x48485a3953bb6124n]
      const milo = span({
        traceIdHigh,
        traceId,
        parentId: BigInt(`0x${order.spanId}`),
        name: 'Stock.take',
        service: 'stock',
      })
      assert.equal(await new Peer(c.scribePorts[0]!).log(milo), ResultCode.OK)
      const spans = await until('Milo’s is there', async () => {
        const { body } = await c.get('/api/traces/463ac35c9f6413ad48485a3953bb6124')
        return body.spans.length === 4 ? (body.spans as TraceSpan[]) : undefined
      })

      const byName = new Map(spans.map(span => [span.name, span]))
      const of = (name: string) => {
        const { depth, kind, service, clientService, clientHost, serverHost } = byName.get(name)!
        return [depth, kind, service, clientService, clientHost, serverHost]
      }
      assert.deepEqual(of('get'), [0, 'server', 'front', null, null, '10.0.0.1'])
      assert.deepEqual(of('select'), [1, 'client', 'db', 'front', '10.0.0.1', '10.0.0.7'])
      assert.deepEqual(of('order'), [1, 'rpc', 'shop', 'front', '10.0.0.1', '10.0.0.2'])
      assert.deepEqual(of('Stock.take').slice(0, 3), [2, 'server', 'stock'])
      assert.equal(byName.get('get')!.spanId, '48485a3953bb6124')
      assert.equal(byName.get('select')!.parentId, '48485a3953bb6124')
      assert.equal(order.error, true)
      const { annotations, events, duration } = byName.get('select')!
      assert.deepEqual(
        [annotations['sql.query'], annotations['zipkin.remote.service'], annotations['zipkin.remote.port']],
        ['SELECT 1', 'db', '43306'],
      )
      assert.deepEqual(
        events.map(({ value }) => value),
        ['retried'],
      )
      assert.ok(duration! > 0 && duration! < 60_000_000)
      const source = how === 'scribe' ? 'scribe' : 'zipkin'
      assert.equal(await c.metric(`spans_stored_total{source="${source}"}`), how === 'scribe' ? 5 : 4)
      assert.equal(await c.metric('spans_rejected_total'), 0)
      assert.equal(await c.metric('entries_dropped_total'), 0)
    })
  }

  it('join the tree from OpenTelemetry’s Java agent over http/protobuf', async () => {
    await javaWithThrift()
    const peer = await JavaPeer.start({
      OTEL_TRACES_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_EXPORTER_OTLP_ENDPOINT: server.url,
      OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
    })
    try {
      await peer.call('framed', 'binary', peer.port('THsHaServer', 'binary'))
      // A client's and a server's span of each call.
      const pairs = await until('the agent has reported every call', () => {
        const { records } = server
        const found = records.flatMap(client =>
          records
            .filter(other => other.parentId === client.id && other.traceId === client.traceId)
            .map(s => [client, s]),
        )
        return found.length === 7 ? found : undefined
      })
      for (const pair of pairs) {
        const { spans } = buildTrace(pair)
        assert.deepEqual(
          spans.map(({ kind, depth }) => [kind, depth]),
          [
            ['client', 0],
            ['server', 1],
          ],
        )
        const [client, called] = spans
        assert.deepEqual([client!.clientService, called!.service], ['java-peer', 'java-peer'])
        assert.equal(client!.name.split('/')[1], called!.name.split('/')[1])
        assert.equal(called!.annotations['otel.resource.telemetry.sdk.language'], 'java')
        assert.equal(called!.annotations['rpc.system'] ?? called!.annotations['rpc.system.name'], 'apache_thrift')
        assert.ok(called!.serverHost && client!.clientHost)
      }
      assert.deepEqual(server.rejected, [])
    } finally {
      await peer.stop()
    }
  })
})
