import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { importFiles } from '../../../collector/src/commands/import'
import type { Message } from '../../../collector/src/store/store'
import type { SpanRecord } from '../../../src/codec/span'
import { recordsIn } from '../../helpers/records'
import { cleanUp, temporaryDirectory, undo } from '../support'
import { SpanServer } from './span-server'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4701'
const START_US = 1_700_000_000_000_000
const otlp = (id = 'a') => ({
  resourceSpans: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
      scopeSpans: [
        {
          spans: [
            { traceId: TRACE, spanId: id.padStart(16, '0'), name: 'op', startTimeUnixNano: '1700000000000000000' },
          ],
        },
      ],
    },
  ],
})
const line = (id?: string) => `${JSON.stringify(otlp(id))}\n`
const zipkin = {
  traceId: TRACE,
  id: 'a',
  name: 'op',
  timestamp: START_US,
  duration: 3,
  localEndpoint: { serviceName: 'shop' },
}
const of = { serviceName: 'shop' }
const v1 = {
  ...{ traceId: TRACE, id: 'a', name: 'op' },
  annotations: [{ timestamp: START_US, value: 'sr', endpoint: of }],
  binaryAnnotations: [{ key: 'k', value: 'v', endpoint: of }],
}
const jaeger = {
  data: [
    {
      traceID: TRACE,
      spans: [
        {
          ...{ traceID: TRACE, spanID: 'a', operationName: 'op', startTime: START_US, duration: 9, processID: 'p1' },
          references: [{ refType: 'CHILD_OF', traceID: TRACE, spanID: 'f' }],
          tags: [
            { key: 'span.kind', type: 'string', value: 'server' },
            { key: 'n', type: 'int64', value: 7 },
          ],
          logs: [{ timestamp: START_US + 1, fields: [{ key: 'event', type: 'string', value: 'hit' }] }],
        },
      ],
      processes: { p1: { serviceName: 'shop', tags: [{ key: 'hostname', type: 'string', value: 'web1' }] } },
    },
  ],
}
const console1 = {
  ...{ name: 'op', kind: 'SpanKind.INTERNAL', parent_id: null },
  context: { trace_id: `0x${TRACE}`, span_id: '0x000000000000000a', trace_state: '[]' },
  ...{ start_time: '2026-01-09T14:21:04.800962Z', end_time: '2026-01-09T14:21:04.802617Z' },
  ...{ status: { status_code: 'UNSET' }, resource: { attributes: { 'service.name': 'shop' } } },
}
const utf16 = Buffer.from(`\ufeff${line()}`, 'utf16le')

/** Each with its spans, all of one trace and of the service shop. */
const FILES: Record<string, [body: string | Uint8Array, spans: number, rejected?: number]> = {
  'one line': [line(), 1],
  'lines of the file exporter': [line() + line('b'), 2],
  'lines that end in CR LF': [`${line().trimEnd()}\r\n\r\n${line('b').trimEnd()}\r\n`, 2],
  'lines of other signals between': [`{"resourceLogs":[]}\n${line()}`, 1],
  'a bad line among good ones': [`${line()}oops\n{"foo":1}\n${line('b')}`, 2, 2],
  'a line that was cut off among good ones': [`${line()}${line('b').slice(0, 100)}\n${line('c')}`, 2, 1],
  'an end that was cut off': [line() + line('b').slice(0, 100), 1, 1],
  'documents one behind the other': [`${JSON.stringify(otlp(), null, 2)}${JSON.stringify(otlp('b'), null, 2)}`, 2],
  'a document over several lines': [JSON.stringify(otlp(), null, 2), 1],
  'UTF-8 with a byte order mark': [`\ufeff${line()}`, 1],
  'UTF-16LE': [utf16, 1],
  'UTF-16BE': [Buffer.from(utf16).swap16(), 1],
  'commas before closing brackets': [line().replace('}]', '},]'), 1],
  gzip: [gzipSync(line()), 1],
  'a list of requests': [JSON.stringify([otlp(), otlp('b')]), 2],
  'Tempo’s batches': [JSON.stringify({ batches: otlp().resourceSpans }), 1],
  'Tempo’s trace': [JSON.stringify({ trace: otlp() }), 1],
  'a ResourceSpans alone': [JSON.stringify(otlp().resourceSpans[0]), 1],
  'Jaeger’s download': [JSON.stringify(jaeger), 1],
  'a Zipkin span alone': [JSON.stringify(zipkin), 1],
  'a list of Zipkin traces': [JSON.stringify([[zipkin], [zipkin]]), 2],
  'a list of Zipkin traces of version 1': [JSON.stringify([[v1]]), 1],
  'Zipkin and OTLP mixed': [JSON.stringify([[zipkin], otlp('b')]), 2],
  'Python’s console exporter': [JSON.stringify(console1), 1],
  'OTLP in protobuf': [
    Buffer.from(
      '0a3a' +
        '0a18' +
        '0a16' +
        '0a0c' +
        Buffer.from('service.name').toString('hex') +
        '1206' +
        '0a04' +
        Buffer.from('shop').toString('hex') +
        '121e' +
        '121c' +
        '0a10' +
        TRACE +
        '1208' +
        '000000000000000a',
      'hex',
    ),
    1,
  ],
}

