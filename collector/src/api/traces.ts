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

/** One trace: as a tree, or as its records in one of three forms; and two, compared. */

/** How much of a trace is made into JSON at once: a millisecond's work. Such pieces are sent as they are ready. */
const SPANS_AT_ONCE = 200

/** What is read of each of two traces that are compared: the answer is made in one piece. */
const COMPARED_BYTES = 16 * 1024 * 1024
/** A client that hasn't read the answer by then is disconnected: the trace is in memory until it has. */
const ANSWER_DEADLINE_MS = 300_000

const FORMS: Record<string, (records: SpanRecord[], truncated: boolean) => AsyncGenerator<string>> = {
  milo: treeJson,
  records: (records, truncated) =>
    listJson('{"records":[', records, some => some.map(recordToJson), truncated ? '],"truncated":true}' : ']}'),
  otlp: records => listJson('{"resourceSpans":[', records, some => toOtlpJson(some).resourceSpans, ']}'),
  // Halves are told apart by being there together. Neither this form nor OTLP's has a place to say that there is more.
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
    const { records, truncated } = await findTrace(request.params.id, maxTraceBytes)
    const bytes = records.reduce((sum, { bytes }) => sum + bytes.length, 0)
    grant.shrink(bytes)
    // A trace only ever gains records, and each stands in it once.
    const etag = `W/"${version}-${form}-${records.length}-${bytes}${truncated ? '-truncated' : ''}"`
    reply.header('etag', etag).header('cache-control', 'private, no-cache')
    if (truncated) reply.header('milo-truncated', 'true')
    if (request.headers['if-none-match']?.includes(etag)) return reply.code(304).send()
    waitForReader(reply)
    reply.type('application/json; charset=utf-8')
    const pieces = FORMS[form]!(
      records.map(({ record }) => record),
      truncated,
    )
    return Readable.from(pieces)
  })

  app.get('/api/compare', async (request, reply): Promise<CompareAnswer> => {
    const { a, b } = readParameters(TWO, request.query)
    // Together: two that each hold the one half would wait for each other.
    await grantFor(reply, 2 * COMPARED_BYTES)
    const [left, right] = [await readTree(a), await readTree(b)]
    waitForReader(reply)
    return { a: headOf(left), b: headOf(right), ...diffTraces(left, right) }
  })

  /** The grant lasts until the answer has been sent, or the connection is closed. */
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

  /** From here on the reader is waited for, and not the store. Node sets the connection's own time-out for its next request. */
  function waitForReader(reply: FastifyReply): void {
    reply.raw.setTimeout(reads.answerStandstillMs)
  }

  async function readTree(id: string): Promise<Trace> {
    const { records, truncated } = await findTrace(id, Math.min(reads.maxTraceBytes, COMPARED_BYTES))
    return treeOf(
      records.map(({ record }) => record),
      truncated,
    )
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
      const { records: found, truncated } = await askStore(store => store.readTrace(low, maxBytes))
      const records = withHigh(found, high)
      if (records.length > 0) return { records, truncated }
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

/** What the elements become, in pieces, with a turn of the event loop in between. */
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
