import assert from 'node:assert/strict'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { collector, hex, Peer, randomId, span, type TestCollector, undo } from '../support'

/**
 * Shapes and requests are those of Jaeger's query service (cmd/query/app/http_handler.go, query_parser.go and internal/uimodel/model.go)
 * and of Grafana's data source for it (pkg/tsdb/jaeger/client.go and types/types.go; before version 12,
 * public/app/plugins/datasource/jaeger/datasource.ts and graphTransform.ts).
 */

const NOW_US = BigInt(Date.now()) * 1000n
const SECOND_US = 1_000_000n

interface JaegerTrace {
  traceID: string
  spans: any[]
  processes: Record<string, { serviceName: string; tags: any[] }>
  warnings: string[] | null
}

describe('the query API of Jaeger', () => {
  let c: TestCollector
  const traceId = randomId()
  const [root, call, inner] = [randomId(), randomId(), randomId()]
  const start = NOW_US - 60n * SECOND_US

  /** A half of a call in the trace above. */
  function half(side: 'client' | 'server', service: string, at: bigint, forUs: bigint, fields: SpanRecord): SpanRecord {
    const [first, last] =
      side === 'client'
        ? [EventType.CLIENT_SEND, EventType.CLIENT_RECV]
        : [EventType.SERVER_RECV, EventType.SERVER_SEND]
    return span({
      traceId,
      service,
      probability: 1,
      ...fields,
      events: [
        { timestamp: start + at, eventType: first },
        ...(fields.events ?? []),
        { timestamp: start + at + forUs, eventType: last },
      ],
    })
  }

  const records = [
    half('server', 'front', 0n, 90_000n, { id: root, name: 'GET /buy', annotations: new Map([['user', '42']]) }),
    half('client', 'front', 10_000n, 60_000n, { id: call, parentId: root, name: 'Orders.place', clientHost: 'web1' }),
    half('server', 'orders', 20_000n, 40_000n, {
      ...{ id: call, parentId: root, name: 'Orders.place', serverHost: 'app1' },
      annotations: new Map([
        ['error.type', 'SoldOut'],
        ['error.message', 'none left'],
        ['error', 'none left'],
      ]),
      counters: new Map([['rows', 3n]]),
      events: [{ timestamp: start + 30_000n, eventType: EventType.CUSTOM, value: 'cache miss' }],
    }),
    half('client', 'orders', 25_000n, 10_000n, { id: inner, parentId: call, name: 'Pricing.quote' }),
  ]
  const otlp = {
    traceId: `00000000000000aa${hex(randomId())}`,
    spanId: '00000000000000b1',
    linked: '00000000000000c1',
  }

  before(async () => {
    c = await collector()
    assert.equal(await new Peer(c.scribePorts[0]!).log(...records), 0)
    const nanos = (us: bigint) => String(us * 1000n)
    const body = {
      resourceSpans: [
        {
          resource: {
            attributes: [
              { key: 'service.name', value: { stringValue: 'billing' } },
              { key: 'service.version', value: { stringValue: '1.4' } },
            ],
          },
          scopeSpans: [
            {
              scope: { name: 'http', version: '2' },
              spans: [
                {
                  ...{
                    traceId: otlp.traceId,
                    spanId: otlp.spanId,
                    parentSpanId: '00000000000000b0',
                    name: 'POST /bill',
                  },
                  ...{ kind: 2, startTimeUnixNano: nanos(start), endTimeUnixNano: nanos(start + 700_000n) },
                  attributes: [
                    { key: 'http.status_code', value: { intValue: '503' } },
                    { key: 'big', value: { intValue: '9007199254740993' } },
                    { key: 'ratio', value: { doubleValue: 0.5 } },
                    { key: 'cached', value: { boolValue: false } },
                    { key: 'key', value: { bytesValue: 'AQI=' } },
                    { key: 'ids', value: { arrayValue: { values: [{ intValue: '1' }, { stringValue: 'b' }] } } },
                  ],
                  events: [
                    {
                      timeUnixNano: nanos(start + 5n),
                      name: 'exception',
                      attributes: [{ key: 'exception.type', value: { stringValue: 'Timeout' } }],
                    },
                  ],
                  links: [{ traceId: otlp.traceId, spanId: otlp.linked }],
                  status: { code: 2, message: 'upstream' },
                },
              ],
            },
          ],
        },
      ],
    }
    const headers = { 'content-type': 'application/json' }
    const posted = await fetch(`${c.url}/v1/traces`, { method: 'POST', headers, body: JSON.stringify(body) })
    assert.equal(posted.status, 200)
    await until('both traces are found', async () => (await c.get('/api/search')).body.traces.length === 2)
  })
  after(undo)

  /** Jaeger's answer, without what is around the data. */
  async function data(path: string): Promise<any> {
    const { status, body } = await c.get(path)
    assert.equal(status, 200, JSON.stringify(body))
    const { data, total, ...rest } = body
    assert.deepEqual(rest, { limit: 0, offset: 0, errors: null })
    assert.equal(typeof total, 'number')
    return data
  }

  async function found(query: string): Promise<string[]> {
    const traces: JaegerTrace[] = await data(`/jaeger/api/traces?${query}`)
    return traces.map(({ traceID }) => traceID)
  }

  /** Fails unless each value has the fields and types of uimodel/model.go, and no others. */
  function checkShape({ traceID, spans, processes, warnings, ...rest }: JaegerTrace): void {
    const isTag = (tag: any) => {
      assert.deepEqual(Object.keys(tag), ['key', 'type', 'value'])
      const types = { string: 'string', bool: 'boolean', int64: 'number', float64: 'number', binary: 'string' }
      const expected = types[tag.type as keyof typeof types]
      const isWide = tag.type === 'int64' && typeof tag.value === 'string' && !Number.isSafeInteger(Number(tag.value))
      assert.ok(isWide || typeof tag.value === expected, JSON.stringify(tag))
    }
    const areWarnings = (list: unknown) =>
      assert.ok(
        list === null || (Array.isArray(list) && list.length > 0 && list.every(text => typeof text === 'string')),
      )
    assert.deepEqual(rest, {})
    areWarnings(warnings)
    const ids = new Set<string>()
    for (const span of spans) {
      assert.deepEqual(Object.keys(span).sort(), [
        ...['duration', 'flags', 'logs', 'operationName', 'processID', 'references'],
        ...['spanID', 'startTime', 'tags', 'traceID', 'warnings'],
      ])
      assert.equal(span.traceID, traceID)
      assert.match(span.spanID, /^[0-9a-f]{16}$/)
      assert.ok(!ids.has(span.spanID), 'ids are unique')
      ids.add(span.spanID)
      assert.equal(typeof span.operationName, 'string')
      for (const n of [span.startTime, span.duration, span.flags]) assert.ok(Number.isSafeInteger(n) && n >= 0)
      assert.equal(typeof processes[span.processID]!.serviceName, 'string')
      areWarnings(span.warnings)
      span.tags.forEach(isTag)
      for (const reference of span.references) {
        assert.deepEqual(Object.keys(reference), ['refType', 'traceID', 'spanID'])
        assert.match(reference.refType, /^(CHILD_OF|FOLLOWS_FROM)$/)
      }
      for (const log of span.logs) {
        assert.deepEqual(Object.keys(log), ['timestamp', 'fields'])
        assert.ok(Number.isSafeInteger(log.timestamp))
        log.fields.forEach(isTag)
      }
    }
    for (const { serviceName, tags, ...more } of Object.values(processes)) {
      assert.deepEqual([typeof serviceName, more], ['string', {}])
      tags.forEach(isTag)
    }
  }

  /** The trace as a tree of "service operation kind", as Grafana and Jaeger's interface build it from references. */
  function treeOf({ spans, processes }: JaegerTrace): string[] {
    const lines: string[] = []
    const parentOf = (span: any) => span.references.find((r: any) => r.refType === 'CHILD_OF')?.spanID
    const visit = (parent: string | undefined, depth: number) => {
      for (const span of spans.filter(span => parentOf(span) === parent)) {
        const kind = span.tags.find((tag: any) => tag.key === 'span.kind')?.value
        lines.push(`${'  '.repeat(depth)}${processes[span.processID]!.serviceName} ${span.operationName} ${kind}`)
        visit(span.spanID, depth + 1)
      }
    }
    visit(undefined, 0)
    return lines
  }

  it('lists services and their operations', async () => {
    assert.deepEqual(await data('/jaeger/api/services'), ['billing', 'front', 'orders'])
    assert.deepEqual(await data('/jaeger/api/services/orders/operations'), ['Orders.place', 'Pricing.quote'])
    assert.deepEqual(await data('/jaeger/api/services/nobody/operations'), [])
    const operations: { name: string; spanKind: string }[] = await data('/jaeger/api/operations?service=orders')
    assert.deepEqual(
      operations.sort((a, b) => (a.name < b.name ? -1 : 1)),
      [
        { name: 'Orders.place', spanKind: 'server' },
        { name: 'Pricing.quote', spanKind: 'client' },
      ],
    )
    assert.deepEqual(await data('/jaeger/api/operations?service=orders&spanKind=client'), [
      { name: 'Pricing.quote', spanKind: 'client' },
    ])
  })

  it('answers with a call as two spans: the client’s, and below it the server’s with what that called', async () => {
    const [trace, ...others]: JaegerTrace[] = await data(`/jaeger/api/traces/${hex(traceId)}`)
    assert.deepEqual(others, [])
    checkShape(trace!)
    assert.deepEqual(treeOf(trace!), [
      'front GET /buy server',
      '  front Orders.place client',
      '    orders Orders.place server',
      '      orders Pricing.quote client',
    ])
    const [client, server] = trace!.spans.filter(({ operationName }) => operationName === 'Orders.place')
    assert.equal(client.spanID, hex(call))
    assert.deepEqual([client.startTime, client.duration], [Number(start) + 10_000, 60_000])
    assert.deepEqual([server.startTime, server.duration], [Number(start) + 20_000, 40_000])
  })

  it('keeps ids of spans from one answer to the next', async () => {
    const ids = async () =>
      ((await data(`/jaeger/api/traces/${hex(traceId)}`))[0] as JaegerTrace).spans.map(s => s.spanID)
    assert.deepEqual(await ids(), await ids())
  })

  it('has annotations, counters, the failure, events and hosts where Jaeger has them', async () => {
    const [{ spans, processes }] = (await data(`/jaeger/api/traces/${hex(traceId)}`)) as [JaegerTrace]
    const server = spans.find(({ tags }) => tags.some((tag: any) => tag.key === 'error.type'))
    assert.deepEqual(server.tags, [
      { key: 'error.type', type: 'string', value: 'SoldOut' },
      { key: 'error.message', type: 'string', value: 'none left' },
      { key: 'milo.probability', type: 'float64', value: 1 },
      { key: 'rows', type: 'int64', value: 3 },
      { key: 'span.kind', type: 'string', value: 'server' },
      { key: 'otel.status_code', type: 'string', value: 'ERROR' },
      { key: 'error', type: 'bool', value: true },
      { key: 'otel.status_description', type: 'string', value: 'none left' },
    ])
    assert.deepEqual(server.logs, [
      { timestamp: Number(start) + 30_000, fields: [{ key: 'event', type: 'string', value: 'cache miss' }] },
    ])
    assert.deepEqual(processes[server.processID], {
      serviceName: 'orders',
      tags: [{ key: 'host.name', type: 'string', value: 'app1' }],
    })
  })

  it('keeps types, links, events and the resource of OpenTelemetry’s spans', async () => {
    const [trace] = (await data(`/jaeger/api/traces/${otlp.traceId}`)) as [JaegerTrace]
    checkShape(trace)
    assert.equal(trace.traceID, otlp.traceId)
    const [span] = trace.spans
    assert.deepEqual(span.tags, [
      { key: 'otel.scope.name', type: 'string', value: 'http' },
      { key: 'otel.scope.version', type: 'string', value: '2' },
      { key: 'http.status_code', type: 'int64', value: 503 },
      { key: 'big', type: 'int64', value: '9007199254740993' },
      { key: 'ratio', type: 'float64', value: 0.5 },
      { key: 'cached', type: 'bool', value: false },
      { key: 'key', type: 'binary', value: 'AQI=' },
      { key: 'ids', type: 'string', value: '[1,"b"]' },
      { key: 'span.kind', type: 'string', value: 'server' },
      { key: 'otel.status_code', type: 'string', value: 'ERROR' },
      { key: 'error', type: 'bool', value: true },
      { key: 'otel.status_description', type: 'string', value: 'upstream' },
    ])
    assert.deepEqual(span.references, [
      { refType: 'CHILD_OF', traceID: otlp.traceId, spanID: '00000000000000b0' },
      { refType: 'FOLLOWS_FROM', traceID: otlp.traceId, spanID: otlp.linked },
    ])
    assert.deepEqual(span.warnings, ["the parent of this span isn't in the trace: 00000000000000b0"])
    assert.deepEqual(span.logs[0].fields, [
      { key: 'event', type: 'string', value: 'exception' },
      { key: 'exception.type', type: 'string', value: 'Timeout' },
    ])
    assert.deepEqual(trace.processes[span.processID], {
      serviceName: 'billing',
      tags: [{ key: 'service.version', type: 'string', value: '1.4' }],
    })
  })

  it('corrects clocks, and says so', async () => {
    const skewed = randomId()
    const id = randomId()
    const fields = { traceId: skewed, id, name: 'Far.call' }
    await new Peer(c.scribePorts[0]!).log(
      half('client', 'near', 0n, 10_000n, { ...fields, clientHost: 'near1' }),
      half('server', 'far', 5n * SECOND_US, 8_000n, { ...fields, serverHost: 'far1' }),
    )
    const [{ spans }] = (await data(`/jaeger/api/traces/${hex(skewed)}`)) as [JaegerTrace]
    assert.deepEqual(
      spans.map(({ startTime, duration, warnings }) => [startTime - Number(start), duration, warnings]),
      [
        [0, 10_000, null],
        [1_000, 8_000, ["this span's times were corrected by -4999 ms (clock skew)"]],
      ],
    )
  })

  const us = (time: bigint) => String(time)
  const searches: [string, string, boolean, boolean][] = [
    ['by service', 'service=front', true, false],
    ['by operation', 'service=orders&operation=Orders.place', true, false],
    ['by the operation of another service', 'service=front&operation=Pricing.quote', false, false],
    ['by tags, as Grafana and Jaeger send them', 'service=front&tags={"user":"42"}', true, false],
    ['by a tag that no span has', 'service=front&tags={"user":"43"}', false, false],
    ['by tag, as older clients send it', 'service=front&tag=user:42', true, false],
    ['by a tag of the process', 'service=billing&tags={"service.version":"1.4"}', false, true],
    ['by error=true', 'service=orders&tags={"error":"true"}', true, false],
    ['by error alone, as Grafana’s logfmt has it', 'service=billing&tags={"error":""}', false, true],
    ['by error=false', 'service=billing&tags={"error":"false"}', false, false],
    ['by otel.status_code', 'service=billing&tags={"otel.status_code":"ERROR"}', false, true],
    ['by a minimum duration', 'service=billing&minDuration=0.5s', false, true],
    ['by Go’s durations', 'service=billing&minDuration=0h0m700ms&maxDuration=700000000ns', false, true],
    ['by a minimum duration that is too long', 'service=billing&minDuration=701ms', false, false],
    ['by a maximum duration', 'service=front&maxDuration=60ms', true, false],
    ['by time', `service=front&start=${us(start)}&end=${us(start + 20_000n)}&lookback=custom&limit=20`, true, false],
    ['by a time before', `service=front&start=${us(start - 2n * SECOND_US)}&end=${us(start - 1n)}`, false, false],
  ]
  for (const [how, query, mine, theirs] of searches) {
    it(`finds traces ${how}`, async () => {
      const ids = [...(mine ? [hex(traceId)] : []), ...(theirs ? [otlp.traceId] : [])]
      assert.deepEqual(await found(encodeURI(query)), ids)
    })
  }

  it('finds a tag of the process also where other spans have an annotation of its name', async () => {
    const own = span({ service: 'own', annotations: new Map([['service.version', '9']]) })
    await new Peer(c.scribePorts[0]!).log(own)
    const tags = (version: string) => `tags=${encodeURIComponent(JSON.stringify({ 'service.version': version }))}`
    await until('it is found', async () => (await found(`service=own&${tags('9')}`))[0] === hex(own.traceId))
    assert.deepEqual(await found(`service=billing&${tags('1.4')}`), [otlp.traceId])
    assert.deepEqual(await found(`service=billing&${tags('9')}`), [])
  })

  it('answers a search with whole traces, newest first, as many as were asked for', async () => {
    const tag = `t${randomId()}`
    const at = (agoS: bigint) => {
      const timestamp = NOW_US - agoS * SECOND_US
      return span({
        service: 'many',
        annotations: new Map([['tag', tag]]),
        events: [
          { timestamp, eventType: EventType.SERVER_RECV },
          { timestamp: timestamp + 10n, eventType: EventType.SERVER_SEND },
        ],
      })
    }
    const all = [at(30n), at(10n), at(20n)]
    await new Peer(c.scribePorts[0]!).log(...all)
    const query = `service=many&tags=${encodeURIComponent(JSON.stringify({ tag }))}`
    await until('all are found', async () => (await found(query)).length === 3)
    assert.deepEqual(
      await found(query),
      [all[1]!, all[2]!, all[0]!].map(({ traceId }) => hex(traceId)),
    )
    assert.deepEqual(await found(`${query}&limit=1`), [hex(all[1]!.traceId)])
    for (const trace of await data(`/jaeger/api/traces?${query}`)) checkShape(trace)
  })

  it('answers with the traces of given ids, and passes over those that are gone', async () => {
    assert.deepEqual(await found(`traceID=${hex(traceId)}&traceID=00000000000000ff&traceID=${otlp.traceId}`), [
      hex(traceId),
      otlp.traceId,
    ])
  })

  it('answers the search of Grafana 12.1.0, which forgets the path of the data source', async () => {
    assert.deepEqual(await c.get('/api/traces?service=front'), await c.get('/jaeger/api/traces?service=front'))
  })

  it('ignores the times that Grafana gives with an id, which are in milliseconds', async () => {
    const [{ spans }] = (await data(`/jaeger/api/traces/${hex(traceId)}?start=1&end=2`)) as [JaegerTrace]
    assert.equal(spans.length, 4)
  })

  it('says who called whom, in whole calls', async () => {
    const ask = async (query: string) => {
      const links: any[] = await data(`/jaeger/api/dependencies?${query}`)
      return links.map(({ parent, child, callCount }) => `${parent} ${child} ${callCount}`).sort()
    }
    const endTs = Date.now()
    assert.deepEqual(
      (await ask(`endTs=${endTs}&lookback=3600000`)).filter(link => /orders/.test(link)),
      ['front orders 1'],
    )
    assert.deepEqual(await ask(`endTs=${endTs}&lookback=${1000 * 86_400e3}&service=orders`), ['front orders 1'])
    assert.deepEqual(await ask(`endTs=${endTs - 7 * 86_400e3}&lookback=3600000`), [])
  })

  const wrong: [string, number, RegExp][] = [
    ['/jaeger/api/traces', 400, /^service is missing/],
    ['/jaeger/api/traces?service=a&start=yesterday', 400, /^start is "yesterday": give microseconds/],
    ['/jaeger/api/traces?service=a&limit=0', 400, /^limit is "0"/],
    ['/jaeger/api/traces?service=a&minDuration=5', 400, /^minDuration is "5": give a number with a unit/],
    ['/jaeger/api/traces?service=a&minDuration=2s&maxDuration=1s', 400, /swap/],
    ['/jaeger/api/traces?service=a&tags=user%3D42', 400, /^tags is "user=42": give an object/],
    ['/jaeger/api/traces?service=a&tags=%7B%22span.kind%22:%22server%22%7D', 400, /span\.kind/],
    [`/jaeger/api/traces?service=a${'&tag=a:b'.repeat(33)}`, 400, /^33 tags: give at most 32/],
    ['/jaeger/api/traces/xyz', 400, /is not a trace id/],
    ['/jaeger/api/traces?traceID=00000000000000ff&traceID=xyz', 400, /^"xyz" is not a trace id/],
    ['/jaeger/api/traces/00000000000000ff', 404, /no trace/],
    ['/jaeger/api/operations', 400, /^service is missing/],
    ['/jaeger/api/dependencies?endTs=now', 400, /^endTs is "now"/],
  ]
  for (const [path, code, message] of wrong) {
    it(`answers ${code} to ${path.slice(0, 80)}`, async () => {
      const { status, body } = await c.get(path)
      assert.equal(status, code)
      const [error] = body.errors
      assert.deepEqual(body, { data: null, total: 0, limit: 0, offset: 0, errors: [{ code, msg: error.msg }] })
      assert.match(error.msg, message)
    })
  }

  it('answers 400 to Zipkin’s list of ids, one of which is none', async () => {
    const response = await fetch(`${c.url}/api/v2/traceMany?traceIds=${hex(traceId)},xyz`)
    assert.equal(response.status, 400)
    assert.match(await response.text(), /^"xyz" is not a trace id/)
  })

  it('gives a trace to download, which can be uploaded again', async () => {
    const { body } = await c.get(`/api/traces/${hex(traceId)}?form=jaeger`)
    assert.deepEqual(body, (await c.get(`/jaeger/api/traces/${hex(traceId)}`)).body)
    const other = await collector()
    const headers = { 'content-type': 'application/json' }
    const posted = await fetch(`${other.url}/api/traces`, { method: 'POST', headers, body: JSON.stringify(body) })
    const { spans, rejected, leftOut } = (await posted.json()) as any
    assert.deepEqual([spans, rejected, leftOut], [4, 0, undefined])
    const again = await other.get(`/jaeger/api/traces/${hex(traceId)}`)
    assert.deepEqual(treeOf(again.body.data[0]), treeOf(body.data[0]))
  })
})
