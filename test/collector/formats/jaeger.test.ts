import assert from 'node:assert/strict'
import fc from 'fast-check'
import { jaegerTraceJson } from '../../../collector/src/api/compatible/jaeger-trace'
import { Reading } from '../../../collector/src/formats/fields'
import { readJaegerJson } from '../../../collector/src/formats/jaeger/read'
import { readOtlpJson } from '../../../collector/src/formats/otlp/read'
import type { SpanRecord } from '../../../src/codec/span'
import { records } from '../trace/arbitrary-records'
import { otlpRequest } from './otlp-arbitrary'

async function written(list: SpanRecord[]) {
  let text = ''
  for await (const piece of jaegerTraceJson(list, false)) text += piece
  return JSON.parse(text)
}

function recordsOf(spans: Generator<() => unknown>): SpanRecord[] {
  return [...spans].map(convert => convert() as SpanRecord)
}

describe('Jaeger’s JSON', () => {
  it('of any records has a span for each, with an id of its own, in trees that a page can show', async () => {
    await fc.assert(
      fc.asyncProperty(records, async list => {
        const own = list.map(record => ({ ...record, traceId: 7n }))
        const { spans, processes } = await written(own)
        const ids = new Set<string>(spans.map((span: any) => span.spanID))
        assert.equal(spans.length, own.length)
        assert.equal(ids.size, spans.length)
        for (const id of own.map(({ id }) => BigInt.asUintN(64, id!).toString(16).padStart(16, '0')))
          assert.ok(ids.has(id))
        const children = new Map<string | undefined, string[]>()
        for (const span of spans) {
          for (const n of [span.startTime, span.duration, ...span.logs.map((log: any) => log.timestamp)]) {
            assert.ok(Number.isInteger(n) && n >= 0, `${n}`)
          }
          assert.ok(Object.hasOwn(processes, span.processID))
          const parent = span.references[0]?.spanID
          const above = ids.has(parent) ? parent : undefined
          children.set(above, [...(children.get(above) ?? []), span.spanID])
        }
        // What is in a circle of parents is below no root, and no page shows it.
        let shown = 0
        for (let level = children.get(undefined) ?? []; level.length > 0; ) {
          shown += level.length
          level = level.flatMap(id => children.get(id) ?? [])
        }
        assert.equal(shown, spans.length)
      }),
    )
  })

  it('of OpenTelemetry’s spans gives the same spans when it is read again', async () => {
    await fc.assert(
      fc.asyncProperty(otlpRequest, async request => {
        const seen = new Set<string>()
        for (const sent of recordsOf(readOtlpJson(request, new Reading()))) {
          if (!(sent.traceId && sent.id) || seen.has(String(sent.id))) continue
          seen.add(String(sent.id))
          const trace = await written([sent])
          const [again] = recordsOf(readJaegerJson(trace, new Reading()))
          const kept = ({ traceId, traceIdHigh, id, name, service }: SpanRecord) => [
            ...[traceId, traceIdHigh, id, name],
            service || 'unknown_service',
          ]
          assert.deepEqual(kept(again!), kept(sent))
          for (const key of ['otel.kind', 'otel.status_code', 'http.method', 'k']) {
            const [was, is] = [sent, again!].map(({ annotations }) => annotations!.get(key))
            // Jaeger has neither kinds and codes without a name, nor lists and maps with types.
            if (!/^(\d+$|[[{])/.test(was ?? '')) assert.equal(is, was, key)
          }
        }
      }),
      { numRuns: 200 },
    )
  })
})
