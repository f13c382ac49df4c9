import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { HttpError, quote, statusOf } from '../../http/errors'
import { type AnnotationCondition, allOf, anyOf, MAX_CONDITIONS, parseDurationUs } from '../../query'
import type { SearchQuery } from '../../store/store'
import type { Turns } from '../../turns'
import { checkCount, limit, parsed, readParameters, string } from '../parameters'
import { clientTurns } from '../survey/client-turns'
import { jaegerAnswer, jaegerTraceJson } from './jaeger-trace'
import { type CompatibleOptions, Questions } from './questions'

/**
 * The query API of Jaeger, as its interface and Grafana's data source for Jaeger ask it, under /jaeger. It is described by Jaeger's
 * http_handler.go and query_parser.go alone; docs/http-api.md says what is different here. Like Jaeger, it ignores parameters that it
 * doesn't know.
 */

/** A duration as Go prints it: 1.5s, 1h30m, 200ns. */
const goDuration = parsed(
  text => {
    const parts = text.match(/\d+(\.\d+)?(ns|us|µs|μs|ms|s|m|h)/g) ?? []
    if (parts.join('') !== text || text === '') return undefined
    const us = parts.map(part =>
      part.endsWith('ns') ? Number(part.slice(0, -2)) / 1000 : (parseDurationUs(part) ?? Number.NaN),
    )
    const sum = us.reduce((sum, n) => sum + n, 0)
    return Number.isSafeInteger(Math.round(sum)) ? sum : undefined
  },
  'give a number with a unit: 100us, 50ms, 1.2s, 1h30m',
  'MILO_BAD_DURATION',
)
const whole = (what: string) =>
  parsed(
    text => (/^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined),
    `give ${what}`,
    'MILO_BAD_TIME',
  )
const micros = whole('microseconds since the epoch')
const list = z
  .union([z.string(), z.array(z.string())])
  .transform(values => [values].flat().filter(Boolean))
  .default([])

const SEARCH = z.object({
  service: string.optional(),
  operation: string.optional(),
  tag: list,
  tags: list,
  start: micros.optional(),
  end: micros.optional(),
  limit: limit(1000, 100),
  minDuration: goDuration.optional(),
  maxDuration: goDuration.optional(),
  traceID: list,
})
const OPERATIONS = z.object({ service: string, spanKind: string.optional() })
const DEPENDENCIES = z.object({
  endTs: whole('milliseconds since the epoch').optional(),
  lookback: whole('milliseconds').default(24 * 3600e3),
  service: string.optional(),
})

/** Grafana 12.1.0 and 12.1.1 search here, whatever the path of the data source's address is (grafana/grafana#108651). */
const WITHOUT_PATH = '/api/traces'
const KINDS = { client: 'client', server: 'server', local: 'internal' } as const

export async function jaegerRoutes(scope: FastifyInstance, options: CompatibleOptions): Promise<void> {
  const questions = new Questions(options)
  const { traces } = questions

  scope.setErrorHandler((error, request, reply) => {
    const status = statusOf(error)
    if (status === 500 || request.routeOptions.url === WITHOUT_PATH) throw error
    if (error instanceof HttpError && error.retryAfterSeconds !== undefined) {
      reply.header('retry-after', error.retryAfterSeconds)
    }
    return reply.code(status).send(answerOf(null, 0, [{ code: status, msg: (error as Error).message }]))
  })

  scope.get('/jaeger/api/services', async () => {
    const services = await questions.services()
    return answerOf(services, services.length)
  })

  // Grafana doesn't encode a slash in a service's name.
  scope.get<{ Params: { '*': string } }>('/jaeger/api/services/*', async (request, reply) => {
    const service = /^(.+)\/operations$/.exec(request.params['*'])?.[1]
    if (service === undefined) return reply.callNotFound()
    const names = new Set((await questions.operations(service)).map(({ name }) => name))
    return answerOf([...names].sort(), names.size)
  })

  scope.get('/jaeger/api/operations', async request => {
    const { service, spanKind: asked } = readParameters(OPERATIONS, request.query)
    const operations = (await questions.operations(service))
      .map(({ name, side }) => ({ name, spanKind: KINDS[side] }))
      .filter(({ spanKind }) => asked === undefined || asked === spanKind)
    return answerOf(operations, operations.length)
  })

  scope.get('/jaeger/api/traces', search)
  scope.get(WITHOUT_PATH, search)

  async function search(request: FastifyRequest, reply: FastifyReply) {
    const { traceID, ...asked } = readParameters(SEARCH, request.query)
    questions.checkIds(traceID)
    const ids = traceID.length > 0 ? traceID : await found(asked, clientTurns(reply))
    await traces.grantFor(reply, questions.listBytes)
    traces.waitForReader(reply)
    return reply.type('application/json; charset=utf-8').send(Readable.from(listed(ids)))
  }

  async function found(asked: Parameters<typeof queryOf>[0], turns: Turns): Promise<string[]> {
    const hasKey = async (key: string) => {
      await turns.next()
      return questions.hasKey(key)
    }
    return (await questions.search(await queryOf(asked, hasKey), turns)).map(({ traceId }) => traceId)
  }

  async function* listed(ids: string[]): AsyncGenerator<string> {
    let left = 0
    yield '{"data":['
    yield* questions.list(
      ids,
      ({ records, truncated }) => jaegerTraceJson(records, truncated),
      count => {
        left = count
      },
    )
    const msg = `${left} of ${ids.length} traces are left out, because the answer would be too long: give a smaller limit`
    yield `],"total":0,"limit":0,"offset":0,"errors":${JSON.stringify(left === 0 ? null : [{ code: 413, msg }])}}`
  }

  // start and end are ignored, as a trace is found without them. Grafana gives milliseconds, where Jaeger reads microseconds.
  scope.get<{ Params: { id: string } }>('/jaeger/api/traces/:id', async (request, reply) => {
    const grant = await traces.grantFor(reply, traces.maxTraceBytes)
    const { records, bytes, truncated } = await traces.find(request.params.id.trim(), traces.maxTraceBytes)
    grant.shrink(bytes.length)
    traces.waitForReader(reply)
    return reply.type('application/json; charset=utf-8').send(Readable.from(jaegerAnswer(records, truncated)))
  })

  scope.get('/jaeger/api/dependencies', async request => {
    const { endTs, lookback, service } = readParameters(DEPENDENCIES, request.query)
    const endUs = endTs === undefined ? questions.nowUs() : endTs * 1000
    const edges = await questions.edges(endUs, lookback * 1000, service)
    const links = edges.map(({ from, to, calls }) => ({ parent: from, child: to, callCount: Math.round(calls.value) }))
    return answerOf(links, 0)
  })
}

