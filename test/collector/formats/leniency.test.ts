import assert from 'node:assert/strict'
import { OTLP_TYPES } from '../../../collector/src/formats/otlp/schema'
import { toProtobuf } from './otlp-arbitrary'
import { SpanServer } from './span-server'

type Json = Record<string, unknown>

const START_US = 1_700_000_000_000_000
const endpoint = { serviceName: 'shop', ipv4: '192.0.2.1', port: 3306 }
const zipkin = (fields: Json) => ({
  ...{
    traceId: '5af7183fb1d4cf5f',
    id: 'bbbb',
    kind: 'SERVER',
    timestamp: START_US,
    duration: 7,
    localEndpoint: endpoint,
  },
  ...fields,
})
const v1 = (fields: Json, of: Json = endpoint) => ({
  ...{ traceId: '5af7183fb1d4cf5f', id: 'bbbb', annotations: [{ timestamp: START_US, value: 'sr', endpoint: of }] },
  ...fields,
})
const otlpSpan = (fields: Json) => ({
  ...{ traceId: '5bf92f3577b34da6a3ce929d0e0e4701', spanId: '00f067aa0ba902b7', name: 'op', kind: 2 },
  ...{ startTimeUnixNano: '1700000000000000000', endTimeUnixNano: '1700000000000001000' },
  ...fields,
})
const otlp = (fields: Json = {}) => ({ resourceSpans: [{ scopeSpans: [{ spans: [otlpSpan(fields)] }] }] })
const attribute = (value: unknown) => ({ attributes: [{ key: 'a', value }] })

/** What is sent, what is left out of it as `field reason`, and what to look for in the record. */
type Case = [fields: Json, left: string | undefined, expected?: Json]

const ZIPKIN: Case[] = [
  [{ duration: -1431 }, 'duration negative'],
  [{ timestamp: -1 }, 'timestamp negative'],
  [{ timestamp: 'soon' }, 'timestamp bad_type'],
  [{ duration: '1431.7' }, undefined],
  [
    { localEndpoint: { ...endpoint, ipv4: 'shop.example' } },
    'ipv4 bad_address',
    { service: 'shop', serverHost: undefined },
  ],
  [{ localEndpoint: { ...endpoint, ipv4: '192.0.2.7:8080' } }, 'ipv4 bad_address'],
  [{ localEndpoint: { ipv4: '2001:db8::c001' } }, undefined, { serverHost: '2001:db8::c001' }],
  [{ localEndpoint: { ipv6: '192.0.2.7' } }, undefined, { serverHost: '192.0.2.7' }],
  [{ localEndpoint: { ipv6: '::ffff:192.0.2.7' } }, undefined, { serverHost: '192.0.2.7' }],
  [{ localEndpoint: { ...endpoint, port: -1 } }, 'port negative', { serverHost: '192.0.2.1' }],
  [{ localEndpoint: { ...endpoint, port: 70_000 } }, 'port out_of_range'],
  [{ localEndpoint: { ...endpoint, port: '' } }, undefined],
  [{ localEndpoint: 'shop' }, 'local_endpoint bad_type'],
  [{ kind: 'INTERNAL' }, 'kind unknown'],
  [{ kind: 'SPAN_KIND_SERVER' }, undefined, { serverHost: '192.0.2.1' }],
  [{ debug: 'true' }, undefined, { probability: 0 }],
  [{ debug: 'perhaps' }, 'debug bad_type', { probability: undefined }],
  [{ shared: 1 }, undefined],
  [{ tags: { a: ['x'], b: { c: 1 }, d: null } }, undefined],
  [{ tags: [1] }, 'tags bad_type'],
  [{ annotations: [{ timestamp: -5, value: { x: 1 } }, 7] }, 'annotation bad_type'],
  [{ name: { x: 1 } }, 'name bad_type'],
  [{ parentId: 'none' }, 'parent_id bad_id', { parentId: 0n }],
  [{ parentId: 'bbbb' }, 'parent_id self', { parentId: 0n }],
  [{ traceId: '0x5AF7183FB1D4CF5F' }, undefined, { traceId: 0x5af7183fb1d4cf5fn }],
]
const ZIPKIN_V1: Case[] = [
  [v1({}, { ...endpoint, ipv4: 'shop', port: -1 }), 'ipv4 bad_address', { service: 'shop' }],
  [v1({ duration: -1 }), 'duration negative'],
  [
    v1({
      binaryAnnotations: [
        { key: 'n', value: 200, endpoint },
        { key: 'o', value: null, endpoint },
      ],
    }),
    undefined,
  ],
  [
    v1({ binaryAnnotations: [{ key: 'ca', value: '1', endpoint: { ipv4: '192.0.2.9' } }] }),
    undefined,
    { clientHost: '192.0.2.9' },
  ],
]
const OTLP: Case[] = [
  [{ kind: 'SERVER' }, undefined],
  [{ kind: '2' }, undefined],
  [{ kind: 'neither' }, 'kind unknown'],
  [{ status: { code: 'ERROR' } }, undefined],
  [{ status: 'ERROR' }, undefined],
  [{ startTimeUnixNano: '1700000000000000000.0' }, undefined, { start: 1_700_000_000_000_000n }],
  [{ startTimeUnixNano: '2023-11-14T22:13:20.000001Z' }, undefined, { start: 1_700_000_000_000_001n }],
  [{ startTimeUnixNano: '-6795364578871345152' }, 'start_time negative', { start: undefined }],
  [{ endTimeUnixNano: '' }, undefined],
  [{ endTimeUnixNano: '1' }, undefined],
  [{ events: [{ timeUnixNano: '-1', name: 'x' }] }, 'event_time negative'],
  [{ events: { 0: {} } }, 'event bad_type'],
  [{ links: [{ traceId: 'abc', spanId: '' }] }, 'link_trace_id bad_id'],
  [{ parentSpanId: 'abc' }, 'parent_id bad_id', { parentId: 0n }],
  [{ droppedLinksCount: -1 }, 'dropped_links_count negative'],
  [{ flags: 2 ** 32 }, 'flags out_of_range'],
  [{ traceId: '0x5bf92f3577b34da6a3ce929d0e0e4701' }, undefined],
  [{ traceId: '5BF92F35-77B3-4DA6-A3CE-929D0E0E4701' }, undefined, { traceId: -0x5c316d62f1f1b8ffn }],
  [attribute('bare'), undefined, { a: 'bare' }],
  [{ attributes: { a: 'b' } }, undefined, { a: 'b' }],
  [attribute({ intValue: '1.0' }), undefined, { a: '1' }],
  [attribute({ intValue: 1.5 }), undefined, { a: '1.5' }],
  [attribute({ intValue: '18446744073709551615' }), undefined, { a: '18446744073709551615' }],
  [attribute({ boolValue: 'true' }), undefined, { a: 'true' }],
  [attribute({ stringValue: 42 }), undefined, { a: '42' }],
  [attribute({ bytesValue: { 0: 1, 1: 2 } }), undefined, { a: 'AQI=' }],
  [attribute({ newValue: 1 }), 'attribute unknown', { a: '' }],
]

