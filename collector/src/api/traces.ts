import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { SpanRecord } from 'milo/codec/span'
import { z } from 'zod'
import { version } from '../../package.json'
import { recordToJson } from '../formats/milo-json'
import { toOtlpJson } from '../formats/otlp/write'
import { toZipkinJson } from '../formats/zipkin/write'
import type { CompareAnswer, ComparedTrace } from '../http/answers'
import { HttpError, quote } from '../http/errors'
import { IdMap } from '../record/ids'
import type { StoredTrace } from '../record/records'
import type { TraceReader } from '../store/store'
import { buildTraceInSlices, diffTraces, type Trace, traceIdsOf, traceJson, withHigh } from '../trace'
import type { AskStore } from './ask-store'
import { readParameters, refusal, string } from './parameters'
import type { Grant, Reads } from './read-budget'

/** The routes for one trace, as a tree or as records in one of three forms, and for the comparison of two traces. */

/** The number of spans that are converted to JSON at once, which takes a millisecond. Each piece is sent when it is ready. */
const SPANS_AT_ONCE = 200

/** The maximum number of bytes that are read of each trace of a comparison, whose answer is made in one piece. */
const COMPARED_BYTES = 16 * 1024 * 1024
/** A client that hasn't read the answer by this time is disconnected: the trace is in memory until then. */
const ANSWER_DEADLINE_MS = 300_000

const FORMS: Record<string, (records: SpanRecord[], truncated: boolean) => AsyncGenerator<string>> = {
  milo: treeJson,
  records: (records, truncated) =>
    listJson('{"records":[', records, some => some.map(recordToJson), truncated ? '],"truncated":true}' : ']}'),
  otlp: records => listJson('{"resourceSpans":[', records, some => toOtlpJson(some).resourceSpans, ']}'),
  // The halves of a span are converted together, so that they can be told apart. Neither this form nor OTLP's can say that a trace is truncated.
  zipkin: records => listJson('[', bySpan(records), some => toZipkinJson(some.flat()), ']'),
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

export function traceRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<TraceReader>): void {
  app.get<{ Params: { id: string } }>('/api/traces/:id', async (request, reply) => {
    const { form } = readParameters(ONE, request.query)
    const { maxTraceBytes } = reads
    const grant = await grantFor(reply, maxTraceBytes)
    const { records, bytes, truncated } = await findTrace(request.params.id, maxTraceBytes)
    grant.shrink(bytes.length)
    // A trace only ever gains records, and each stands in it once.
    const etag = `W/"${version}-${form}-${records.length}-${bytes.length}${truncated ? '-truncated' : ''}"`
    reply.header('etag', etag).header('cache-control', 'private, no-cache')
    if (truncated) reply.header('milo-truncated', 'true')
    if (request.headers['if-none-match']?.includes(etag)) return reply.code(304).send()
    waitForReader(reply)
    reply.type('application/json; charset=utf-8')
    return Readable.from(FORMS[form]!(records, truncated))
  })

  app.get('/api/compare', async (request, reply): Promise<CompareAnswer> => {
    const { a, b } = readParameters(TWO, request.query)
    // Both in one grant: two comparisons with one half each would wait for each other.
    await grantFor(reply, 2 * COMPARED_BYTES)
    const [left, right] = [await readTree(a), await readTree(b)]
    waitForReader(reply)
    return { a: headOf(left), b: headOf(right), ...diffTraces(left, right) }
  })

  /** Returns a grant that lasts until the answer has been sent, or the connection is closed. */
  async function grantFor(reply: FastifyReply, bytes: number): Promise<Grant> {
    const grant = await reads.traces.take(bytes)
    const late = setTimeout(() => reply.raw.destroy(), ANSWER_DEADLINE_MS)
    const end = () => {
      clearTimeout(late)
      grant.release()
    }
    if (reply.raw.closed) end()
    else reply.raw.once('close', end)
    return grant
  }

  /** Sets the deadline for a client that doesn't read the answer. Node resets the connection's timeout for the next request. */
  function waitForReader(reply: FastifyReply): void {
    reply.raw.setTimeout(reads.answerStandstillMs)
  }

  async function readTree(id: string): Promise<Trace> {
    const { records, truncated } = await findTrace(id, Math.min(reads.maxTraceBytes, COMPARED_BYTES))
    return treeOf(records, truncated)
  }

  async function findTrace(id: string, maxBytes: number): Promise<StoredTrace> {
    const ids = traceIdsOf(id)
    if (ids.length === 0) {
      throw new HttpError(
        400,
        'MILO_BAD_TRACE_ID',
        `${quote(id)} is not a trace id: give up to 32 hex digits, a UUID, a traceparent, or a decimal from -2^63 to 2^64-1`,
      )
    }
    for (const { low, high } of ids) {
      const trace = await askStore(store => store.readTrace(low, maxBytes))
      const records = withHigh(trace.records, high)
      if (records.length > 0) return { ...trace, records }
    }
    throw new HttpError(404, 'MILO_NO_SUCH_TRACE', `no trace ${quote(id)} is stored`)
  }
}

function headOf({ traceId, start, duration, spans, truncated }: Trace): ComparedTrace {
  return { traceId, start, duration, spanCount: spans.length, ...(truncated && { truncated }) }
}

async function treeOf(records: SpanRecord[], truncated: boolean): Promise<Trace> {
  const { spans, ...head } = await buildTraceInSlices(records, nextTurn)
  return { ...head, ...(truncated && { truncated }), spans }
}

async function* treeJson(records: SpanRecord[], truncated: boolean): AsyncGenerator<string> {
  for (const piece of traceJson(await treeOf(records, truncated))) {
    yield piece
    await nextTurn()
  }
}

/** Yields a JSON list of the converted elements in pieces, with a turn of the event loop in between. */
async function* listJson<E>(
  head: string,
  elements: E[],
  convert: (some: E[]) => unknown[],
  tail: string,
): AsyncGenerator<string> {
  yield head
  let comma = ''
  for (let i = 0; i < elements.length; i += SPANS_AT_ONCE) {
    const piece = JSON.stringify(convert(elements.slice(i, i + SPANS_AT_ONCE))).slice(1, -1)
    if (piece === '') continue
    yield comma + piece
    comma = ','
    await nextTurn()
  }
  yield tail
}

function bySpan(records: SpanRecord[]): SpanRecord[][] {
  const spans = new IdMap<SpanRecord[], bigint | undefined>()
  for (const record of records) {
    const halves = spans.get(record.id)
    if (halves === undefined) spans.set(record.id, [record])
    else halves.push(record)
  }
  return [...spans.values()]
}
