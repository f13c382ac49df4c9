import assert from 'node:assert/strict'
import fc from 'fast-check'
import { readDocuments } from '../../../collector/src/formats/detect'
import { type Spans, Unusable } from '../../../collector/src/formats/fields'
import { parseDocuments } from '../../../collector/src/formats/json'
import { readOtlpJson, readOtlpProtobuf } from '../../../collector/src/formats/otlp/read'
import { OTLP_TYPES } from '../../../collector/src/formats/otlp/schema'
import { toOtlpJson } from '../../../collector/src/formats/otlp/write'
import { buildTrace } from '../../../collector/src/trace'
import { EventType, encodeRecord, readRecord, type SpanRecord } from '../../../src/codec/span'
import { flatten, type Json, otlpRequest, toProtobuf } from './otlp-arbitrary'

/** As they come back from the store. */
function stored(spans: Spans): SpanRecord[] {
  return [...spans].map(convert => {
    const span = convert()
    if (span instanceof Unusable) throw new Error(`${span.reason}: ${span.message}`)
    return readRecord(encodeRecord(span), 0).record
  })
}

describe('OTLP', () => {
  it('goes into records and back without loss, from JSON', () => {
    fc.assert(
      fc.property(otlpRequest, request => {
        const records = stored(
          readDocuments(parseDocuments(Buffer.from(JSON.stringify(request))), json => readOtlpJson(json)),
        )
        assert.deepEqual(flatten(toOtlpJson(records) as Json), flatten(request))
      }),
      { numRuns: 1000 },
    )
  })

  it('gives the same records from protobuf as from JSON', () => {
    fc.assert(
      fc.property(otlpRequest, request => {
        const fromJson = stored(readOtlpJson(request))
        assert.deepEqual(stored(readOtlpProtobuf(toProtobuf(request, OTLP_TYPES.ExportTraceServiceRequest))), fromJson)
      }),
      { numRuns: 1000 },
    )
  })

  it('puts what people search for into Milo’s own fields', () => {
    const [record] = stored(
      readOtlpJson(
        oneSpan(
          {
            ...{
              kind: 3,
              name: 'GET',
              startTimeUnixNano: '1700000000000000999',
              endTimeUnixNano: '1700000000001500000',
            },
            parentSpanId: '00000000000000ff',
            attributes: [
              attribute('server.address', 'shop.local'),
              { key: 'http.response.status_code', value: { intValue: '500' } },
              { key: 'retry', value: { boolValue: true } },
              { key: 'args', value: { arrayValue: { values: [{ stringValue: '-v' }, { intValue: 3 }] } } },
            ],
            status: { code: 2, message: 'Internal Server Error' },
            traceState: 'a=1',
            flags: 257,
            events: [
              {
                ...{ timeUnixNano: '1700000000000700001', name: 'exception' },
                attributes: [attribute('exception.type', 'IOException')],
              },
            ],
            links: [{ traceId: 'f'.repeat(32), spanId: '1'.repeat(16), attributes: [attribute('why', 'batch')] }],
          },
          [attribute('service.name', 'front'), attribute('host.name', 'web1'), attribute('os.type', 'linux')],
          { name: 'http', version: '1.2' },
        ),
      ),
    )
    const { annotations, counters, ...rest } = record!
    assert.deepEqual(rest, {
      ...{ traceId: -0x67feb9a9d3abc3e1n, traceIdHigh: 0x0102030405060708n, id: 0xabcn, parentId: 0xffn },
      ...{ name: 'GET', service: 'front', clientHost: 'web1', serverHost: 'shop.local' },
      events: [
        { timestamp: 1_700_000_000_000_000n, eventType: EventType.CLIENT_SEND },
        { timestamp: 1_700_000_000_000_700n, eventType: EventType.CUSTOM, value: 'exception' },
        { timestamp: 1_700_000_000_001_500n, eventType: EventType.CLIENT_RECV },
      ],
    })
    assert.deepEqual(Object.fromEntries(annotations!), {
      'server.address': 'shop.local',
      'http.response.status_code': '500',
      retry: 'true',
      args: '["-v",3]',
      'otel.types': '{"http.response.status_code":"int","retry":"bool","args":"json"}',
      'otel.kind': 'client',
      'otel.status_code': 'ERROR',
      'otel.status_description': 'Internal Server Error',
      error: 'Internal Server Error',
      'otel.trace_state': 'a=1',
      'otel.events': '{"0":{"attributes":{"exception.type":"IOException"}}}',
      'otel.links': `[{"traceId":"${'f'.repeat(32)}","spanId":"1111111111111111","attributes":{"why":"batch"}}]`,
      'otel.scope.name': 'http',
      'otel.scope.version': '1.2',
      'otel.resource.host.name': 'web1',
      'otel.resource.os.type': 'linux',
    })
    assert.deepEqual(Object.fromEntries(counters!), {
      'otel.flags': 257n,
      'otel.start_ns': 999n,
      'otel.event_ns.0': 1n,
    })
  })

  it('knows the probability of a span from its trace state, or from milo.probability', () => {
    const probability = (span: object) => stored(readOtlpJson(oneSpan(span)))[0]!.probability
    assert.equal(probability({ traceState: 'ot=th:c' }), 0.25)
    assert.equal(probability({ attributes: [{ key: 'milo.probability', value: { doubleValue: 0.125 } }] }), 0.125)
    assert.equal(probability({ traceState: 'vendor=1' }), undefined)
  })

  it('keeps an attribute "error" that is false, and doesn’t call the span failed', () => {
    const request = oneSpan({ attributes: [{ key: 'error', value: { boolValue: false } }] })
    const records = stored(readOtlpJson(request))
    assert.equal(buildTrace(records).spans[0]!.error, false)
    assert.deepEqual(spansOf(toOtlpJson(records))[0].attributes, [{ key: 'error', value: { boolValue: false } }])
  })

  it('puts a server’s span below the client’s, in one tree with Milo’s own halves', () => {
    const traceId = '1'.repeat(32)
    const client = oneSpan({ traceId, spanId: '0'.repeat(15) + '2', parentSpanId: '0'.repeat(15) + '1', kind: 3 })
    const server = oneSpan({ traceId, spanId: '0'.repeat(15) + '3', parentSpanId: '0'.repeat(15) + '2', kind: 2 })
    const internal = oneSpan({ traceId, spanId: '0'.repeat(15) + '4', parentSpanId: '0'.repeat(15) + '3', kind: 1 })
    const at = (offset: bigint, eventType: number) => ({ timestamp: 1_700_000_000_000_000n + offset, eventType })
    const ids = { traceId: 0x1111111111111111n, traceIdHigh: 0x1111111111111111n }
    // Above, a call between two services under Milo; below, one from the internal span.
    const milo: SpanRecord[] = [
      { ...ids, id: 1n, parentId: 0n, events: [at(0n, EventType.CLIENT_SEND), at(900n, EventType.CLIENT_RECV)] },
      { ...ids, id: 1n, parentId: 0n, events: [at(10n, EventType.SERVER_RECV), at(800n, EventType.SERVER_SEND)] },
      { ...ids, id: 5n, parentId: 4n, events: [at(50n, EventType.SERVER_RECV), at(60n, EventType.SERVER_SEND)] },
    ]
    const records = [client, server, internal].flatMap(request => stored(readOtlpJson(request)))
    const { spans } = buildTrace([...records, ...milo])
    assert.deepEqual(
      spans.map(({ spanId, depth, kind, orphan }) => [Number(`0x${spanId}`), depth, kind, orphan]),
      [
        [1, 0, 'rpc', false],
        [2, 1, 'client', false],
        [3, 2, 'server', false],
        [4, 3, 'local', false],
        [5, 4, 'server', false],
      ],
    )
  })

  it('can be written from Milo’s own records, with the same tree', () => {
    const at = (offset: bigint, eventType: number, value?: string) => ({
      timestamp: 1_700_000_000_000_000n + offset,
      eventType,
      ...(value !== undefined && { value }),
    })
    const call = { traceId: 1n, id: 2n, parentId: 0n, name: 'Shop.order' }
    const records: SpanRecord[] = [
      {
        ...{ ...call, service: 'front', clientHost: 'web1', probability: 0.5 },
        events: [at(0n, EventType.CLIENT_RECV), at(900n, EventType.CLIENT_SEND)],
      },
      {
        ...{ ...call, service: 'shop', serverHost: 'shop1', clientHost: 'web1' },
        events: [at(10n, EventType.SERVER_RECV), at(20n, EventType.CUSTOM, 'hit'), at(800n, EventType.SERVER_SEND)],
        annotations: new Map([
          ['error.type', 'Oops'],
          ['otel.more', 'not ours'],
        ]),
        counters: new Map([['rows', 3n]]),
      },
      {
        ...{ traceId: 1n, id: 3n, parentId: 2n, name: 'sum', service: 'shop' },
        events: [at(30n, EventType.CUSTOM, 'milo.start'), at(40n, EventType.CUSTOM, 'milo.end')],
      },
    ]
    const otlp = toOtlpJson(records)
    const [client, server, local] = spansOf(otlp)
    assert.deepEqual([client.kind, server.kind, local.kind], [3, 2, 1])
    assert.deepEqual([client.startTimeUnixNano, client.endTimeUnixNano], ['1700000000000000000', '1700000000000900000'])
    assert.deepEqual(server.status, { code: 2 })
    assert.deepEqual(server.attributes, [
      attribute('error.type', 'Oops'),
      attribute('otel.more', 'not ours'),
      attribute('client.address', 'web1'),
      { key: 'rows', value: { intValue: '3' } },
    ])
    const seen = (spans: SpanRecord[]) =>
      buildTrace(spans).spans.map(
        ({ spanId, depth, kind, name, service, clientService, start, duration, serverHost, error }) => ({
          ...{ spanId, depth, kind, name, service, clientService, start, duration, serverHost, error },
        }),
      )
    assert.deepEqual(seen(stored(readOtlpJson(otlp))), seen(records))
  })

  it('can be written from records that hold anything at all under its names', () => {
    const names = ['types', 'more', 'events', 'links', 'scope.attributes', 'resource_types', 'resource_more', 'kind']
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...names), fc.oneof(fc.json(), fc.string()))), said => {
        const annotations = new Map([
          ['otel.kind', 'server'],
          ['a', '1'],
          ...said.map(([k, v]) => [`otel.${k}`, v] as const),
        ])
        const [span] = spansOf(toOtlpJson([{ traceId: 1n, id: 1n, annotations }]))
        assert.equal(span.spanId, '0000000000000001')
      }),
    )
  })
})

const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } })

function oneSpan(fields: object, resource: object[] = [], scope = {}) {
  const times = { startTimeUnixNano: '1700000000000000000', endTimeUnixNano: '1700000000000100000' }
  const span = { traceId: '0102030405060708980146562c543c1f', spanId: '0000000000000abc', ...times, ...fields }
  return { resourceSpans: [{ resource: { attributes: resource }, scopeSpans: [{ scope, spans: [span] }] }] }
}

function spansOf(request: any): any[] {
  return request.resourceSpans.flatMap(({ scopeSpans }: any) => scopeSpans.flatMap(({ spans }: any) => spans))
}
