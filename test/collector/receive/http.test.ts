import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { recordToJson } from '../../../collector/src/formats/milo-json'
import { OTLP_TYPES } from '../../../collector/src/formats/otlp/schema'
import { toOtlpJson } from '../../../collector/src/formats/otlp/write'
import { toZipkinJson } from '../../../collector/src/formats/zipkin/write'
import type { HttpSpansOptions } from '../../../collector/src/receive/http'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { otlpRequest, toProtobuf } from '../formats/otlp-arbitrary'
import { JSON_TYPE, PROTOBUF_TYPE, SpanServer } from '../formats/span-server'
import { thriftList } from '../formats/zipkin-v1-thrift'

const otlp = (...spans: object[]) => ({
  resourceSpans: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
      scopeSpans: [{ spans }],
    },
  ],
})
const otlpSpan = (fields: object = {}) => ({
  traceId: '5b8efff798038103d269b633813fc60c',
  spanId: 'eee19b7ec3c1b174',
  name: 'order',
  kind: 2,
  startTimeUnixNano: '1700000000000000001',
  endTimeUnixNano: '1700000000001000999',
  ...fields,
})
const protobuf = (request: object) => toProtobuf(request, OTLP_TYPES.ExportTraceServiceRequest)
const decodeAnswer = (bytes: Buffer) => OTLP_TYPES.ExportTraceServiceResponse.decode(bytes).toJSON()

/** google.rpc.Status: a varint and a string of fewer than 16,384 bytes. */
function decodeStatus(bytes: Buffer): { code: number; message: string } {
  assert.deepEqual([bytes[0], bytes[2]], [8, 18])
  const long = bytes[3]! > 127 ? 1 : 0
  return { code: bytes[1]!, message: bytes.toString('utf8', 4 + long) }
}

/** A field of a message's bytes. */
function wrap(tag: number, inner: Uint8Array) {
  const head = [tag]
  let length = inner.length
  for (; length > 127; length >>>= 7) head.push((length & 127) | 128)
  return Buffer.concat([Buffer.from([...head, length]), inner])
}

