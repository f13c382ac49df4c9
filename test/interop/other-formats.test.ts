import assert from 'node:assert/strict'
import { join } from 'node:path'
import { buildTrace } from '../../collector/src/trace'
import { SpanServer } from '../collector/formats/span-server'
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
const ZIPKIN = ['zipkin@0.22.0', 'zipkin-transport-http@0.22.0']

describe('services that Milo does not instrument', function () {
  this.timeout(600_000)
  let server: SpanServer

  beforeEach(async () => {
    server = await SpanServer.start()
  })
  afterEach(() => server.close())

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

  it('join the tree from zipkin-transport-http', async () => {
    const folder = await npmPackages(...ZIPKIN)
    await run(process.execPath, [join(__dirname, 'zipkin-sender.cjs'), folder, server.url])
    const trace = await until('both spans have come', () => (server.records.length === 2 ? theTrace() : undefined))
    assert.match(trace.traceId, /^[\da-f]{32}$/)
    const [incoming, query] = trace.spans
    assert.deepEqual([incoming!.kind, incoming!.name, incoming!.service], ['server', 'get', 'front'])
    assert.deepEqual(
      [query!.kind, query!.depth, query!.name, query!.clientService, query!.serverHost],
      ['client', 1, 'select', 'front', '10.0.0.7'],
    )
    assert.equal(query!.annotations['sql.query'], 'SELECT 1')
    assert.equal(query!.annotations['zipkin.remote.service'], 'db')
    assert.deepEqual(
      query!.events.map(({ value }) => value),
      ['retried'],
    )
  })

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
