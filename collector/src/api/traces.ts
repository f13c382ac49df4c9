import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { SpanRecord } from 'milo/codec/span'
import { z } from 'zod'
import { version } from '../../package.json'
import { recordToJson } from '../formats/milo-json'
import { toOtlpJson } from '../formats/otlp/write'
import type { CompareAnswer, ComparedTrace } from '../http/answers'
import type { Rings } from '../keep/rings'
import type { KeepReader } from '../store/keeps'
import type { TraceReader } from '../store/store'
import { diffErrors, diffTraces, type KeptTrace, keptReasons, type Trace, traceJson } from '../trace'
import type { AskStore } from './ask-store'
import { jaegerAnswer } from './compatible/jaeger-trace'
import { spansJson } from './compatible/zipkin'
import { listJson } from './json-pieces'
import { keptTrace } from './keeps/kept-trace'
import { readParameters, refusal, string } from './parameters'
import type { Reads } from './read-budget'
import { StoredTraces, treeOf } from './stored-traces'

/** The routes for one trace, as a tree or as records in one of several forms, and for the comparison of two traces. */

/** The maximum number of bytes that are read of each trace of a comparison, whose answer is made in one piece. */
const COMPARED_BYTES = 16 * 1024 * 1024

type Kept = (tree: Trace) => Promise<KeptTrace | undefined>

const FORMS: Record<string, (records: SpanRecord[], truncated: boolean, keptOf: Kept) => AsyncGenerator<string>> = {
  milo: treeJson,
  records: (records, truncated) =>
    listJson('{"records":[', records, some => some.map(recordToJson), truncated ? '],"truncated":true}' : ']}'),
  otlp: records => listJson('{"resourceSpans":[', records, some => toOtlpJson(some).resourceSpans, ']}'),
  // Neither this form nor OTLP's can say that a trace is truncated.
  zipkin: spansJson,
  jaeger: jaegerAnswer,
}

const ONE = z.strictObject({
  form: string
    .refine(
      form => Object.hasOwn(FORMS, form),
      refusal(`give one of ${Object.keys(FORMS).join(', ')}`, 'MILO_BAD_FORM'),
    )
    .default('milo'),
})
const id = z.string(refusal('give two traces, a and b'))
const TWO = z.strictObject({ a: id, b: id })

/** @param rings the processes that ask this collector what to keep */
export function traceRoutes(
  app: FastifyInstance,
  reads: Reads,
  askStore: AskStore<TraceReader & KeepReader>,
  rings: Rings,
): void {
  const traces = new StoredTraces(reads, askStore)
  const { maxTraceBytes } = reads

  app.get<{ Params: { id: string } }>('/api/traces/:id', async (request, reply) => {
    const { form } = readParameters(ONE, request.query)
    const grant = await traces.grantFor(reply, maxTraceBytes)
    const { records, bytes, truncated } = await traces.find(request.params.id, maxTraceBytes)
    grant.shrink(bytes.length)
    // A trace only ever gains records, and each stands in it once.
    const etag = `W/"${version}-${form}-${records.length}-${bytes.length}${truncated ? '-truncated' : ''}"`
    const reasons = form === 'milo' ? keptReasons(records) : undefined
    // Why something is missing may become known later.
    if (reasons === undefined) reply.header('etag', etag).header('cache-control', 'private, no-cache')
    if (truncated) reply.header('milo-truncated', 'true')
    if (request.headers['if-none-match']?.includes(etag) && reasons === undefined) return reply.code(304).send()
    const keptOf = async (tree: Trace) => reasons && keptTrace(askStore, tree, records, reasons, rings)
    traces.waitForReader(reply)
    reply.type('application/json; charset=utf-8')
    return Readable.from(FORMS[form]!(records, truncated, keptOf))
  })

  app.get('/api/compare', async (request, reply): Promise<CompareAnswer> => {
    const { a, b } = readParameters(TWO, request.query)
    // Both in one grant: two comparisons with one half each would wait for each other.
    await traces.grantFor(reply, 2 * COMPARED_BYTES)
    const [left, right] = [await readTree(a), await readTree(b)]
    traces.waitForReader(reply)
    return { a: headOf(left), b: headOf(right), ...diffTraces(left, right), errors: diffErrors(left, right) }
  })

  async function readTree(id: string): Promise<Trace> {
    const { records, truncated } = await traces.find(id, Math.min(maxTraceBytes, COMPARED_BYTES))
    return treeOf(records, truncated)
  }
}

function headOf({ traceId, start, duration, spans, truncated }: Trace): ComparedTrace {
  return { traceId, start, duration, spanCount: spans.length, ...(truncated && { truncated }) }
}

async function* treeJson(records: SpanRecord[], truncated: boolean, keptOf: Kept): AsyncGenerator<string> {
  const { spans, ...head } = await treeOf(records, truncated)
  const kept = await keptOf({ ...head, spans })
  for (const piece of traceJson({ ...head, ...(kept && { kept }), spans })) {
    yield piece
    await nextTurn()
  }
}