describe('spans over HTTP', () => {
  let server: SpanServer
  const serve = async (overrides: Partial<HttpSpansOptions> = {}) => {
    await server?.close()
    server = await SpanServer.start({ maxBodyBytes: 1 << 20, maxInFlightBytes: 4 << 20, ...overrides })
  }
  beforeEach(() => serve())
  after(() => server.close())

  describe('in OTLP', () => {
    it('are stored and answered in the encoding of the request', async () => {
      const asJson = await server.post('/v1/traces', JSON.stringify(otlp(otlpSpan())))
      assert.deepEqual([asJson.status, asJson.json], [200, {}])
      const asProtobuf = await server.post('/v1/traces', protobuf(otlp(otlpSpan())))
      assert.deepEqual([asProtobuf.status, asProtobuf.bytes.length], [200, 0])
      assert.equal(asProtobuf.headers.get('content-type'), PROTOBUF_TYPE)
      assert.equal(server.records.length, 2)
      assert.deepEqual(server.records[0], server.records[1])
      assert.equal(server.records[0]!.service, 'shop')
    })

    it('are taken in gzip and in deflate, with and without its wrapper', async () => {
      const body = protobuf(otlp(otlpSpan()))
      const bodies = { gzip: gzipSync(body), 'x-gzip': gzipSync(body), deflate: deflateSync(body) }
      for (const [encoding, compressed] of Object.entries(bodies)) {
        assert.equal((await server.post('/v1/traces', compressed, { 'content-encoding': encoding })).status, 200)
      }
      const raw = await server.post('/v1/traces', deflateRawSync(body), { 'content-encoding': 'deflate' })
      assert.equal(raw.status, 200)
      assert.equal(server.records.length, 4)
    })

    it('leave unusable ones out, and say how many and why', async () => {
      const request = otlp(otlpSpan(), otlpSpan({ traceId: '00'.repeat(16) }), otlpSpan({ spanId: 'ab' }))
      for (const body of [JSON.stringify(request), protobuf(request)]) {
        const answer = await server.post('/v1/traces', body)
        assert.equal(answer.status, 200)
        const { partialSuccess } = answer.json ?? decodeAnswer(answer.bytes)
        assert.equal(Number(partialSuccess.rejectedSpans), 2)
        assert.match(partialSuccess.errorMessage, /^2 spans rejected: no_trace_id ×1 \(.*\), bad_span_id ×1 \(/)
      }
      assert.equal(server.records.length, 2)
      assert.deepEqual(server.rejected.slice(0, 2), [
        ['otlp', 'no_trace_id', 1],
        ['otlp', 'bad_span_id', 1],
      ])
    })

    it('take ids in base64 and enumerations by name, as some senders have them', async () => {
      const fields = {
        traceId: Buffer.from('5b8efff798038103d269b633813fc60c', 'hex').toString('base64'),
        spanId: Buffer.from('eee19b7ec3c1b174', 'hex').toString('base64'),
        kind: 'SPAN_KIND_SERVER',
        status: { code: 'STATUS_CODE_ERROR' },
      }
      await server.post('/v1/traces', JSON.stringify(otlp(otlpSpan(fields), otlpSpan({ status: { code: 2 } }))))
      assert.equal(server.records.length, 2)
      assert.deepEqual(server.records[0], server.records[1])
    })

    it('keep nanoseconds that came as JSON numbers', async () => {
      const body = JSON.stringify(otlp(otlpSpan())).replace(/"(1700000000000000001)"/, '$1')
      await server.post('/v1/traces', body)
      assert.equal(server.records[0]!.counters!.get('otel.start_ns'), 1n)
    })

    it('are refused with a google.rpc.Status when the body is none of OTLP', async () => {
      for (const body of [Buffer.from([0xff]), Buffer.from('0a7f', 'hex'), Buffer.from('0affffffff07', 'hex')]) {
        const answer = await server.post('/v1/traces', body)
        assert.equal(answer.status, 400)
        assert.equal(answer.headers.get('content-type'), PROTOBUF_TYPE)
        const { code, message } = decodeStatus(answer.bytes)
        assert.equal(code, 3)
        assert.match(message, /can't be read/)
      }
      for (const body of [
        '',
        '{',
        '[]',
        '7',
        '{"resourceSpans":{}}',
        '{"resourceSpans":[[]]}',
        '{"resourceSpans":[null]}',
        '"x"',
      ]) {
        const answer = await server.post('/v1/traces', body)
        assert.equal(answer.status, 400, body)
        assert.equal(answer.json.code, 3)
        assert.match(answer.json.message, /^not /)
      }
      assert.equal(server.records.length, 0)
    })

    it('take an empty request for what it is', async () => {
      assert.equal((await server.post('/v1/traces', Buffer.alloc(0))).status, 200)
      assert.equal((await server.post('/v1/traces', '{}')).status, 200)
    })

    it('are stored piece by piece when there are many, each with what the resource says', async () => {
      await serve({ maxBodyBytes: 16 << 20, maxInFlightBytes: 64 << 20 })
      const spans = Array.from({ length: 5000 }, (_, i) => otlpSpan({ spanId: (i + 1).toString(16).padStart(16, '0') }))
      const request = otlp(...spans)
      request.resourceSpans[0]!.resource.attributes.push({ key: 'os', value: { stringValue: 'x'.repeat(1000) } })
      assert.equal((await server.post('/v1/traces', protobuf(request))).status, 200)
      assert.equal(new Set(server.records.map(({ id }) => id)).size, 5000)
      assert.ok(server.records.every(r => r.annotations!.get('otel.resource.os')!.length === 1000))
      assert.ok(server.pieces.length > 5 && server.pieces.every(bytes => bytes < 2 << 20))
    })

    it('grow no further than a bound by what is repeated with each', async () => {
      const spans = Array.from({ length: 2000 }, (_, i) => otlpSpan({ spanId: (i + 1).toString(16).padStart(16, '0') }))
      const request = otlp(...spans)
      request.resourceSpans[0]!.resource.attributes.push({ key: 'os', value: { stringValue: 'x'.repeat(500_000) } })
      const { partialSuccess } = (await server.post('/v1/traces', JSON.stringify(request))).json
      // The last may go beyond.
      assert.ok(server.pieces.reduce((sum, n) => sum + n, 0) <= 9 << 20)
      assert.equal(server.records.length + partialSuccess.rejectedSpans, 2000)
      assert.match(partialSuccess.errorMessage, /too_large/)
    })
  })

  describe('in Zipkin’s JSON', () => {
    const zipkin = {
      traceId: '5b8efff798038103',
      id: 'eee19b7ec3c1b174',
      kind: 'CLIENT',
      timestamp: 1_700_000_000_000_000,
    }

    it('are answered with 202', async () => {
      const answer = await server.post('/api/v2/spans', JSON.stringify([zipkin, { ...zipkin, id: '1' }]))
      assert.deepEqual([answer.status, answer.bytes.length], [202, 0])
      assert.deepEqual(
        server.records.map(({ id }) => id),
        [-0x111e64813c3e4e8cn, 1n],
      )
      const zipped = gzipSync(JSON.stringify([zipkin]))
      const headers = { 'content-type': JSON_TYPE, 'content-encoding': 'gzip' }
      assert.equal((await server.post('/api/v2/spans', zipped, headers)).status, 202)
    })

    it('leave unusable ones out, and are refused when none is left', async () => {
      const bad = { ...zipkin, id: 'x' }
      assert.equal((await server.post('/api/v2/spans', JSON.stringify([zipkin, bad]))).status, 202)
      assert.deepEqual(server.rejected, [['zipkin', 'bad_span_id', 1]])
      const answer = await server.post('/api/v2/spans', JSON.stringify([bad]))
      assert.equal(answer.status, 400)
      assert.match(answer.json.error, /bad_span_id/)
      assert.equal((await server.post('/api/v2/spans', '[]')).status, 202)
      assert.equal((await server.post('/api/v2/spans', '{}')).status, 400)
    })
  })

  describe('in Zipkin’s first format', () => {
    const endpoint = { serviceName: 'shop', ipv4: '10.0.0.2', port: 9090 }
    const v1 = {
      traceId: '5b8efff798038103d269b633813fc60c',
      id: 'eee19b7ec3c1b174',
      annotations: [{ timestamp: 1_700_000_000_000_000, value: 'sr', endpoint }],
    }
    const thrift = { 'content-type': 'application/x-thrift' }
    const post = (body: Uint8Array | string, headers?: Record<string, string>) =>
      server.post('/api/v1/spans', body, headers)

    it('are answered with 202, in JSON and in Thrift, zipped or not', async () => {
      const answer = await post(JSON.stringify([v1]))
      assert.deepEqual([answer.status, answer.bytes.length], [202, 0])
      const zipped = { 'content-type': JSON_TYPE, 'content-encoding': 'gzip' }
      assert.equal((await post(gzipSync(JSON.stringify([v1])), zipped)).status, 202)
      assert.equal((await post(thriftList([v1]), thrift)).status, 202)
      assert.equal((await post(gzipSync(thriftList([v1])), { ...thrift, 'content-encoding': 'gzip' })).status, 202)
      assert.equal(server.records.length, 4)
      for (const record of server.records) assert.deepEqual(record, server.records[0])
      assert.equal(server.records[0]!.service, 'shop')
    })

    it('leave unusable ones out, and are refused when none is left', async () => {
      const bad = { ...v1, id: '0' }
      for (const [list, headers] of [
        [(...spans: object[]) => JSON.stringify(spans), undefined],
        [(...spans: object[]) => thriftList(spans), thrift],
      ] as const) {
        await serve()
        assert.equal((await post(list(v1, bad, v1), headers)).status, 202)
        assert.equal(server.records.length, 2)
        assert.deepEqual(server.rejected, [['zipkin', 'no_span_id', 1]])
        const answer = await post(list(bad), headers)
        assert.equal(answer.status, 400)
        assert.match(answer.json.error, /no_span_id/)
        assert.equal((await post(list(), headers)).status, 202)
      }
    })

    it('are refused whole when they are no list, or one that ends early, lies or nests without end', async () => {
      const good = thriftList([v1, v1])
      const long = Buffer.from(good)
      long.writeInt32BE(2 ** 31 - 1, 1)
      const negative = Buffer.from(good)
      negative.writeInt32BE(-1, 1)
      const deep = Buffer.concat([
        thriftList([v1]).subarray(0, -1),
        Buffer.alloc(300_000).fill(Buffer.from([12, 0, 1])),
      ])
      const many = Buffer.concat([Buffer.from([12, 0, 3, 0xd0, 0x91]), Buffer.alloc(250_001)])
      for (const body of [Buffer.alloc(0), Buffer.from('[]'), good.subarray(0, -1), long, negative, deep, many]) {
        const { status, json } = await post(body, thrift)
        assert.deepEqual([status, json.code], [400, 'MILO_BAD_BODY'])
      }
      for (const body of ['', '{}', '7', `[${'{},'.repeat(250_001)}{}]`]) assert.equal((await post(body)).status, 400)
      assert.deepEqual([server.records, server.rejected], [[], []])
      assert.equal((await post(Buffer.alloc((1 << 20) + 1), thrift)).status, 413)
      assert.equal((await post(good, { 'content-type': PROTOBUF_TYPE })).status, 415)
    })

    it('never get more than an answer out of it, however they mangle a list', async () => {
      const good = thriftList([v1, v1, v1])
      const edit = fc.tuple(fc.nat(good.length - 1), fc.nat(255))
      await fc.assert(
        fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 6 }), async edits => {
          const bytes = Buffer.from(good)
          for (const [at, value] of edits) bytes[at] = value
          const { status } = await post(bytes, thrift)
          assert.ok(status === 202 || status === 400, `${status}`)
        }),
        { numRuns: 300 },
      )
    })
  })

  describe('as an uploaded trace', () => {
    const records: SpanRecord[] = [
      {
        ...{ traceId: 7n, name: 'Shop.order', id: 1n, parentId: 0n, traceIdHigh: -1n },
        events: [
          { timestamp: 1_700_000_000_000_000n, eventType: EventType.SERVER_RECV },
          { timestamp: 1_700_000_000_001_000n, eventType: EventType.SERVER_SEND },
          { eventType: 42 },
        ],
        annotations: new Map([['__proto__', 'x']]),
        counters: new Map([['n', 2n ** 62n]]),
      },
      { traceId: 8n, id: -2n, clientHost: 'a', serverHost: '', service: 's', probability: Number.NaN },
    ]

    it('are taken in each of the three forms, and answered with their trace ids', async () => {
      const forms = [{ records: records.map(recordToJson) }, toOtlpJson(records), toZipkinJson(records)]
      for (const form of forms) {
        const { status, json } = await server.post('/api/traces', JSON.stringify(form))
        assert.equal(status, 200)
        assert.deepEqual(json, {
          traceIds: ['ffffffffffffffff0000000000000007', '0000000000000008'],
          spans: 2,
          rejected: 0,
        })
      }
      // Milo's own is exact.
      assert.deepEqual(server.records.slice(0, 2), records)
    })

    it("are told from Zipkin's first format, which has its tags elsewhere", async () => {
      const endpoint = { serviceName: 'shop', ipv4: '10.0.0.1' }
      const halves = [
        { timestamp: 1_700_000_000_000_000, value: 'sr', endpoint },
        { timestamp: 1_700_000_000_001_000, value: 'ss', endpoint },
      ]
      const binaryAnnotations = [{ key: 'http.path', value: '/order', endpoint }]
      const ids = { traceId: '17', name: 'order' }
      const forms = [
        [{ ...ids, id: '1', annotations: halves, binaryAnnotations }],
        [null, { ...ids, id: '2', annotations: halves }],
      ]
      for (const form of forms) {
        const { status, json } = await server.post('/api/traces', JSON.stringify(form))
        assert.equal(status, 200)
        assert.equal(json.spans, 1)
        assert.equal(json.rejected, form.length - 1)
      }
      const [tagged, plain] = server.records.slice(-2)
      assert.equal(tagged!.annotations!.get('http.path'), '/order')
      assert.equal(plain!.service, 'shop')
    })

    it('are refused, with what would be right, in any other', async () => {
      const forms: [unknown, RegExp][] = [
        [{ traceId: '1', spans: [] }, /form=records/],
        [{ data: [] }, /there is no span in it/],
        [{ foo: 1, bar: 2 }, /Milo's records .* OTLP .* Zipkin .* Jaeger .*, not an object of "foo", "bar"/],
        [{}, /not an empty object/],
        [[], /there is no span in it/],
        [null, /there should be/],
        [{ records: 7 }, /there should be a list/],
      ]
      for (const [form, message] of forms) {
        const { status, json } = await server.post('/api/traces', JSON.stringify(form))
        assert.equal(status, 400)
        assert.match(json.error, message)
      }
    })

    it('of which none can be used are told one by one, and nothing is called stored', async () => {
      for (const form of [[{}], { records: [{ trace_id: 'x' }] }, otlp(otlpSpan({ traceId: '' }))]) {
        const { status, json } = await server.post('/api/traces', JSON.stringify(form))
        assert.deepEqual([status, json.spans, json.rejected, json.traceIds], [200, 0, 1, []])
        assert.equal(json.reasons[0].reason, 'no_trace_id')
      }
    })

    it('count what is left out', async () => {
      const upload = { records: [...records.map(recordToJson), { id: '1' }, { trace_id: '1' }, 7] }
      const { json } = await server.post('/api/traces', JSON.stringify(upload))
      assert.deepEqual([json.spans, json.rejected], [2, 3])
      assert.deepEqual(
        json.reasons.map(({ reason, spans }: any) => [reason, spans]),
        [
          ['no_trace_id', 2],
          ['no_span_id', 1],
        ],
      )
    })
  })

  describe('under pressure', () => {
    it('are put off with 503 and Retry-After while the store says so', async () => {
      server.answer = 'try later'
      for (const [path, body] of [
        ['/v1/traces', JSON.stringify(otlp(otlpSpan()))],
        ['/v1/traces', protobuf(otlp(otlpSpan()))],
        ['/api/v1/spans', '[{"traceId":"1","id":"1"}]'],
        ['/api/v2/spans', '[{"traceId":"1","id":"1"}]'],
        ['/api/traces', '[{"traceId":"1","id":"1"}]'],
      ] as const) {
        const answer = await server.post(path, body)
        assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '1'])
        if (typeof body !== 'string') assert.equal(decodeStatus(answer.bytes).code, 14)
      }
    })

    it('are put off with 429 while too much is in flight, and taken again afterwards', async () => {
      let go = () => {}
      server.wait = new Promise(resolve => (go = resolve))
      const body = JSON.stringify(otlp(otlpSpan({ name: 'x'.repeat(900_000) })))
      const waiting = Array.from({ length: 4 }, () => server.post('/v1/traces', body))
      const refused = await until('a body is refused', async () => {
        const answer = await Promise.race([server.post('/v1/traces', body), ...waiting])
        return answer.status === 429 ? answer : undefined
      })
      assert.equal(refused.headers.get('retry-after'), '1')
      go()
      await Promise.all(waiting)
      await until('a body is taken again', async () => (await server.post('/v1/traces', body)).status === 200)
    })

    it('are put off also for what they are once decompressed', async () => {
      let go = () => {}
      server.wait = new Promise(resolve => (go = resolve))
      const zipped = gzipSync(protobuf(otlp(otlpSpan({ name: 'x'.repeat(900_000) }))))
      const statuses = await Promise.all(
        Array.from({ length: 12 }, async () => {
          const { status } = await server.post('/v1/traces', zipped, { 'content-encoding': 'gzip' })
          // Once some have been refused, those that wait may go on.
          if (status === 429) go()
          return status
        }),
      )
      assert.deepEqual([...new Set(statuses)].sort(), [200, 429])
      assert.equal(server.records.length, statuses.filter(status => status === 200).length)
    })

    it('free the memory of a body whose sender has gone', async () => {
      for (let i = 0; i < 12; i++) {
        await new Promise<void>(resolve => {
          const sender = httpRequest(`${server.url}/v1/traces`, {
            method: 'POST',
            headers: { 'content-type': JSON_TYPE, 'content-length': 1_000_000 },
          })
          sender.on('error', () => resolve())
          sender.write(Buffer.alloc(900_000), () => sender.destroy(new Error('gone')))
        })
      }
      await until(
        'a body is taken',
        async () => (await server.post('/v1/traces', JSON.stringify(otlp(otlpSpan())))).status === 200,
      )
    })
  })

  describe('from strangers', () => {
    it('are refused with 413 when too long, also only once decompressed', async () => {
      const tooLong = Buffer.alloc((1 << 20) + 1)
      assert.equal((await server.post('/v1/traces', tooLong)).status, 413)
      const chunked = await fetch(`${server.url}/api/v2/spans`, {
        method: 'POST',
        headers: { 'content-type': JSON_TYPE },
        body: new Blob([tooLong]).stream(),
        duplex: 'half',
      } as RequestInit)
      assert.equal(chunked.status, 413)
      for (const [encoding, bomb] of [
        ['gzip', gzipSync(Buffer.alloc(200 << 20))],
        ['deflate', deflateSync(Buffer.alloc(200 << 20))],
      ] as const) {
        const answer = await server.post('/v1/traces', bomb, { 'content-encoding': encoding })
        assert.equal(answer.status, 413)
        assert.match(decodeStatus(answer.bytes).message, /once decompressed/)
      }
    })

    it('are taken as they are when a proxy has unpacked them and left the header', async () => {
      for (const encoding of ['gzip', 'deflate', 'br', 'zstd', 'snappy']) {
        const { status } = await server.post('/v1/traces', JSON.stringify(otlp(otlpSpan())), {
          'content-encoding': encoding,
        })
        assert.equal(status, 200, encoding)
      }
    })

    it('are refused when not of a type or encoding that is taken', async () => {
      const statuses = await Promise.all([
        server.post('/v1/traces', '{}', { 'content-type': 'text/html' }),
        server.post('/api/v2/spans', '[]', { 'content-type': 'application/x-thrift' }),
        server.post('/v1/traces', '{}', { 'content-type': 'multipart/form-data; boundary=x' }),
        server.post('/v1/traces', Buffer.from([0x02, 0x04, 0x7b, 0x7d]), { 'content-encoding': 'snappy' }),
      ])
      assert.deepEqual(
        statuses.map(({ status }) => status),
        [415, 415, 415, 415],
      )
      const cut = gzipSync(JSON.stringify(otlp(otlpSpan()))).subarray(0, -9)
      const { status, json } = await server.post('/api/traces', cut, { 'content-encoding': 'gzip' })
      assert.equal(status, 400)
      assert.match(json.error, /not gzip: unexpected end of file; nothing of it is stored/)
    })

    it('are refused when they are more than a body can mean, however little each says', async () => {
      await serve({ maxBodyBytes: 16 << 20, maxInFlightBytes: 64 << 20 })
      const many = (tag: number) => Buffer.alloc(600_000).fill(Buffer.from([tag, 0]))
      const nothing = '{},'.repeat(250_001)
      const keys = (from: number, count: number) => Array.from({ length: count }, (_, i) => `"key${from + i}":0`)
      const answers = [
        await server.post('/v1/traces', many(0x0a)),
        await server.post('/v1/traces', wrap(0x0a, many(0x12))),
        await server.post('/v1/traces', wrap(0x0a, wrap(0x12, many(0x12)))),
        await server.post('/api/v2/spans', many(0x0a)),
        await server.post('/v1/traces', `{"resourceSpans":[{"scopeSpans":[{"spans":[${nothing}{}]}]}]}`),
        await server.post('/api/traces', `[${nothing}{}]`),
        await server.post('/api/traces', `[${'[],'.repeat(250_001)}[]]`),
        await server.post('/api/traces', `{"records":[${nothing}{}]}`),
        await server.post('/api/traces', `[${'[],'.repeat(600_000)}[]]`),
        await server.post('/api/traces', `[${'0,'.repeat(700_000)}0]`),
        await server.post('/api/traces', `{${keys(0, 110_000)}}`),
        await server.post(
          '/api/v2/spans',
          `[${Array.from({ length: 11_000 }, (_, i) => `{"tags":{${keys(i * 10, 10)}}}`)}]`,
        ),
      ]
      assert.deepEqual(
        answers.map(({ status }) => status),
        answers.map(() => 400),
      )
      assert.deepEqual(server.rejected, [])
      // One span that holds as much is left out alone.
      const ids = Buffer.from(`0a10${'1'.repeat(32)}1208${'1'.repeat(16)}`, 'hex')
      const events = wrap(0x12, Buffer.concat([ids, Buffer.alloc(200_000).fill(Buffer.from([0x5a, 0]))]))
      const body = wrap(0x0a, wrap(0x12, Buffer.concat([events, wrap(0x12, ids)])))
      assert.match(
        decodeAnswer((await server.post('/v1/traces', body)).bytes).partialSuccess.errorMessage,
        /^1 spans rejected: too_large/,
      )
      assert.equal(server.records.length, 1)
    })

    it('that nest without end, in JSON and in protobuf, are left out alone', async () => {
      let value: any = { stringValue: 'x' }
      for (let i = 0; i < 40; i++) value = { arrayValue: { values: [value] } }
      const deep = otlpSpan({ attributes: [{ key: 'deep', value }] })
      for (const body of [JSON.stringify(otlp(deep, otlpSpan())), protobuf(otlp(deep, otlpSpan()))]) {
        const answer = await server.post('/v1/traces', body)
        assert.deepEqual(answer.json ?? decodeAnswer(answer.bytes), {})
      }
      assert.equal(server.records.length, 4)
      assert.deepEqual(server.leftOut, [
        ['otlp', 'attribute', 'too_deep', 1],
        ['otlp', 'attribute', 'too_deep', 1],
      ])
      const deeper = `{"resourceSpans":${'['.repeat(100_000)}`
      assert.equal((await server.post('/v1/traces', deeper)).status, 400)
      // A message within a message, of the field that AnyValue has for lists, 20,000 deep.
      let bytes: Uint8Array = Buffer.alloc(0)
      for (let i = 0; i <= 20_000; i++) bytes = wrap(i % 2 === 0 ? 0x2a : 0x0a, bytes)
      const body = wrap(0x0a, wrap(0x12, wrap(0x12, wrap(0x4a, wrap(0x12, bytes)))))
      const answer = await server.post('/v1/traces', body)
      assert.match(decodeAnswer(answer.bytes).partialSuccess.errorMessage, /no_trace_id/)
    })

    it('are left out one by one when they have no ids', async () => {
      const wrong: object[] = [
        { traceId: 7 },
        { traceId: ['a'] },
        { traceId: 'zz'.repeat(16) },
        { traceId: '5b8efff798038103d269b633813fc60' },
        { traceId: '5b8efff798038103d269b6' },
        { spanId: '' },
        { spanId: 'ab' },
      ]
      const spans = [...wrong.map(fields => otlpSpan(fields)), null, 7, 'x', [], otlpSpan()]
      const { status, json } = await server.post('/v1/traces', JSON.stringify(otlp(...(spans as object[]))))
      assert.equal(status, 200)
      assert.equal(json.partialSuccess.rejectedSpans, spans.length - 1)
      assert.equal(server.records.length, 1)
    })

    it('that name what objects inherit are taken for what they are', async () => {
      const body = `{"__proto__":{"x":1},"resourceSpans":[{"__proto__":[],"scopeSpans":[{"spans":[{"traceId":"${'1'.repeat(32)}",
        "spanId":"${'2'.repeat(16)}","constructor":{"prototype":7},"attributes":[{"key":"__proto__","value":{"stringValue":"p"}},
        {"key":"constructor","value":{"kvlistValue":{"values":[{"key":"__proto__","value":{"intValue":1}}]}}}]}]}]}]}`
      assert.deepEqual((await server.post('/v1/traces', body)).json, {})
      const tags = '"tags":{"__proto__":"p","constructor":"c","hasOwnProperty":"h"}'
      assert.equal((await server.post('/api/v2/spans', `[{"traceId":"1","id":"2",${tags}}]`)).status, 202)
      const [fromOtlp, fromZipkin] = server.records
      assert.equal(fromOtlp!.annotations!.get('__proto__'), 'p')
      assert.equal(fromOtlp!.annotations!.get('constructor'), '{"__proto__":1}')
      assert.equal(fromZipkin!.annotations!.get('hasOwnProperty'), 'h')
      assert.equal(({} as any).x, undefined)
    })

    it('never get more than an answer out of it, however they mangle a request', async () => {
      const original = fc.sample(otlpRequest, { numRuns: 40, seed: 7 })
      const mangle = (bytes: Buffer, edits: [number, number, number][]) => {
        const mangled = Buffer.from(bytes)
        for (const [at, value] of edits) if (mangled.length > 0) mangled[at % mangled.length] = value
        return mangled.subarray(0, edits[0]?.[2] === 0 ? mangled.length >> 1 : mangled.length)
      }
      await fc.assert(
        fc.asyncProperty(
          fc.nat(original.length - 1),
          fc.array(fc.tuple(fc.nat(10_000), fc.nat(255), fc.nat(3)), { minLength: 1, maxLength: 6 }),
          fc.constantFrom('/v1/traces', '/api/v2/spans', '/api/traces'),
          fc.boolean(),
          async (i, edits, path, isJson) => {
            const bytes = isJson ? Buffer.from(JSON.stringify(original[i])) : protobuf(original[i]!)
            const { status } = await server.post(path, mangle(bytes, edits), {
              'content-type': isJson ? JSON_TYPE : PROTOBUF_TYPE,
            })
            assert.ok([200, 202, 400, 415].includes(status), `${status}`)
          },
        ),
        { numRuns: 400 },
      )
    })

    it('never get more than an answer out of it, whatever JSON they send', async () => {
      const name = fc.constantFrom(
        ...[
          'resourceSpans',
          'scopeSpans',
          'spans',
          'traceId',
          'spanId',
          'id',
          'name',
          'attributes',
          'key',
          'value',
          'tags',
        ],
        ...[
          'arrayValue',
          'values',
          'intValue',
          'events',
          'records',
          'trace_id',
          'annotations',
          'binaryAnnotations',
          'endpoint',
          'localEndpoint',
          '__proto__',
        ],
      )
      const leaf = fc.oneof(
        fc.constantFrom(null, '', '1'.repeat(32), '1'.repeat(16), 7, -1, 1e300, true, '9223372036854775808'),
        fc.string(),
      )
      const paths = ['/v1/traces', '/api/v1/spans', '/api/v2/spans', '/api/traces']
      const { json } = fc.letrec(tie => ({
        json: fc.oneof(
          { maxDepth: 8, depthSize: 'large' },
          leaf,
          fc.array(tie('json'), { maxLength: 3 }),
          fc.dictionary(name, tie('json'), { maxKeys: 4 }),
        ),
      }))
      await fc.assert(
        fc.asyncProperty(json, fc.constantFrom(...paths), async (body, path) => {
          const { status } = await server.post(path, JSON.stringify(body))
          assert.ok([200, 202, 400].includes(status), `${status}`)
        }),
        { numRuns: 600 },
      )
    })
  })
})
