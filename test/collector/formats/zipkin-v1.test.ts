import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Converted, type Spans, Unusable } from '../../../collector/src/formats/fields'
import { readZipkinJson, readZipkinV1Span, readZipkinV1Thrift } from '../../../collector/src/formats/zipkin/read'
import { toZipkinJson } from '../../../collector/src/formats/zipkin/write'
import { buildTrace } from '../../../collector/src/trace'
import { T, Writer } from '../../../src/codec/binary'
import { EventType, encodeRecord, readRecord, type SpanRecord } from '../../../src/codec/span'
import { zipkinSpan } from './zipkin-arbitrary'
import { thriftList, thriftSpan } from './zipkin-v1-thrift'

type Json = Record<string, any>

/** As they come back from the store. */
function stored(converted: Converted[]): SpanRecord[] {
  return converted.map(span => {
    if (span instanceof Unusable) throw new Error(`${span.reason}: ${span.message}`)
    return readRecord(encodeRecord(span), 0).record
  })
}

const all = (spans: Spans) => [...spans].map(convert => convert())
const plain = (v: unknown) => JSON.parse(JSON.stringify(v))

/** The records of a span, which have to be the same from JSON as from Thrift, alone and in a list. */
function read(span: Json): SpanRecord[] {
  const records = stored(all(readZipkinJson([plain(span)])))
  assert.deepEqual(stored(readZipkinV1Span(thriftSpan(span))), records)
  assert.deepEqual(stored(all(readZipkinV1Thrift(thriftList([span, span])))), [...records, ...records])
  return records
}

/** The reason for which a span in Thrift is of no use. */
function refused(bytes: Buffer): string {
  const [converted, ...others] = readZipkinV1Span(bytes)
  assert.deepEqual(others, [])
  assert.ok(converted instanceof Unusable)
  return converted.reason
}

/** A span of version 2 as its senders in version 1 write it. */
function toV1({ kind, localEndpoint, remoteEndpoint, tags = {}, shared, ...span }: Json): Json {
  const [begin, end, address] = kind === 'CLIENT' ? ['cs', 'cr', 'sa'] : kind === 'SERVER' ? ['sr', 'ss', 'ca'] : []
  const { timestamp, duration } = span
  const said = (value: string, timestamp: number) => ({ value, timestamp, endpoint: localEndpoint })
  const annotations = (span.annotations ?? []).map((entry: Json) => said(entry.value, entry.timestamp))
  if (begin !== undefined) annotations.push(said(begin, timestamp))
  if (end !== undefined && duration !== undefined) annotations.push(said(end, timestamp + duration))
  const binaryAnnotations: Json[] = Object.entries(tags).map(([key, value]) => ({
    ...{ key, value },
    endpoint: localEndpoint,
  }))
  if (localEndpoint !== undefined) binaryAnnotations.push({ key: 'lc', value: '', endpoint: localEndpoint })
  if (remoteEndpoint !== undefined) {
    binaryAnnotations.push({ key: address ?? 'sa', value: true, endpoint: remoteEndpoint })
  }
  const v1 = { ...span, annotations, binaryAnnotations }
  return shared ? { ...v1, timestamp: undefined, duration: undefined } : v1
}

const ids = { traceId: '463ac35c9f6413ad48485a3953bb6124', id: 'a2fb4a1d1a96d312', parentId: '0020000000000001' }
const front = { serviceName: 'front', ipv4: '10.0.0.1', port: 40000 }
const shop = { serviceName: 'shop', ipv4: '10.0.0.2', port: 9090 }
const START = 1_700_000_000_000_000
const at = (value: string, afterUs: number, endpoint?: Json) => ({ value, timestamp: START + afterUs, endpoint })
const call = {
  ...{ ...ids, name: 'get', timestamp: START, duration: 5000 },
  annotations: [at('cs', 0, front), at('sr', 1000, shop), at('cached', 2000, shop), at('ss', 4000, shop)],
  binaryAnnotations: [
    { key: 'http.path', value: '/api', endpoint: front },
    { key: 'http.path', value: '/v1/api', endpoint: shop },
    { key: 'sa', value: true, endpoint: shop },
    { key: 'ca', value: true, endpoint: front },
  ],
}

