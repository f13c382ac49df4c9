import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { finished, ROOT, startNode } from '../helpers/child'
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
import { application, type OtelSpan, SDK } from './support'

const PROTOCOLS = ['binary', 'compact', 'json']
/** Java's servers, and the transports in which they are called. */
const SERVERS = [
  ['TThreadPoolServer', 'buffered'],
  ['TThreadedSelectorServer', 'framed'],
] as const
/** What each of this test's clients calls. */
const CALLS = ['add', 'divide', 'move', 'ping', 'touch']

const methodOf = ({ name }: { name: string }) => name.split('/').at(-1)!

describe('milo/otel-instrumentation and OpenTelemetry’s Java agent', function () {
  this.timeout(600_000)
  let home: string
  let java: JavaPeer
  let spans: OtelSpan[]

  before(async () => {
    await javaWithThrift()
    ;[home, java] = await Promise.all([
      application([...SDK, '@opentelemetry/propagator-b3@2.12.0']),
      JavaPeer.start({
        OTEL_TRACES_SAMPLER: 'parentbased_always_on',
        OTEL_PROPAGATORS: 'tracecontext,baggage,b3multi',
      }),
    ])
    const servers = SERVERS.flatMap(([server, transport]) =>
      PROTOCOLS.map(protocol => [java.port(server, protocol), transport, protocol]),
    )
    const env = { GEN: join(ROOT, 'test/gen'), ARGS: JSON.stringify({ servers }) }
    const child = startNode(['java-app.cjs'], env, home)
    const ended = finished(child, 120_000)
    let printed = ''
    child.stdout!.on('data', data => (printed += data))
    const { ports } = await until(
      'the service listens',
      () => /^\{"ports".*\n/m.test(printed) && JSON.parse(printed),
      60_000,
    )
    for (const [kind, transport] of JAVA_CLIENTS) {
      for (const protocol of PROTOCOLS) {
        assert.deepEqual(await java.call(kind, protocol, ports[`${transport} ${protocol}`]), JAVA_RESULTS)
      }
    }
    child.stdin!.end()
    const { stdout, stderr, status } = await ended
    assert.deepEqual([status, stderr], [0, ''])
    spans = JSON.parse(stdout.trim().split('\n')[1]!).spans
  })
  after(async () => {
    rmSync(home, { recursive: true, force: true })
    await java?.stop()
    assert.equal(java?.complaints, '')
  })

  it('call each other’s servers in one trace, by W3C’s headers or B3’s: each call of Node’s has its span in Java', async () => {
    const calls = spans.filter(({ kind }) => kind === 'client')
    const each = SERVERS.length * PROTOCOLS.length
    assert.deepEqual(
      calls.map(methodOf).sort(),
      CALLS.flatMap(name => Array(each).fill(name)),
    )
    for (const call of calls) {
      const [served, ...others] = await until(`Java has served ${call.name}`, () => {
        const found = java.agentSpans.filter(({ parentSpanId }) => parentSpanId === call.spanId)
        return found.length > 0 ? found : undefined
      })
      assert.deepEqual(others, [])
      assert.deepEqual([served!.traceId, served!.kind, methodOf(served!)], [call.traceId, SERVER_KIND, methodOf(call)])
      const system = served!.attributes.find(({ key }) => key === 'rpc.system')!
      assert.equal(call.attributes['rpc.system'], system.value.stringValue)
    }
  })

  it('and each call of Java’s has its span in Node', async () => {
    const served = spans.filter(({ kind }) => kind === 'server')
    assert.deepEqual(
      served.map(methodOf).sort(),
      JAVA_CLIENTS.flatMap(() => PROTOCOLS.flatMap(() => JAVA_CALLS)).sort(),
    )
    for (const span of served) {
      const call = await until(`Java has called ${span.name}`, () =>
        java.agentSpans.find(({ spanId }) => spanId === span.parentId),
      )
      assert.deepEqual([call.traceId, call.kind, methodOf(call)], [span.traceId, CLIENT_KIND, methodOf(span)])
      // Both have the same name: the service is the one that declares the method.
      const service = call.attributes.find(({ key }) => key === 'rpc.service')!.value.stringValue!
      assert.ok(service.endsWith(String(span.attributes['rpc.service'])), `${service} for ${span.name}`)
    }
  })
})