describe("a span with a field that can't be read", () => {
  let server: SpanServer
  beforeEach(async () => {
    server = await SpanServer.start()
  })
  afterEach(() => server.close())

  async function keeps(path: string, body: unknown, [fields, left, expected]: Case): Promise<void> {
    const what = JSON.stringify(fields)
    const { status, json } = await server.post(path, JSON.stringify(body))
    assert.deepEqual([status, json ?? {}], [path === '/v1/traces' ? 200 : 202, {}], what)
    const record = server.records.pop()
    assert.ok(record, what)
    const left1 = server.leftOut.splice(0).map(([, field, reason]) => `${field} ${reason}`)
    assert.ok(left === undefined ? left1.length === 0 : left1.includes(left), `${what}: ${left1}`)
    const seen = { ...record, start: record.events![0]!.timestamp, a: record.annotations?.get('a') } as Json
    for (const [key, value] of Object.entries(expected ?? {})) assert.deepEqual(seen[key], value, what)
  }

  it('is stored without that field, which is counted, in Zipkin’s format', async () => {
    for (const one of ZIPKIN) await keeps('/api/v2/spans', [zipkin(one[0])], one)
    assert.deepEqual(server.rejected, [])
  })

  it('is stored without that field, which is counted, in Zipkin’s first version, also beside the second', async () => {
    for (const one of ZIPKIN_V1) await keeps('/api/v1/spans', [zipkin({}), one[0]], one)
    assert.deepEqual(server.rejected, [])
  })

  it('is stored without that field, which is counted, in OTLP', async () => {
    for (const one of OTLP) await keeps('/v1/traces', otlp(one[0]), one)
    assert.deepEqual(server.rejected, [])
  })

  it('is stored without that field, which is counted, in Milo’s own format', async () => {
    const record = { trace_id: '1', id: '2', name: 7, parent_id: 'x', events: [{ timestamp: [], value: 'e' }, 3] }
    const { status, json } = await server.post('/api/traces', JSON.stringify({ records: [record] }))
    assert.equal(status, 200)
    assert.deepEqual(
      json.leftOut.map(({ field, reason, count }: Json) => [field, reason, count]),
      [
        ['parent_id', 'bad_type', 1],
        ['event', 'bad_type', 1],
      ],
    )
    assert.equal(server.records[0]!.name, '7')
  })

  it('is stored without that field when protobuf nests too deep or ends within the field', async () => {
    const request = OTLP_TYPES.ExportTraceServiceRequest
    const body = Buffer.from(toProtobuf(otlp({ name: 'broken-here' }), request))
    // A name that isn't UTF-8 is one all the same; an attribute whose length lies is left out.
    const lie = Buffer.from([0x4a, 0x02, 0x12, 0x7f])
    const grown = (message: Buffer): Buffer => Buffer.concat([message, lie])
    const span = grown(body.subarray(6))
    const wrap = (inner: Buffer, tag: number) => Buffer.concat([Buffer.from([tag, inner.length]), inner])
    const { status } = await server.post('/v1/traces', wrap(wrap(wrap(span, 0x12), 0x12), 0x0a))
    assert.equal(status, 200)
    assert.equal(server.records[0]!.name, 'broken-here')
    assert.deepEqual(server.leftOut, [['otlp', 'message', 'bad_protobuf', 1]])
  })
})

