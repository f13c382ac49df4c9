import type {
  DependenciesAnswer,
  EdgeFigures,
  OperationFigures,
  OperationsAnswer,
  Range,
  SeriesAnswer,
  ServiceFigures,
  ServicesAnswer,
} from '../../http/answers'
import { Counter } from '../../store/activity/counter'
import { exemplarsOf, figuresOf } from '../../store/activity/figures'
import { type ActivityQuery, MINUTE_US, type OperationKey } from '../../store/activity/model'
import { edgeOf, keyWord, operationOf } from '../../store/activity/rows'
import { floor } from './range'
import { edgeIn, kindsOfEdges, Ranks, type ReadActivity, sumBusiest, WHOLE } from './sums'

/** What services did: by service, by operation, by edge, and step by step. */

/** Limits of an answer. It has the busiest, and is marked as truncated if there are more. */
const MAX_SERVICES = 500
const MAX_OPERATIONS = 2_000
const MAX_EDGES = 3_000

/**
 * Whether an operation is a service's own work: calls that it answered, messages that it took, or traces that began with it
 * (a job, a client's call). Others are what it asked of other services, or did on the way.
 */
export function isWork(side: OperationKey['side'], calls: number, roots: number): boolean {
  return side === 'server' || roots * 2 >= calls
}

type Report<A extends Range> = Omit<A, keyof Range>

/** @param step the length of the series' steps, in microseconds */
export async function services(read: ReadActivity, range: Range, step: number): Promise<Report<ServicesAnswer>> {
  const work = await workOf(read, queryOf(range))
  const ranks = new Ranks()
  for (const [key, calls] of work) ranks.add(operationOf(key).service, calls)
  const busiest = new Set(ranks.busiest(MAX_SERVICES))
  const steps = new Map<string, Map<number, Counter>>([...busiest].map(service => [service, new Map()]))
  await read({ ...queryOf(range), stepUs: step }, ({ key, minute, addTo }) => {
    if (!work.has(key)) return
    const service = steps.get(operationOf(key).service)
    if (service !== undefined) addTo(stepOf(service, minute, step))
  })
  const answer = [...steps].map(([service, series]): ServiceFigures => {
    const all = new Counter()
    for (const counter of series.values()) all.merge(counter)
    return {
      service,
      ...figuresOf(all),
      exemplars: exemplarsOf(all),
      series: pointsOf(series).map(([time, counter]) => {
        const { calls, errors, errorShare, p50, p95, p99 } = figuresOf(counter)
        return { time, calls, errors, errorShare, p50, p95, p99 }
      }),
    }
  })
  return { step, ...(ranks.size > busiest.size && { truncated: true }), services: answer }
}

/** Returns the operations that are their services' own work, with their calls. */
export async function workOf(
  read: ReadActivity,
  query: ActivityQuery,
  isAsked: (operation: OperationKey) => boolean = () => true,
): Promise<Map<string, number>> {
  const [calls, roots] = [new Ranks(), new Ranks()]
  const all = new Counter()
  await read(query, ({ key, addTo }) => {
    if (!isAsked(operationOf(key))) return
    const before = { calls: all.calls, roots: all.roots }
    addTo(all)
    calls.add(key, all.calls - before.calls)
    roots.add(key, all.roots - before.roots)
  })
  return new Map(calls.all().filter(([key, n]) => isWork(operationOf(key).side, n, roots.of(key))))
}

export async function operations(
  read: ReadActivity,
  range: Range,
  service?: string,
): Promise<Report<OperationsAnswer>> {
  const keyOf = ({ key }: { key: string }) => key
  const { counters, leftOut } = await sumBusiest(read, queryOf(range, service), { keyOf, max: MAX_OPERATIONS })
  const answer = [...counters].map(([key, counter]): OperationFigures => {
    const operation = operationOf(key)
    const { roots, calls } = counter
    return {
      ...operation,
      ...figuresOf(counter),
      roots: Math.round(roots * 10) / 10,
      isWork: isWork(operation.side, calls, roots),
      exemplars: exemplarsOf(counter),
    }
  })
  return { ...(leftOut > 0 && { truncated: true }), operations: answer }
}

