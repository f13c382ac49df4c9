import assert from 'node:assert/strict'
import { collector, type TestCollector, undo } from '../collector/support'
import { plainAttributes } from '../helpers/http-peer'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { goOtlp } from '../servers'
import { freePorts } from '../servers/process'
import { startZipkin, type ZipkinServer } from '../servers/zipkin'

/*
 * A client and a server over Thrift, which report separately, each to three backends at once: the OpenTelemetry Collector's own
 * receiver, zipkin-server, and Milo's collector by OTLP. The programs have Milo's field between them, by which two Scribes would
 * get two halves of one span.
 */

const SERVER = `
  const thrift = require('thrift')
  const milo = require('milo')
  const HelloWorld = require('./examples/hello-world/gen-nodejs/HelloWorld')
  const server = thrift.createServer(HelloWorld, {
    async ping(name) {
      return milo.span('look up', span => {
        span.annotate('name', name).annotate('http.response.status_code', 200)
        span.count('rows', 2)
        span.annotate('text', 'long '.repeat(500))
        span.record('cache miss')
        milo.span('gone wrong', inner => inner.fail(new TypeError('no such greeting')))
        return 'Hello, ' + name
      })
    },
  })
  server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port))
  process.on('SIGTERM', () => milo.flush(20_000).then(() => process.exit()))`

const CLIENT = `
  const thrift = require('thrift')
  const milo = require('milo')
  const HelloWorld = require('./examples/hello-world/gen-nodejs/HelloWorld')
  const connection = thrift.createConnection('127.0.0.1', Number(process.argv[1]), {})
  const client = thrift.createClient(HelloWorld, connection)
  milo.span('greet', span => {
    console.log('trace ' + span.traceId)
    return client.ping('Ada')
  }).then(() => connection.end())`

/** Name, service and kind of each span below its parent's, indented. */
function tree(spans: { id: string; parent: string | undefined; text: string }[]): string[] {
  const below = (parent: string | undefined, depth: number): string[] =>
    spans
      .filter(span => span.parent === parent)
      .flatMap(({ id, text }) => [`${'  '.repeat(depth)}${text}`, ...below(id, depth + 1)])
  return below(undefined, 0)
}

