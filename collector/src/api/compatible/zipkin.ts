import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { SpanRecord } from 'milo/codec/span'
import { z } from 'zod'
import { toZipkinJson } from '../../formats/zipkin/write'
import { HttpError, statusOf } from '../../http/errors'
import type { AnnotationCondition } from '../../query'
import type { SearchQuery } from '../../store/store'
import { bySpan, listJson } from '../json-pieces'
import { checkCount, limit, parsed, readParameters, string } from '../parameters'
import { clientTurns } from '../survey/client-turns'
import { type CompatibleOptions, Questions } from './questions'

/** The query API of Zipkin (zipkin.io/zipkin-api), as Grafana's data source for Zipkin asks it, and scripts do. */

const DAY_MS = 86_400e3
const whole = (what: string) =>
  parsed(
    text => (/^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined),
    `give ${what}`,
    'MILO_BAD_TIME',
  )
const RANGE = {
  endTs: whole('milliseconds since the epoch').optional(),
  lookback: whole('milliseconds').default(DAY_MS),
}
const TRACES = z.object({
  ...RANGE,
  serviceName: string.optional(),
  remoteServiceName: string.optional(),
  spanName: string.optional(),
  annotationQuery: string.optional(),
  minDuration: whole('microseconds').optional(),
  maxDuration: whole('microseconds').optional(),
  limit: limit(1000, 10),
})
const SERVICE = z.object({ serviceName: string })
const MANY = z.object({ traceIds: string })
const DEPENDENCIES = z.object(RANGE)

/** @param prefix of the paths: Zipkin's own server answers under /zipkin too */
export async function zipkinRoutes(
  scope: FastifyInstance,
  options: CompatibleOptions & { prefix: string },
): Promise<void> {
  const questions = new Questions(options)
  const { traces } = questions
  const at = (path: string) => `${options.prefix}/api/v2/${path}`

  scope.setErrorHandler((error, _request, reply) => {
    const status = statusOf(error)
    if (status === 500) throw error
    if (error instanceof HttpError && error.retryAfterSeconds !== undefined) {
      reply.header('retry-after', error.retryAfterSeconds)
    }
    return reply
      .code(status)
      .type('text/plain; charset=utf-8')
      .send((error as Error).message)
  })

  scope.get(at('services'), () => questions.services())

  scope.get(at('spans'), async request => {
    const { serviceName } = readParameters(SERVICE, request.query)
    return [...new Set((await questions.operations(serviceName)).map(({ name }) => name))].sort()
  })

  scope.get(at('remoteServices'), async request => {
    const { serviceName } = readParameters(SERVICE, request.query)
    const edges = await questions.edges(questions.nowUs(), options.activity.retentionDays * DAY_MS * 1000, serviceName)
    return edges.flatMap(({ from, to }) => (from === serviceName ? to : [])).sort()
  })

  scope.get(at('traces'), async (request, reply) => {
    const query = queryOf(readParameters(TRACES, request.query), questions.nowUs())
    const found = await questions.search(query, clientTurns(reply))
    return sendList(
      reply,
      found.map(({ traceId }) => traceId),
    )
  })

  scope.get(at('traceMany'), async (request, reply) => {
    const { traceIds } = readParameters(MANY, request.query)
    const ids = traceIds.split(',').filter(Boolean)
    questions.checkIds(ids)
    return sendList(reply, ids)
  })

  scope.get<{ Params: { id: string } }>(at('trace/:id'), async (request, reply) => {
    const grant = await traces.grantFor(reply, traces.maxTraceBytes)
    const { records, bytes } = await traces.find(request.params.id, traces.maxTraceBytes)
    grant.shrink(bytes.length)
    return send(reply, spansJson(records))
  })

  scope.get(at('dependencies'), async request => {
    const { endTs, lookback } = readParameters(DEPENDENCIES, request.query)
    const endUs = endTs === undefined ? questions.nowUs() : endTs * 1000
    return (await questions.edges(endUs, lookback * 1000)).map(({ from, to, calls, errors }) => {
      const errorCount = Math.round(errors.value)
      return { parent: from, child: to, callCount: Math.round(calls.value), ...(errorCount > 0 && { errorCount }) }
    })
  })

  // Zipkin completes only the keys that its configuration names: there are none here.
  scope.get(at('autocompleteKeys'), async () => [])
  scope.get(at('autocompleteValues'), async () => [])

  async function sendList(reply: FastifyReply, ids: string[]) {
    await traces.grantFor(reply, questions.listBytes)
    return send(reply, listed(ids))
  }

  async function* listed(ids: string[]): AsyncGenerator<string> {
    yield '['
    yield* questions.list(ids, ({ records }) => spansJson(records))
    yield ']'
  }

  function send(reply: FastifyReply, pieces: AsyncGenerator<string>) {
    traces.waitForReader(reply)
    return reply.type('application/json; charset=utf-8').send(Readable.from(pieces))
  }
}

/** Yields a list of Zipkin's spans. The halves of a span are converted together, so that they can be told apart. */
export function spansJson(records: SpanRecord[]): AsyncGenerator<string> {
  return listJson('[', bySpan(records), some => toZipkinJson(some.flat()), ']')
}

function queryOf(asked: z.output<typeof TRACES>, nowUs: number): SearchQuery {
  const { serviceName, remoteServiceName, spanName, annotationQuery, minDuration, maxDuration, limit } = asked
  const toUs = asked.endTs === undefined ? nowUs : asked.endTs * 1000
  const query: SearchQuery = {
    ...(serviceName !== undefined && { service: serviceName }),
    ...(spanName !== undefined && { name: spanName }),
    ...(minDuration !== undefined && { minDurationUs: minDuration }),
    ...(maxDuration !== undefined && { maxDurationUs: maxDuration }),
    fromUs: Math.max(0, toUs - asked.lookback * 1000),
    toUs,
    annotations: [],
    limit,
  }
  // Whichever annotation names it: see PEER_KEYS in trace/peer.ts.
  if (remoteServiceName !== undefined) query.annotations.push({ value: remoteServiceName, match: 'exact' })
  for (const part of (annotationQuery ?? '').split(' and ').map(part => part.trim())) {
    if (part === 'error') query.error = true
    else if (part !== '') query.annotations.push(conditionOf(part))
  }
  checkCount(query)
  return query
}

/** Reads a tag, or a tag and its value. A word alone may be an event in Zipkin, which Milo doesn't search for. */
function conditionOf(part: string): AnnotationCondition {
  const equals = part.indexOf('=')
  return equals === -1
    ? { key: part, match: 'exact' }
    : { key: part.slice(0, equals), value: part.slice(equals + 1), match: 'exact' }
}