describe('Zipkin spans of version 1', () => {
  it('become the same records as in version 2', () => {
    const translatable = zipkinSpan
      .map(({ kind, shared, ...span }) => {
        const isRpc = (kind === 'CLIENT' || kind === 'SERVER') && span.timestamp !== undefined
        return { ...span, ...(isRpc && { kind }), ...(isRpc && kind === 'SERVER' && shared && { shared }) } as Json
      })
      // A server that calls its client by its own name is another test's.
      .filter(span => span.localEndpoint?.serviceName !== span.remoteEndpoint?.serviceName)
    fc.assert(
      fc.property(translatable, span => {
        assert.deepEqual(read(toV1(plain(span))), stored(all(readZipkinJson([plain(span)]))))
      }),
      { numRuns: 2000 },
    )
  })

  it('are accepted from zipkin-transport-scribe 0.22.0', () => {
    const bytes =
      'CgABm88bmAXkIrILAAMAAAAGc2VsZWN0CgAE9VsMiL3gGP8KAAWbzxuYBeQisg8ABgwAAAADCgABAAZg45YxFW8LAAIAAAAHcmV0cmllZAwAAwg' +
      'AAQAAAAALAAMAAAAFZnJvbnQAAAoAAQAGYOOWMRUgCwACAAAAAmNzDAADCAABAAAAAAsAAwAAAAVmcm9udAAACgABAAZg45YxFigLAAIAAAACY3' +
      'IMAAMIAAEAAAAACwADAAAABWZyb250AAAPAAgMAAAAAgsAAQAAAAlzcWwucXVlcnkLAAIAAAAIU0VMRUNUIDEIAAMAAAAGDAAECAABAAAAAAsAA' +
      'wAAAAVmcm9udAAACwABAAAAAnNhCwACAAAAAQEIAAMAAAAADAAECAABCgAABwYAAqkqCwADAAAAAmRiAAACAAkACgAKAAZg45YxFSAKAAsAAAAA' +
      'AAABCAoADMbIV4voQtJvAA=='
    assert.deepEqual(plain(toZipkinJson(stored(readZipkinV1Span(Buffer.from(bytes, 'base64'))))), [
      {
        traceId: 'c6c8578be842d26f9bcf1b9805e422b2',
        parentId: '9bcf1b9805e422b2',
        id: 'f55b0c88bde018ff',
        ...{ kind: 'CLIENT', name: 'select', timestamp: 1795380453905696, duration: 264 },
        localEndpoint: { serviceName: 'front' },
        remoteEndpoint: { serviceName: 'db', ipv4: '10.0.0.7', port: 43306 },
        annotations: [{ timestamp: 1795380453905775, value: 'retried' }],
        tags: { 'sql.query': 'SELECT 1' },
      },
    ])
  })

  it('become a record for each side of a call, with what its service reported', () => {
    const records = read({ ...call, debug: true })
    const shared = { traceId: ids.traceId, id: ids.id, parentId: ids.parentId, name: 'get', debug: true }
    assert.deepEqual(plain(toZipkinJson(records)), [
      {
        ...{ ...shared, kind: 'CLIENT', timestamp: START, duration: 5000 },
        ...{ localEndpoint: front, remoteEndpoint: shop, tags: { 'http.path': '/api' } },
      },
      {
        ...{ ...shared, kind: 'SERVER', shared: true, timestamp: START + 1000, duration: 3000 },
        ...{ localEndpoint: shop, remoteEndpoint: front, tags: { 'http.path': '/v1/api' } },
        annotations: [{ timestamp: START + 2000, value: 'cached' }],
      },
    ])
    const { spans } = buildTrace(records)
    assert.equal(spans.length, 1)
    const { kind, service, clientService, clientHost, serverHost, duration, serverDuration } = spans[0]!
    assert.deepEqual(
      { kind, service, clientService, clientHost, serverHost, duration, serverDuration },
      {
        ...{ kind: 'rpc', service: 'shop', clientService: 'front', clientHost: '10.0.0.1', serverHost: '10.0.0.2' },
        ...{ duration: 5000, serverDuration: 3000 },
      },
    )
  })

  it('keep the sides of a service that calls itself apart by address', () => {
    const other = { ...front, ipv4: '10.0.0.9' }
    const records = read({
      ...ids,
      annotations: [at('cs', 0, front), at('sr', 1, other), at('x', 2, other), at('ss', 3, other), at('cr', 4, front)],
      binaryAnnotations: [{ key: 'where', value: 'there', endpoint: other }],
    })
    assert.deepEqual(
      records.map(({ service, clientHost, serverHost, annotations, events }) => [
        ...[service, clientHost, serverHost, annotations?.get('where')],
        events!.map(({ timestamp, value }) => value ?? Number(timestamp) - START),
      ]),
      [
        ['front', '10.0.0.1', undefined, undefined, [0, 4]],
        ['front', undefined, '10.0.0.9', 'there', [1, 'x', 3]],
      ],
    )
  })

  it('give the client what neither side reported, and annotations without an endpoint', () => {
    const records = read({
      ...call,
      annotations: [...call.annotations, at('unsigned', 1), at('third', 2, { serviceName: 'proxy' })],
    })
    const values = (record: SpanRecord) => record.events!.flatMap(({ value }) => value ?? [])
    assert.deepEqual(records.map(values), [['unsigned', 'third'], ['cached']])
    assert.deepEqual(
      records.map(({ service }) => service),
      ['front', 'shop'],
    )
  })

  it('keep the event of a side that was reported in parts, in whichever order', () => {
    const parts = [
      { ...ids, annotations: [at('cr', 5000, front)] },
      { ...ids, annotations: [at('ss', 4000, shop)] },
      { ...ids, annotations: [at('sr', 1000, shop)] },
      { ...ids, annotations: [at('cs', 0, front)] },
    ]
    const records = parts.flatMap(read)
    assert.deepEqual(
      records.map(({ service, events }) => [service, events!.filter(({ timestamp }) => timestamp !== undefined)]),
      [
        ['front', [{ timestamp: BigInt(START + 5000), eventType: EventType.CLIENT_RECV }]],
        ['shop', [{ timestamp: BigInt(START + 4000), eventType: EventType.SERVER_SEND }]],
        ['shop', [{ timestamp: BigInt(START + 1000), eventType: EventType.SERVER_RECV }]],
        ['front', [{ timestamp: BigInt(START), eventType: EventType.CLIENT_SEND }]],
      ],
    )
    const { spans } = buildTrace(records)
    assert.equal(spans.length, 1)
    const { kind, service, clientService, duration, serverDuration } = spans[0]!
    assert.deepEqual([kind, service, clientService, duration, serverDuration], ['rpc', 'shop', 'front', 5000, 3000])
  })

  it('begin and end by their own times, or by their events where they have none', () => {
    const cs = at('cs', 10, front)
    const cr = at('cr', 900, front)
    const times = (span: Json) => read({ ...ids, ...span })[0]!.events!.map(e => e.timestamp && Number(e.timestamp))
    const [timestamp, duration] = [START, 1000]
    assert.deepEqual(times({ timestamp, duration, annotations: [cs, cr] }), [START, START + 1000])
    assert.deepEqual(times({ timestamp, annotations: [cs, cr] }), [START + 10, START + 900])
    assert.deepEqual(times({ duration, annotations: [cs] }), [START + 10, START + 1010])
    assert.deepEqual(times({ timestamp, annotations: [cr] }), [START, START + 900])
    assert.deepEqual(times({ timestamp, duration }), [START, START + 1000])
    assert.deepEqual(times({ duration }), [undefined, undefined])
    // A clock that was set back in between.
    assert.deepEqual(times({ annotations: [{ ...cs, timestamp: START + 901 }, cr] }), [START + 901, START + 900])
    // Each attempt but the first is an event of its own.
    const again = read({ ...ids, annotations: [cs, at('cs', 20, front), cr] })[0]!.events!
    assert.deepEqual(
      again.map(({ eventType, value }) => [eventType, value]),
      [
        [EventType.CLIENT_SEND, undefined],
        [EventType.CUSTOM, 'cs'],
        [EventType.CLIENT_RECV, undefined],
      ],
    )
  })

  it('are work within a process without cs, cr, sr and ss, unless an address makes them a server’s', () => {
    const address = (key: string, endpoint: Json) => ({ key, value: true, endpoint })
    const local = { ...ids, timestamp: START, duration: 10 }
    const v2 = (...binaryAnnotations: Json[]) => {
      const [{ kind, localEndpoint, remoteEndpoint }] = plain(toZipkinJson(read({ ...local, binaryAnnotations })))
      return [kind, localEndpoint, remoteEndpoint]
    }
    assert.deepEqual(v2({ key: 'lc', value: '', endpoint: front }), [undefined, front, undefined])
    assert.deepEqual(v2({ key: 'lc', value: 'sum', endpoint: front }), [undefined, front, undefined])
    assert.deepEqual(v2(address('sa', shop)), [undefined, undefined, shop])
    assert.deepEqual(v2(address('ma', shop)), [undefined, undefined, shop])
    assert.deepEqual(v2(address('ca', front), address('sa', shop)), [undefined, front, shop])
    assert.deepEqual(v2(address('ca', front)), ['SERVER', undefined, front])
    assert.deepEqual(
      v2({ key: 'x', value: 'y', endpoint: { serviceName: 'mine' } }, address('ca', front), address('sa', shop)),
      [undefined, { serviceName: 'mine' }, shop],
    )
  })

  it('name the client by its address alone when Finagle reports it under the server’s name', () => {
    const server = { ...ids, annotations: [at('sr', 0, shop), at('ss', 1, shop)] }
    const of = (endpoint: Json) => read({ ...server, binaryAnnotations: [{ key: 'ca', value: true, endpoint }] })[0]!
    const record = of({ ...front, serviceName: 'shop' })
    assert.equal(record.clientHost, '10.0.0.1')
    assert.equal(record.annotations!.get('zipkin.remote.service'), undefined)
    assert.equal(record.annotations!.get('zipkin.remote.port'), '40000')
    assert.equal(of(shop).clientHost, undefined)
  })

  it('keep values of every type: numbers in decimal, bytes in base64', () => {
    const endpoint = front
    const values: [string, unknown, string][] = [
      ['STRING', 'tést', 'tést'],
      ['STRING', '', ''],
      ['BOOL', true, 'true'],
      ['BOOL', false, 'false'],
      ['I16', -7, '-7'],
      ['I32', 2 ** 31 - 1, '2147483647'],
      ['I64', '-9223372036854775808', '-9223372036854775808'],
      ['DOUBLE', 0.25, '0.25'],
      ['BYTES', '3q2+7w==', '3q2+7w=='],
    ]
    const binaryAnnotations = values.map(([type, value], i) => ({ key: `k${i}`, type, value, endpoint }))
    const annotations = read({ ...ids, binaryAnnotations })[0]!.annotations!
    assert.deepEqual(
      values.map((_, i) => annotations.get(`k${i}`)),
      values.map(([, , text]) => text),
    )
    // What isn't as long as its type says, and what has no type.
    const w = new Writer()
    w.raw(thriftSpan(ids).subarray(0, -1))
    w.field(T.LIST, 8)
    w.byte(T.STRUCT)
    w.i32(2)
    for (const type of [3, 77]) {
      w.field(T.STRING, 1)
      w.string(`type ${type}`)
      w.field(T.STRING, 2)
      w.bytes(Buffer.from([1, 2]))
      w.field(T.I32, 3)
      w.i32(type)
      w.byte(T.STOP)
    }
    w.byte(T.STOP)
    const [record] = stored(readZipkinV1Span(w.take()))
    assert.deepEqual(
      [...record!.annotations!],
      [
        ['type 3', 'AQI='],
        ['type 77', 'AQI='],
      ],
    )
  })

  it('are accepted without an address, and with the 0 that earlier versions of zipkin-js write for none', () => {
    const endpoint = { serviceName: 'front', ipv4: 0, port: 0 }
    const [record] = stored(all(readZipkinJson([{ ...ids, annotations: [at('sr', 0, endpoint)] }])))
    assert.deepEqual([record!.service, record!.serverHost], ['front', undefined])
  })

  it('are rejected without ids', () => {
    assert.equal(refused(thriftSpan({ id: '1' })), 'no_trace_id')
    assert.equal(refused(thriftSpan({ traceId: '1', id: '0' })), 'no_span_id')
    const spans = [{ ...ids, traceId: 'x' }, { ...ids, id: 7 }, null, 7, 'x', [{}], ids]
    assert.deepEqual(
      all(readZipkinJson(spans)).map(span => span instanceof Unusable),
      spans.map(span => span !== ids),
    )
  })

  it('are refused when they lie about a length, nest without end or are too large', () => {
    const bytes = thriftSpan(call)
    for (let end = 0; end < bytes.length; end++) assert.equal(refused(bytes.subarray(0, end)), 'truncated')
    const lengthAt = (text: string) => bytes.indexOf(text) - 4
    const places = [lengthAt('get'), lengthAt('cached'), lengthAt('http.path'), lengthAt('/api'), lengthAt('front')]
    places.push(bytes.indexOf(Buffer.from([T.LIST, 0, 6])) + 4, bytes.indexOf(Buffer.from([T.LIST, 0, 8])) + 4)
    for (const place of places) {
      for (const [length, reason] of [
        [2 ** 31 - 1, /^(truncated|too_large)$/],
        [-1, /^negative_length$/],
        [-(2 ** 31), /^negative_length$/],
      ] as const) {
        const lying = Buffer.from(bytes)
        lying.writeInt32BE(length, place)
        assert.match(refused(lying), reason)
      }
    }
    const withField = (put: (w: Writer) => void) => {
      const w = new Writer()
      w.raw(thriftSpan(ids).subarray(0, -1))
      put(w)
      w.byte(T.STOP)
      return w.take()
    }
    const deep = withField(w => {
      w.field(T.STRUCT, 99)
      for (let i = 0; i < 100_000; i++) w.field(T.STRUCT, 1)
    })
    assert.equal(refused(deep), 'too_deep')
    const many = withField(w => {
      w.field(T.LIST, 6)
      w.byte(T.STRUCT)
      w.i32(65_537)
      w.raw(Buffer.alloc(65_537))
    })
    assert.equal(refused(many), 'too_large')
    assert.equal(refused(thriftSpan({ ...ids, name: 'x'.repeat(1024 * 1024) })), 'too_large')
    // Unknown fields, and known ones of another type, are passed over.
    const unknown = withField(w => {
      w.field(T.STRING, 1)
      w.string('no id')
      w.field(T.MAP, 7)
      w.byte(T.STRING)
      w.byte(T.I64)
      w.i32(0)
      w.field(T.LIST, 6)
      w.byte(T.I32)
      w.i32(1)
      w.i32(7)
    })
    assert.deepEqual(stored(readZipkinV1Span(unknown)), stored(readZipkinV1Span(thriftSpan(ids))))
  })

  it('are rejected with a reason, never an exception, when the bytes are garbage', () => {
    const bytes = thriftSpan(call)
    const mangled = fc
      .array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
      .map(edits => {
        const copy = Buffer.from(bytes)
        for (const [at, value] of edits) copy[at] = value
        return copy
      })
    const random = fc.uint8Array({ maxLength: 200 }).map(noise => Buffer.from(noise))
    fc.assert(
      fc.property(fc.oneof(mangled, random), noise => {
        const converted = readZipkinV1Span(noise)
        assert.ok(converted.length === 1 || converted.length === 2)
        stored(converted.filter(span => !(span instanceof Unusable)))
      }),
      { numRuns: 5000 },
    )
  })
})