describe('a file of spans', () => {
  afterEach(undo)

  async function imported(body: string | Uint8Array): Promise<{ records: SpanRecord[]; rejected: number }> {
    const file = join(temporaryDirectory(), 'spans')
    writeFileSync(file, body)
    const records: SpanRecord[] = []
    const append = async (messages: Message[]) => {
      for (const { body } of messages) records.push(...recordsIn(body))
    }
    const { rejected } = await importFiles(
      [file],
      async () => ({ append }),
      () => {},
    )
    return { records, rejected: [...rejected.values()].reduce((sum, { spans }) => sum + spans, 0) }
  }

  it('is read alike by the page, the API and import, in every known format', async () => {
    const server = await SpanServer.start()
    cleanUp.push(() => server.close())
    for (const [what, [body, spans, rejected = 0]] of Object.entries(FILES)) {
      server.records.length = 0
      const { status, json } = await server.post('/api/traces', body)
      assert.deepEqual([status, json.spans, json.rejected], [200, spans, rejected], `${what}: ${JSON.stringify(json)}`)
      assert.deepEqual(json.traceIds, [TRACE], what)
      const fromFile = await imported(body)
      assert.deepEqual(fromFile, { records: server.records, rejected }, what)
      for (const { service } of fromFile.records) assert.equal(service, 'shop', what)
    }
  })

  it('keeps kind, parent, tags, logs and process when it is Jaeger’s', async () => {
    const { records } = await imported(JSON.stringify(jaeger))
    const [{ annotations, events, parentId, name }] = records as [SpanRecord]
    assert.deepEqual([name, parentId], ['op', 15n])
    assert.deepEqual(
      ['otel.kind', 'n', 'otel.resource.hostname'].map(key => annotations!.get(key)),
      ['server', '7', 'web1'],
    )
    assert.deepEqual(
      events!.map(({ timestamp, value }) => [Number(timestamp) - START_US, value]),
      [
        [0, undefined],
        [1, 'hit'],
        [9, undefined],
      ],
    )
  })

  it('is read in pieces when it is long, with the right line numbers, zipped or not', async () => {
    const long = `"${'x'.repeat(6_000)}"`
    const many = Array.from({ length: 1_000 }, (_, i) => line((i + 1).toString(16)).replace('"op"', long))
    many.splice(900, 0, 'oops\n')
    for (const body of [many.join(''), gzipSync(many.join(''))]) {
      const { records, rejected } = await imported(body)
      assert.deepEqual([new Set(records.map(({ id }) => id)).size, rejected], [1_000, 1])
    }
  })

  it('is an error without a span, and the message names what was found and what is expected', async () => {
    for (const [body, message] of [
      ['', /no span of it could be used/],
      ['{"resourceLogs":[]}', /it has resourceLogs/],
      ['{"foo":1}', /there should be Milo's records .* not an object of "foo"; nothing of it is stored/],
      ['{"resourceSpans":', /not JSON: .*; nothing of it is stored/],
      [line().replace(TRACE, ''), /no_trace_id ×1/],
      [gzipSync(line()).subarray(0, -12), /unexpected end of file; nothing of it is stored/],
    ] as const) {
      await assert.rejects(imported(body), message)
    }
  })
})