describe('exporters to real backends', function () {
  this.timeout(600_000)
  let otlp: Program
  let zipkin: ZipkinServer
  let milo: TestCollector
  let traceId: string
  const programs: Program[] = []

  before(async () => {
    const [grpcPort, httpPort] = await freePorts(2)
    const program = await goOtlp()
    otlp = new Program(program, [`127.0.0.1:${grpcPort}`, `127.0.0.1:${httpPort}`])
    programs.push(otlp)
    ;[, zipkin, milo] = await Promise.all([otlp.printed(/ready/), startZipkin(), collector()])
    const exports = `otlp:http://127.0.0.1:${httpPort},zipkin:${zipkin.web},otlp:${milo.url}`
    const run = (text: string, service: string, ...args: string[]) => {
      const started = new Program(process.execPath, ['-r', './dist/register.js', '-e', text, ...args], {
        MILO_SERVICE: service,
        MILO_SAMPLER: 'always',
        // To an address that isn't known to be this machine's, bodies are zipped.
        MILO_EXPORT: service === 'front' ? exports : exports.replaceAll('127.0.0.1', '0.0.0.0'),
      })
      programs.push(started)
      return started
    }
    const server = run(SERVER, 'greetings')
    const [, port] = await server.printed(/port (\d+)/)
    const client = run(CLIENT, 'front', port!)
    ;[, traceId] = (await client.printed(/trace (\w+)/)) as unknown as [string, string]
    await until('the client has ended', () => client.ended)
    await server.stop()
    assert.deepEqual([client.stderr, server.stderr], ['', ''])
  })
  after(async () => {
    await undo()
    await zipkin?.stop()
    for (const program of programs) await program.stop()
  })

  it('gives the OpenTelemetry Collector a tree in which each span has an id of its own', async () => {
    const spans = await until('what it has taken is printed', () => {
      // The last line may be half there.
      const lines = otlp.stdout.split('\n').slice(0, -1)
      const requests = lines.filter(line => line.startsWith('{')).map(line => JSON.parse(line))
      const found = requests
        .flatMap(({ resourceSpans }) => resourceSpans)
        .flatMap((one: any) => {
          const resource = plainAttributes(one.resource.attributes)
          assert.deepEqual([resource['telemetry.sdk.name'], resource['process.runtime.name']], ['milo', 'nodejs'])
          return one.scopeSpans.flatMap(({ spans }: any) =>
            spans.map((span: any) => ({ ...span, service: resource['service.name'] })),
          )
        })
      return found.length >= 5 ? found : undefined
    })
    assert.equal(new Set(spans.map(span => span.spanId)).size, spans.length)
    assert.deepEqual([...new Set(spans.map(span => span.traceId))], [`0000000000000000${traceId}`])
    assert.deepEqual(
      tree(
        spans.map(({ spanId, parentSpanId, name, service, kind }) => ({
          ...{ id: spanId, parent: parentSpanId || undefined, text: `${service} ${name} ${kind}` },
        })),
      ),
      [
        'front greet 1',
        '  front HelloWorld.ping 3',
        '    greetings HelloWorld.ping 2',
        '      greetings look up 1',
        '        greetings gone wrong 1',
      ],
    )
    const lookUp = spans.find(({ name }) => name === 'look up')
    const attributes = plainAttributes(lookUp.attributes)
    assert.deepEqual([attributes['http.response.status_code'], attributes.rows, attributes.name], [200, 2, 'Ada'])
    assert.deepEqual([lookUp.events[0].name, lookUp.traceState], ['cache miss', 'ot=th:0'])
    assert.deepEqual(spans.find(({ name }) => name === 'gone wrong').status, { code: 2, message: 'no such greeting' })
  })

  it('gives zipkin-server the same tree', async () => {
    const spans = await until('Zipkin has all of them', async () => {
      const response = await fetch(`${zipkin.web}/api/v2/trace/${traceId}`)
      const found = response.ok ? ((await response.json()) as any[]) : []
      return found.length === 5 ? found : undefined
    })
    // Zipkin writes all names in lower case.
    assert.deepEqual(
      tree(
        spans.map(({ id, parentId, name, kind = '', localEndpoint }) => ({
          ...{ id, parent: parentId, text: `${localEndpoint.serviceName} ${name} ${kind}`.trim() },
        })),
      ),
      [
        'front greet',
        '  front helloworld.ping CLIENT',
        '    greetings helloworld.ping SERVER',
        '      greetings look up',
        '        greetings gone wrong',
      ],
    )
    assert.equal(spans.find(({ name }) => name === 'gone wrong').tags.error, 'no such greeting')
    const links = async () => {
      const found = await (await fetch(`${zipkin.web}/api/v2/dependencies?endTs=${Date.now()}`)).json()
      return (found as unknown[]).length > 0 ? (found as any[]) : undefined
    }
    const [link] = await until('Zipkin has linked them', links)
    assert.deepEqual([link.parent, link.child, link.callCount], ['front', 'greetings', 1])
  })

  it('gives Milo’s collector the same tree by OTLP, with the probability', async () => {
    const trace = await until('the collector has all of them', async () => {
      const { status, body } = await milo.get(`/api/traces/${traceId}`)
      return status === 200 && body.spans.length === 5 ? body : undefined
    })
    assert.deepEqual(
      trace.spans.map(({ depth, name, kind, service, probability, error }: any) => [
        depth,
        name,
        kind,
        service,
        probability,
        error,
      ]),
      [
        [0, 'greet', 'local', 'front', 1, false],
        [1, 'HelloWorld.ping', 'client', null, 1, false],
        [2, 'HelloWorld.ping', 'server', 'greetings', 1, false],
        [3, 'look up', 'local', 'greetings', 1, false],
        [4, 'gone wrong', 'local', 'greetings', 1, true],
      ],
    )
    assert.equal(await milo.metric('details_left_out_total'), 0)
  })
})
