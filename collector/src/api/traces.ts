import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { SpanRecord } from '../../../src/codec/span'
import { version } from '../../package.json'
import { recordToJson } from '../formats/milo-json'
import { toOtlpJson } from '../formats/otlp'
import { toZipkinJson } from '../formats/zipkin'
import type { Store, StoredRecord } from '../store/store'
import { buildTraceInSlices, diffTraces, type Trace, traceJson } from '../trace'
import { ApiError, quote } from './errors'
import type { FromStore } from './index'
import { readParameters } from './parameters'
import { readTraceId, withHigh } from './trace-id'

/** One trace: as a tree, or as its records in one of three forms; and two, compared. */

/** How much of a trace is made into JSON at once: a millisecond's work. Such pieces are sent as they are ready. */
const SPANS_AT_ONCE = 200

const FORMS: Record<string, (records: SpanRecord[]) => AsyncGenerator<string>> = {
  milo: treeJson,
  records: records => listJson('{"records":[', records, some => some.map(recordToJson), ']}'),
  otlp: records => listJson('{"resourceSpans":[', records, some => toOtlpJson(some).resourceSpans, ']}'),
  // Halves are told apart by being there together.
  zipkin: records => listJson('[', bySpan(records), some => toZipkinJson(some.flat()), ']'),
}

export function traceRoutes(app: FastifyInstance, store: Pick<Store, 'readTrace'>, fromStore: FromStore): void {
  app.get<{ Params: { id: string } }>('/api/traces/:id', async (request, reply) => {
    const { form = 'milo' } = readParameters(request.query, ['form'])
    if (!Object.hasOwn(FORMS, form)) {
      const forms = Object.keys(FORMS).join(', ')
      throw new ApiError(400, 'MILO_BAD_FORM', `no such form: ${quote(form)}; there is ${forms}`)
    }
    const found = await findTrace(request.params.id)
    // A trace only ever gains records, and each stands in it once.
    const etag = `W/"${version}-${form}-${found.length}-${found.reduce((sum, { bytes }) => sum + bytes.length, 0)}"`
    reply.header('etag', etag).header('cache-control', 'private, no-cache')
    if (request.headers['if-none-match']?.includes(etag)) return reply.code(304).send()
    reply.type('application/json; charset=utf-8')
    return Readable.from(FORMS[form]!(found.map(({ record }) => record)))
  })

  app.get('/api/compare', async request => {
    const ids = readParameters(request.query, ['a', 'b'])
    const [a, b] = await Promise.all([readTree('a', ids.a), readTree('b', ids.b)])
    return { a: headOf(a), b: headOf(b), ...diffTraces(a, b) }
  })

  async function readTree(which: string, id: string | undefined): Promise<Trace> {
    if (id === undefined) throw new ApiError(400, 'MILO_BAD_PARAMETER', `${which} is missing: give two traces, a and b`)
    const found = await findTrace(id)
    return buildTraceInSlices(
      found.map(({ record }) => record),
      nextTurn,
    )
  }

  async function findTrace(id: string): Promise<StoredRecord[]> {
    for (const { low, high } of readTraceId(id)) {
      const records = withHigh(await fromStore(store.readTrace(low)), high)
      if (records.length > 0) return records
    }
    throw new ApiError(404, 'MILO_NO_SUCH_TRACE', `no trace ${quote(id)} is stored`)
  }
}

function headOf({ traceId, start, duration, spans }: Trace) {
  return { traceId, start, duration, spanCount: spans.length }
}

async function* treeJson(records: SpanRecord[]): AsyncGenerator<string> {
  for (const piece of traceJson(await buildTraceInSlices(records, nextTurn))) {
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
  const spans = new Map<bigint | undefined, SpanRecord[]>()
  for (const record of records) {
    const halves = spans.get(record.id)
    if (halves === undefined) spans.set(record.id, [record])
    else halves.push(record)
  }
  return [...spans.values()]
}