/** @param byOperation whether edges between the same services are told apart by their operations */
export async function dependencies(
  read: ReadActivity,
  range: Range,
  byOperation: boolean,
  service?: string,
): Promise<Report<DependenciesAnswer>> {
  const query = { ...queryOf(range, service), kinds: kindsOfEdges(service) }
  const { counters, leftOut } = await sumBusiest(read, query, {
    keyOf(entry) {
      const edge = edgeIn(entry, service)
      return edge && (byOperation ? entry.key : `${edge.caller}\0\0${edge.callee}\0`)
    },
    max: MAX_EDGES,
  })
  const edges = [...counters].map(([key, counter]): EdgeFigures => {
    const { caller: from, callerName: fromName, callee: to, calleeName: toName } = edgeOf(key)
    const names = byOperation ? { from, fromName, to, toName } : { from, to }
    return { ...names, ...figuresOf(counter), exemplars: exemplarsOf(counter) }
  })
  return { ...(leftOut > 0 && { truncated: true }), edges }
}

/** What a series is about. Without a name it is all of the service's work or all calls between the two services. */
export type Subject =
  | { service: string; name?: string; side?: OperationKey['side'] }
  | { caller: string; callee: string; callerName?: string; calleeName?: string }

export async function series(
  read: ReadActivity,
  range: Range,
  step: number,
  subject: Subject,
): Promise<Report<SeriesAnswer>> {
  const steps = new Map<number, Counter>()
  if ('service' in subject) {
    const { name, side } = subject
    const service = keyWord(subject.service)
    const query = queryOf(range, service)
    const isAsked = (operation: OperationKey) =>
      (name === undefined || keyWord(name) === operation.name) && (side === undefined || side === operation.side)
    const work = side === undefined ? await workOf(read, query, isAsked) : undefined
    await read({ ...query, stepUs: step }, ({ key, minute, addTo }) => {
      if (work === undefined ? isAsked(operationOf(key)) : work.has(key)) addTo(stepOf(steps, minute, step))
    })
  } else {
    const { callerName, calleeName } = subject
    const [caller, callee] = [keyWord(subject.caller), keyWord(subject.callee)]
    const query = { ...queryOf(range, caller), kinds: kindsOfEdges() }
    await read({ ...query, stepUs: step }, ({ key, minute, addTo }) => {
      const edge = edgeOf(key)
      const isAsked =
        edge.callee === callee &&
        (callerName === undefined || edge.callerName === keyWord(callerName)) &&
        (calleeName === undefined || edge.calleeName === keyWord(calleeName))
      if (isAsked) addTo(stepOf(steps, minute, step))
    })
  }
  const all = new Counter()
  for (const counter of steps.values()) all.merge(counter)
  const total = { ...figuresOf(all), exemplars: exemplarsOf(all) }
  return { step, total, points: pointsOf(steps).map(([time, counter]) => ({ time, ...figuresOf(counter) })) }
}

export function queryOf({ from, to }: Range, service?: string): ActivityQuery {
  return {
    fromUs: from,
    toUs: to,
    stepUs: WHOLE,
    kinds: ['operations'],
    ...(service !== undefined && { service: keyWord(service) }),
  }
}

export function stepOf(steps: Map<number, Counter>, minute: number, stepUs: number): Counter {
  const time = floor(minute * MINUTE_US, stepUs)
  let counter = steps.get(time)
  if (counter === undefined) steps.set(time, (counter = new Counter()))
  return counter
}

function pointsOf(steps: Map<number, Counter>): [number, Counter][] {
  return [...steps].filter(([, counter]) => !counter.isNothing()).sort(([a], [b]) => a - b)
}
