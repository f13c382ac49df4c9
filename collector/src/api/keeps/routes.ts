import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { CaughtGroup, KeepAnswer, KeepRequest, KeepsAnswer, ServiceHistories } from '../../http/answers'
import { HttpError } from '../../http/errors'
import { type Keeping, REQUESTED } from '../../keep/keeping'
import { isPresent } from '../../keep/rings'
import { HOUR_US, type Keeps, MAX_NAME, OPERATION, type SeenRing, type StoredKeep, TRACE } from '../../store/keeps'
import { type SpanSearch, storedElsewhere } from '../../store/store'
import { hexId } from '../../trace/ids'
import type { AskStore } from '../ask-store'
import { limit, readBody, readParameters, readRange, string, time } from '../parameters'
import { readTraceId } from '../stored-traces'
import { processesOf } from './processes'

/** What is kept after the fact: what was caught, and what people ask for. */

interface Options {
  askStore: AskStore<Keeps & Pick<SpanSearch, 'complete'>>
  /** Undefined for a relay: what it told its processes would be news to no collector. */
  keeping: Keeping | undefined
}

const KEEPS = z.strictObject({
  from: time.optional(),
  to: time.optional(),
  reason: string.optional(),
  service: string.optional(),
  name: string.optional(),
  limit: limit(1000, 200),
})
/** What may be empty. */
const NAMES = ['service', 'name']
const MAX_TRACES = 255
const KEEP = z.strictObject({
  traceId: z.string().optional(),
  service: z.string().max(MAX_NAME).optional(),
  name: z.string().min(1).max(MAX_NAME).optional(),
  n: z.number().int().min(1).max(MAX_TRACES).optional(),
})
/** Traces that are listed as examples come from so many of the latest keeps. */
const LATEST = 2_000
const EXAMPLES = 10
/** Names that begin like an operation's: it is one of the first. */
const SIMILAR = 50
const NOBODY = 'no process asks now what to keep'

export function keepsRoutes(app: FastifyInstance, { askStore, keeping }: Options): void {
  app.post('/api/keep', async (request, reply): Promise<KeepAnswer> => {
    const { traceId, service = '', name, n = 1 } = readBody(KEEP, request.body)
    if ((traceId === undefined) === (name === undefined)) {
      throw new HttpError(400, 'MILO_BAD_BODY', 'give traceId, or service and name (and n, how many traces)')
    }
    if (keeping === undefined) throw new HttpError(400, 'MILO_STORE_ELSEWHERE', storedElsewhere().message)
    reply.code(202)
    const here = () => keeping.rings.size
    if (traceId !== undefined) {
      const { low } = readTraceId(traceId)[0]!
      keeping.keepTrace(low, userOf(request))
      return { traceId: hexId(low), processes: here(), ...(here() === 0 && { hint: NOBODY }) }
    }
    keeping.keepOperation(service, name!, n, userOf(request))
    // It is told, whether the store answers or not.
    const asking = await asksNow(askStore, keeping).catch(() => keeping.rings.present())
    const ofService = asking.filter(ring => ring.service === service).length
    const hint =
      asking.length === 0 ? NOBODY : `no process of ${service || 'a service without a name'} asks now what to keep`
    const told = { service, name: name!, n, processes: here(), ofService }
    if (ofService === 0) return { ...told, hint }
    const query = { field: 'name', prefix: name!, limit: SIMILAR } as const
    const similar = await askStore(store => store.complete(query)).catch(() => [name!])
    return similar.includes(name!) ? told : { ...told, hint: `no stored span is called ${name}: it may be misspelled` }
  })

  app.get('/api/keeps', async (request): Promise<KeepsAnswer> => {
    const nowUs = keeping?.nowUs() ?? Date.now() * 1000
    const { limit, ...given } = readParameters(KEEPS, request.query, NAMES)
    const { fromUs, toUs, ...of } = readRange(given, nowUs)
    const range = { fromUs, toUs }
    // A trace that somebody has asked for by its id was asked for at no operation.
    const byId = (of.service ?? '') + (of.name ?? '') === '' ? [{ kind: TRACE, service: '', name: '' }] : []
    const requested = [{ ...of, kind: OPERATION }, ...byId]
    const [caught, latest, requests, rings] = await Promise.all([
      askStore(store => store.caught({ ...range, ...of, kind: TRACE, limit })),
      askStore(store => store.keeps({ ...range, ...of, kind: TRACE, limit: LATEST })),
      Promise.all(
        requested.map(some => askStore(store => store.keeps({ ...range, ...some, reason: REQUESTED, limit }))),
      ),
      asksNow(askStore, keeping),
    ])
    const examples = new Map<string, CaughtGroup['latest']>()
    for (const { reason, service, name, id, atUs } of latest) {
      const key = JSON.stringify([reason, service, name])
      const some = examples.get(key) ?? []
      const traceId = hexId(id)
      // It may have come several times.
      if (some.length < EXAMPLES && !some.some(one => one.traceId === traceId))
        examples.set(key, [...some, { traceId, time: atUs }])
    }
    return {
      ...{ from: fromUs, to: toUs },
      caught: caught
        // What a person has asked for by its id isn't caught by a rule.
        .filter(({ reason, service, name }) => reason !== REQUESTED || service + name !== '')
        .map(({ reason, service, name, traces, firstUs, lastUs }) => ({
          ...{ reason, service, name, traces, first: firstUs, last: lastUs },
          latest: examples.get(JSON.stringify([reason, service, name])) ?? [],
        })),
      requests: requests
        .flat()
        .sort((a, b) => b.atUs - a.atUs || Number(b.seq - a.seq))
        .slice(0, limit)
        .map(requestAnswer),
      services: histories(rings),
    }
  })
}

function requestAnswer({ kind, id, n, service, name, by, atUs }: StoredKeep): KeepRequest {
  const what = kind === OPERATION ? { service, name, n } : { traceId: hexId(id) }
  return { ...what, time: atUs, by: by || null }
}

/** Returns the processes that ask now: this collector, or another one on the same databases. */
async function asksNow(askStore: AskStore<Keeps>, keeping: Keeping | undefined): Promise<SeenRing[]> {
  const nowUs = keeping?.nowUs() ?? Date.now() * 1000
  const stored = await askStore(store => store.rings({ fromUs: nowUs - HOUR_US, toUs: nowUs }))
  return processesOf([...(keeping?.rings.all() ?? []), ...stored]).filter(ring => isPresent(ring, nowUs))
}

/** By service. */
function histories(rings: SeenRing[]): ServiceHistories[] {
  const services = new Map<string, ServiceHistories>()
  for (const { service, toldUs, historyUs } of rings) {
    const history = Math.max(0, toldUs - historyUs)
    const of = services.get(service) ?? { service, processes: 0, shortest: history, longest: history, asOf: toldUs }
    of.processes++
    of.asOf = Math.min(of.asOf, toldUs)
    of.shortest = Math.min(of.shortest, history)
    of.longest = Math.max(of.longest, history)
    services.set(service, of)
  }
  return [...services.values()].sort((a, b) => (a.service < b.service ? -1 : 1))
}

/** The user whose password the guard has checked; '' for tokens, which have no name here, and where nobody needs one. */
function userOf({ headers: { authorization = '' } }: FastifyRequest): string {
  const [, encoded] = /^basic +(\S+)$/i.exec(authorization) ?? []
  if (encoded === undefined) return ''
  return Buffer.from(encoded, 'base64').toString().split(':')[0]!.slice(0, MAX_NAME)
}