describe('a body', () => {
  let server: SpanServer
  before(async () => {
    server = await SpanServer.start()
  })
  after(() => server.close())
  const post = async (path: string, body: unknown, headers?: Record<string, string>) => {
    server.records.length = 0
    const answer = await server.post(path, typeof body === 'string' ? body : JSON.stringify(body), headers)
    return { status: answer.status, json: answer.json, spans: server.records.length }
  }

  it('in OTLP may use the names of earlier versions, of the .proto files and of other writers', async () => {
    const span = otlpSpan({})
    const snake = { trace_id: span.traceId, span_id: span.spanId, start_time_unix_nano: '1700000000000000000' }
    const bodies = [
      { resourceSpans: [{ instrumentationLibrarySpans: [{ instrumentationLibrary: { name: 'x' }, spans: [span] }] }] },
      { resource_spans: [{ scope_spans: [{ spans: [snake] }] }] },
      [otlp()],
      { batches: otlp().resourceSpans },
      { trace: otlp() },
      otlp().resourceSpans[0],
      `\ufeff${JSON.stringify(otlp())}`,
      JSON.stringify(otlp({ name: '@' })).replace('@', 'a\tb'),
      JSON.stringify(otlp(attribute({ doubleValue: '@' }))).replace('"@"', 'NaN'),
      JSON.stringify(otlp()).replace('}]', '},]'),
      `${JSON.stringify(otlp())}\n`.repeat(2),
    ]
    for (const body of bodies) {
      const { status, spans } = await post('/v1/traces', body)
      assert.equal(status, 200)
      assert.ok(spans > 0, JSON.stringify(body))
    }
    for (const type of ['text/json', 'application/vnd.otlp+json', 'application/x-www-form-urlencoded', '']) {
      assert.equal((await post('/v1/traces', otlp(), { 'content-type': type })).spans, 1, type)
    }
    for (const encoding of ['none', 'gzip']) {
      assert.equal((await post('/v1/traces', otlp(), { 'content-encoding': encoding })).spans, 1, encoding)
    }
    // Field 1000 of ResourceSpans.
    const ids = Buffer.from(`0a10${'1'.repeat(32)}1208${'1'.repeat(16)}`, 'hex')
    const scope = Buffer.concat([Buffer.from([0x12, ids.length]), ids])
    const old = Buffer.concat([Buffer.from([0xc2, 0x3e, scope.length]), scope])
    await server.post('/v1/traces', Buffer.concat([Buffer.from([0x0a, old.length]), old]))
    assert.equal(server.records.at(-1)!.traceId, 0x1111111111111111n)
  })

  it('is never a plain success when it holds no span', async () => {
    for (const [path, body, message] of [
      ['/v1/traces', { spans: [otlpSpan({})] }, /none in it; it has spans/],
      ['/v1/traces', { resourceLogs: [{}] }, /none in it; it has resourceLogs/],
      ['/v1/traces', { resourceSpans: [{ libraries: [{}] }] }, /it has libraries/],
      ['/v1/traces', [zipkin({})], /it has traceId/],
      ['/api/v2/spans', otlp(), /should be a list of spans, not an object of "resourceSpans"/],
      ['/api/v2/spans', [[], []], /none in it/],
      ['/api/traces', { records: [] }, /there is no span in it/],
      ['/api/traces', { resourceLogs: [] }, /it has resourceLogs/],
    ] as const) {
      const { status, json, spans } = await post(path, body)
      assert.deepEqual([status, spans], [400, 0], JSON.stringify(body))
      assert.match(json.error ?? json.message, message)
    }
    const said = await post('/v1/traces', { resourceSpans: [{ scopeSpans: [{ spans: [] }] }] })
    assert.deepEqual([said.status, said.json.partialSuccess.rejectedSpans], [200, 0])
    assert.match(said.json.partialSuccess.errorMessage, /no span/)
    // What senders try a connection with.
    assert.deepEqual([(await post('/v1/traces', '{}')).json, (await post('/api/v2/spans', '[]')).status], [{}, 202])
  })
})
