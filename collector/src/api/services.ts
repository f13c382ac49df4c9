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
import {
  type ActivityMinute,
  addMeasure,
  emptyMeasure,
  type Measure,
  type Operation,
  percentile,
} from '../store/activity/activity'
import type { ActivityReader } from '../store/store'
import { Turns } from '../turns'
import type { AskStore } from './ask-store'
import { readParameters, time } from './parameters'
import type { Reads } from './read-budget'

/** GET /api/services and /api/dependencies: the services, their figures and their calls to each other. */

const MINUTE_US = 60_000_000
const DEFAULT_RANGE_US = 60 * MINUTE_US
/** The number of minutes that are read from the store at a time. */
const MINUTES_AT_ONCE = 60
const MAX_RANGE_US = 24 * 60 * MINUTE_US
/** The steps of a series in minutes. The smallest step that makes at most MAX_POINTS points is used. */
const STEPS = [1, 5, 15, 30]
const MAX_POINTS = 60
/** Limits of an answer. It has the busiest services and names, and is marked as truncated if there are more. */
const MAX_SERVICES = 500
const MAX_NAMES = 10_000
const MAX_EDGES = 2_000

export function serviceRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<ActivityReader>): void {
  app.get('/api/services', async (request): Promise<ServicesAnswer> => {
    const range = readRange(request.query)
    return { ...range, ...(await reads.activity.during(1, () => serviceReport(minutesOf(range), range))) }
  })
  app.get('/api/dependencies', async (request): Promise<DependenciesAnswer> => {
    const range = readRange(request.query)
    const edges = await reads.activity.during(1, () => dependencies(minutesOf(range)))
    return { ...range, ...(edges.length > MAX_EDGES && { truncated: true }), edges: edges.slice(0, MAX_EDGES) }
  })

  /** Reads an hour at a time rather than a whole day, and lets other work have its turn in between. */
  async function* minutesOf({ from, to }: Range): AsyncGenerator<ActivityMinute> {
    const turns = new Turns()
    for (let start = from; start <= to; ) {
      const end = Math.min(to, (Math.floor(start / MINUTE_US) + MINUTES_AT_ONCE) * MINUTE_US - 1)
      for (const minute of await askStore(store => store.activity(start, end))) {
        yield minute
        if (turns.over()) await turns.next()
      }
      start = end + 1
    }
  }
}

/** Minutes, from a list or while they are being read. */
type Minutes = Iterable<ActivityMinute> | AsyncIterable<ActivityMinute>

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

export async function serviceReport(minutes: Minutes, { from, to }: Range): Promise<Omit<ServicesAnswer, keyof Range>> {
  const stepMinutes = STEPS.find(step => (to - from) / (step * MINUTE_US) <= MAX_POINTS) ?? STEPS.at(-1)!
  const services = new Map<string, { all: Measure; names: Map<string, Measure>; steps: Map<number, Measure> }>()
  for await (const { minute, operations } of minutes) {
    const step = Math.floor(minute / stepMinutes) * stepMinutes
    for (const operation of operations) {
      if (!isWork(operation)) continue
      const of = services.get(operation.service) ?? { all: emptyMeasure(), names: new Map(), steps: new Map() }
      services.set(operation.service, of)
      for (const measure of [of.all, under(of.names, operation.name), under(of.steps, step)])
        addMeasure(measure, operation)
    }
  }
  let namesLeft = MAX_NAMES
  let truncated = services.size > MAX_SERVICES
  const busiestServices = [...services]
    .sort(([, a], [, b]) => b.all.count - a.all.count)
    .slice(0, MAX_SERVICES)
    .map(([service, { all, names, steps }]) => {
      const busiest = [...names].sort(([, a], [, b]) => b.count - a.count).slice(0, namesLeft)
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

/** Returns whether an operation is a service's own work: calls that it answered, or traces that began with it (a job, a client's call). */
function isWork({ side, count, roots }: Operation): boolean {
  return side === 'server' || roots * 2 >= count
}

export async function dependencies(minutes: Minutes): Promise<Dependency[]> {
  const edges = new Map<string, { from: string; to: string; measure: Measure }>()
  for await (const { calls } of minutes) {
    for (const pair of calls) {
      const key = `${pair.caller}\0${pair.callee}`
      const edge = edges.get(key) ?? { from: pair.caller, to: pair.callee, measure: emptyMeasure() }
      edges.set(key, edge)
      addMeasure(edge.measure, pair)
    }
  }
  return [...edges.values()]
    .map(({ from, to, measure }) => {
      const { spans, ...others } = figures(measure)
      return { from, to, calls: spans, ...others }
    })
    .sort((a, b) => b.calls - a.calls)
}

function under<K>(map: Map<K, Measure>, key: K): Measure {
  const measure = map.get(key) ?? emptyMeasure()
  map.set(key, measure)
  return measure
}

function figures(measure: Measure): Figures {
  const at = (share: number) => {
    const us = percentile(measure, share)
    return us === undefined ? null : Math.round(us)
  }
  return { spans: round(measure.count), errors: round(measure.errors), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

/** Rounds to a tenth of a span. */
function round(n: number): number {
  return Math.round(n * 10) / 10
}
