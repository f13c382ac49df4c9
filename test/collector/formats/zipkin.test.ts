import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Spans, Unusable } from '../../../collector/src/formats/fields'
import { readZipkinJson, readZipkinProtobuf } from '../../../collector/src/formats/zipkin/read'
import { ZIPKIN_TYPES } from '../../../collector/src/formats/zipkin/schema'
import { toZipkinJson } from '../../../collector/src/formats/zipkin/write'
import { buildTrace } from '../../../collector/src/trace'
import { EventType, encodeRecord, readRecord, type SpanRecord } from '../../../src/codec/span'
import { zipkinSpan } from './zipkin-arbitrary'

type Json = Record<string, any>

/** As they come back from the store. */
function stored(spans: Spans): SpanRecord[] {
  return [...spans].map(convert => {
    const span = convert()
    if (span instanceof Unusable) throw new Error(`${span.reason}: ${span.message}`)
    return readRecord(encodeRecord(span), 0).record
  })
}

const plain = (v: unknown) => JSON.parse(JSON.stringify(v))

describe('Zipkin spans', () => {
  it('go into records and back without loss, from JSON', () => {
    fc.assert(
      fc.property(zipkinSpan, span => {
        assert.deepEqual(plain(toZipkinJson(stored(readZipkinJson([plain(span)])))), [plain(span)])
      }),
      { numRuns: 2000 },
    )
  })

  it('become the same records from protobuf as from JSON', () => {
    const ipv6: Record<string, string> = {
      '::1': '00000000000000000000000000000001',
      '2001:db8::c001': '20010db800000000000000000000c001',
      'fe80::1:2': 'fe800000000000000000000000010002',
    }
    const toBytes = ({ ipv4, ipv6: v6, ...rest }: Json = {}) => ({
      ...rest,
      ...(ipv4 && { ipv4: Buffer.from(ipv4.split('.').map(Number)) }),
      ...(v6 && { ipv6: Buffer.from(ipv6[v6]!, 'hex') }),
    })
    const type = ZIPKIN_TYPES.ListOfSpans
    const kinds = [undefined, 'CLIENT', 'SERVER', 'PRODUCER', 'CONSUMER']
    fc.assert(
      fc.property(zipkinSpan, zipkin => {
        const span = plain(zipkin)
        const body = type
          .encode(
            type.fromObject({
              spans: [
                {
                  ...span,
                  traceId: Buffer.from(span.traceId, 'hex'),
                  id: Buffer.from(span.id, 'hex'),
                  parentId: Buffer.from(span.parentId ?? '', 'hex'),
                  kind: kinds.indexOf(span.kind),
                  localEndpoint: toBytes(span.localEndpoint),
                  remoteEndpoint: toBytes(span.remoteEndpoint),
                },
              ],
            }),
          )
          .finish()
        assert.deepEqual(stored(readZipkinProtobuf(body)), stored(readZipkinJson([span])))
      }),
      { numRuns: 1000 },
    )
  })

  it('become one span when client and server share an id', () => {
    const [traceId, id] = ['463ac35c9f6413ad48485a3953bb6124', 'a2fb4a1d1a96d312']
    const client = {
      ...{ traceId, id, kind: 'CLIENT', name: 'get', timestamp: 1_700_000_000_000_000, duration: 5000 },
      localEndpoint: { serviceName: 'front', ipv4: '10.0.0.1' },
      remoteEndpoint: { serviceName: 'shop', ipv4: '10.0.0.2', port: 9090 },
    }
    const server = {
      ...{ traceId, id, kind: 'SERVER', shared: true, name: 'get', timestamp: 1_700_000_000_001_000, duration: 3000 },
      localEndpoint: { serviceName: 'shop', ipv4: '10.0.0.2' },
      tags: { error: '' },
    }
    const trace = buildTrace(stored(readZipkinJson([client, server])))
    assert.equal(trace.traceId, traceId)
    assert.equal(trace.spans.length, 1)
    const { kind, service, clientService, clientHost, serverHost, duration, serverDuration, error } = trace.spans[0]!
    assert.deepEqual(
      { kind, service, clientService, clientHost, serverHost, duration, serverDuration, error },
      {
        ...{ kind: 'rpc', service: 'shop', clientService: 'front', clientHost: '10.0.0.1', serverHost: '10.0.0.2' },
        ...{ duration: 5000, serverDuration: 3000, error: true },
      },
    )
  })

  it('are accepted with short ids, zero parents, numbers as tags and fractions of microseconds', () => {
    const span = {
      ...{ traceId: 'ABC', id: '1', parentId: '0000000000000000', timestamp: 1_700_000_000_000_000.5, duration: '7' },
      tags: { status: 200, cached: true },
    }
    const [record] = stored(readZipkinJson([[span]]))
    assert.deepEqual([record!.traceId, record!.id, record!.parentId], [0xabcn, 1n, 0n])
    assert.deepEqual(
      record!.events!.map(({ timestamp }) => timestamp),
      [1_700_000_000_000_000n, 1_700_000_000_000_007n],
    )
    assert.deepEqual([...record!.annotations!], Object.entries({ status: '200', cached: 'true' }))
  })

  it('can be written from Milo’s own records, the server’s half as a span that shares its id', () => {
    const ids = { traceId: 1n, id: 2n, parentId: 0n, name: 'Shop.order' }
    const [client, server, local] = toZipkinJson([
      {
        ...ids,
        service: 'front',
        // The original's Python client swapped them.
        events: [
          { timestamp: 1_700_000_000_000_000n, eventType: EventType.CLIENT_RECV },
          { timestamp: 1_700_000_000_005_000n, eventType: EventType.CLIENT_SEND },
        ],
        counters: new Map([['rows', 3n]]),
      },
      {
        ...ids,
        service: 'shop',
        events: [
          { timestamp: 1_700_000_000_001_000n, eventType: EventType.SERVER_RECV },
          { timestamp: 1_700_000_000_002_000n, eventType: EventType.CUSTOM, value: 'cached' },
          { timestamp: 1_700_000_000_004_000n, eventType: EventType.SERVER_SEND },
        ],
        probability: 0,
      },
      {
        ...{ traceId: 1n, id: 3n, parentId: 2n, name: 'sum', clientHost: 'web1' },
        events: [
          { timestamp: 1_700_000_000_002_000n, eventType: EventType.CUSTOM, value: 'milo.start' },
          { timestamp: 1_700_000_000_003_000n, eventType: EventType.CUSTOM, value: 'milo.end' },
        ],
      },
    ]).map(plain)
    const traceId = '0000000000000001'
    assert.deepEqual(client, {
      ...{ traceId, id: '0000000000000002', kind: 'CLIENT', name: 'Shop.order' },
      ...{
        timestamp: 1_700_000_000_000_000,
        duration: 5000,
        localEndpoint: { serviceName: 'front' },
        tags: { rows: '3' },
      },
    })
    assert.deepEqual(server, {
      ...{ traceId, id: '0000000000000002', kind: 'SERVER', name: 'Shop.order', shared: true, debug: true },
      ...{ timestamp: 1_700_000_000_001_000, duration: 3000, localEndpoint: { serviceName: 'shop' } },
      annotations: [{ timestamp: 1_700_000_000_002_000, value: 'cached' }],
    })
    assert.deepEqual(local, {
      ...{ traceId, id: '0000000000000003', parentId: '0000000000000002', name: 'sum' },
      ...{ timestamp: 1_700_000_000_002_000, duration: 1000 },
    })
  })
})
