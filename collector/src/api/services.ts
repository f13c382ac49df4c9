import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type {
  EarlierDependenciesAnswer as DependenciesAnswer,
  EarlierDependency as Dependency,
  EarlierFigures as Figures,
  Range,
  EarlierServicesAnswer as ServicesAnswer,
} from '../http/answers'
import { HttpError } from '../http/errors'
import { timeUs } from '../query'
import { Counter } from '../store/activity/counter'
import { type ActivityQuery, MINUTE_US } from '../store/activity/model'
import { type ActivityEntry, readActivity } from '../store/activity/read'
import { counterOf, edgeOf, operationOf } from '../store/activity/rows'
import type { ActivityReader } from '../store/store'
import type { AskStore } from './ask-store'
import { readParameters, time } from './parameters'
import type { Reads } from './read-budget'

/** GET /api/earlier/services and /api/earlier/dependencies, for the pages until they read what activity/ answers: the services, their figures and their calls to each other. */

const DEFAULT_RANGE_US = 60 * MINUTE_US
const MAX_RANGE_US = 24 * 60 * MINUTE_US
/** The steps of a series in minutes. The smallest step that makes at most MAX_POINTS points is used. */
const STEPS = [1, 5, 15, 30]
const MAX_POINTS = 60
/** Limits of an answer. It has the busiest services and names, and is marked as truncated if there are more. */
const MAX_SERVICES = 500
const MAX_NAMES = 10_000
const MAX_EDGES = 2_000

/** Calls `visit` with all that there is of a query. */
type ReadActivity = (query: ActivityQuery, visit: (entry: ActivityEntry) => void) => Promise<void>

export function serviceRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<ActivityReader>): void {
  const read: ReadActivity = (query, visit) =>
    readActivity(part => askStore(store => store.activity(part)), query, visit)
  app.get('/api/earlier/services', async (request): Promise<ServicesAnswer> => {
    const range = readRange(request.query)
    return { ...range, ...(await reads.activity.during(1, () => serviceReport(read, range))) }
  })
  app.get('/api/earlier/dependencies', async (request): Promise<DependenciesAnswer> => {
    const range = readRange(request.query)
    const edges = await reads.activity.during(1, () => dependencies(read, range))
    return { ...range, ...(edges.length > MAX_EDGES && { truncated: true }), edges: edges.slice(0, MAX_EDGES) }
  })
}

const RANGE = z.strictObject({ from: time.optional(), to: time.optional() })

function readRange(given: unknown): Range {
  const times = readParameters(RANGE, given)
  const nowUs = Date.now() * 1000
  const to = times.to === undefined ? nowUs : timeUs(times.to, nowUs)
  const from = times.from === undefined ? to - DEFAULT_RANGE_US : timeUs(times.from, nowUs)
  if (!(from < to)) throw new HttpError(400, 'MILO_BAD_PARAMETER', 'from is not before to: give an earlier from')
  if (to - from > MAX_RANGE_US) {
    throw new HttpError(400, 'MILO_BAD_PARAMETER', 'from and to are more than 24 hours apart: choose a shorter range')
  }
  return { from, to }
}

export async function serviceReport(
  read: ReadActivity,
  { from, to }: Range,
): Promise<Omit<ServicesAnswer, keyof Range>> {
  const stepMinutes = STEPS.find(step => (to - from) / (step * MINUTE_US) <= MAX_POINTS) ?? STEPS.at(-1)!
  const services = new Map<string, { all: Counter; names: Map<string, Counter>; steps: Map<number, Counter> }>()
  const query: ActivityQuery = { fromUs: from, toUs: to, stepUs: stepMinutes * MINUTE_US, kinds: ['operations'] }
  await read(query, ({ minute, key, addTo }) => {
    const { service, name, side } = operationOf(key)
    const counter = new Counter()
    addTo(counter)
    if (side !== 'server' && !isBegunHere(counter)) return
    const of = services.get(service) ?? { all: new Counter(), names: new Map(), steps: new Map() }
    services.set(service, of)
    of.all.merge(counter)
    counterOf(of.names, name).merge(counter)
    const step = Math.floor(minute / stepMinutes) * stepMinutes
    const ofStep = of.steps.get(step)
    if (ofStep === undefined) of.steps.set(step, counter)
    else ofStep.merge(counter)
  })
  let namesLeft = MAX_NAMES
  let truncated = services.size > MAX_SERVICES
  const busiestServices = [...services]
    .sort(([, a], [, b]) => b.all.calls - a.all.calls)
    .slice(0, MAX_SERVICES)
    .map(([service, { all, names, steps }]) => {
      const busiest = [...names].sort(([, a], [, b]) => b.calls - a.calls).slice(0, namesLeft)
      namesLeft -= busiest.length
      truncated ||= busiest.length < names.size
      return {
        service,
        ...figures(all),
        names: busiest.map(([name, measure]) => ({ name, ...figures(measure) })),
        series: [...steps]
          .sort(([a], [b]) => a - b)
          .map(([step, measure]) => ({ time: step * MINUTE_US, ...figures(measure) })),
      }
    })
  return { step: stepMinutes * MINUTE_US, ...(truncated && { truncated }), services: busiestServices }
}

/** Calls that a service answered are its own work, and so are traces that began with it: a job, a client's call. */
function isBegunHere({ calls, roots }: Counter): boolean {
  return roots * 2 >= calls
}

export async function dependencies(read: ReadActivity, { from, to }: Range): Promise<Dependency[]> {
  const edges = new Map<string, Map<string, Counter>>()
  const query: ActivityQuery = { fromUs: from, toUs: to, stepUs: Number.POSITIVE_INFINITY, kinds: ['calls'] }
  await read(query, ({ key, addTo }) => {
    const { caller, callee } = edgeOf(key)
    let callees = edges.get(caller)
    if (callees === undefined) edges.set(caller, (callees = new Map()))
    addTo(counterOf(callees, callee))
  })
  return [...edges]
    .flatMap(([from, callees]) =>
      [...callees].flatMap(([to, counter]) => {
        if (counter.isNothing()) return []
        const { spans, ...others } = figures(counter)
        return [{ from, to, calls: spans, ...others }]
      }),
    )
    .sort((a, b) => b.calls - a.calls)
}

function figures({ calls, errors, durations }: Counter): Figures {
  const at = (share: number) => {
    const us = durations.quantile(share)
    return us === undefined ? null : Math.round(us)
  }
  return { spans: round(calls), errors: round(errors), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

/** Rounds to a tenth of a span. */
function round(n: number): number {
  return Math.round(n * 10) / 10
}