function answerOf(data: unknown, total: number, errors: { code: number; msg: string }[] | null = null) {
  return { data, total, limit: 0, offset: 0, errors }
}

async function queryOf(
  {
    service,
    operation,
    tag,
    tags,
    start,
    end,
    minDuration,
    maxDuration,
    limit,
  }: Omit<z.output<typeof SEARCH>, 'traceID'>,
  hasKey: (key: string) => Promise<boolean>,
): Promise<SearchQuery> {
  if (service === undefined) throw bad('service is missing: give it, or traceID')
  if (minDuration !== undefined && maxDuration !== undefined && maxDuration < minDuration) {
    throw bad('maxDuration is less than minDuration: swap them')
  }
  const conditions = [...tag.map(fromPair), ...tags.flatMap(fromJson)]
  if (conditions.length > MAX_CONDITIONS) throw bad(`${conditions.length} tags: give at most ${MAX_CONDITIONS}`)
  const query: SearchQuery = {
    service,
    ...(operation !== undefined && { name: operation }),
    // Durations are whole microseconds.
    ...(minDuration !== undefined && { minDurationUs: Math.ceil(minDuration) }),
    ...(maxDuration !== undefined && { maxDurationUs: Math.floor(maxDuration) }),
    ...(start !== undefined && { fromUs: start }),
    ...(end !== undefined && { toUs: end }),
    annotations: [],
    limit,
  }
  for (const [key, value] of conditions) {
    const error = errorOf(key, value)
    if (key === 'span.kind') throw bad('the tag span.kind is not searched for: give an operation instead')
    if (error === undefined) addTag(query, await keysOf(key, hasKey), value)
    else if (query.error !== undefined && query.error !== error) throw bad(`the tags say both error and no error`)
    else query.error = error
  }
  checkCount(query)
  return query
}

/** Jaeger's trace has these tags where Milo has its own field. */
function errorOf(key: string, value: string): boolean | undefined {
  if (key === 'otel.status_code') return value.toUpperCase() === 'ERROR' || undefined
  if (key !== 'error') return undefined
  // Grafana makes an empty value of a key alone.
  return value === 'true' || value === '' ? true : value === 'false' ? false : undefined
}

/** Jaeger searches a span's tags and its process's alike. The latter are annotations of another name here. */
async function keysOf(tag: string, hasKey: (key: string) => Promise<boolean>): Promise<string[]> {
  const ofProcess = `otel.resource.${tag}`
  if (!(await hasKey(ofProcess))) return [tag]
  return (await hasKey(tag)) ? [tag, ofProcess] : [ofProcess]
}

/** @param keys the annotations of which one must have the value, or must be there if it is empty */
function addTag(query: SearchQuery, keys: string[], value: string): void {
  const conditions = keys.map((key): AnnotationCondition => ({ key, ...(value !== '' && { value }), match: 'exact' }))
  if (conditions.length === 1) query.annotations.push(...conditions)
  else {
    const either = anyOf(conditions.map(condition => ({ kind: 'annotation', ...condition })))!
    query.where = query.where === undefined ? either : allOf([query.where, either])!
  }
}

function fromPair(text: string): [string, string] {
  const at = text.indexOf(':')
  if (at === -1) throw bad(`tag is ${quote(text)}: give key:value`)
  return [text.slice(0, at), text.slice(at + 1)]
}

function fromJson(text: string): [string, string][] {
  let tags: unknown
  try {
    tags = JSON.parse(text)
  } catch {}
  if (typeof tags !== 'object' || tags === null || Array.isArray(tags)) {
    throw bad(`tags is ${quote(text)}: give an object of strings, such as {"user":"42"}`)
  }
  return Object.entries(tags).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)])
}

function bad(message: string): HttpError {
  return new HttpError(400, 'MILO_BAD_PARAMETER', message)
}
