import type { Range, UsualAnswer, UsualFigures } from '../../http/answers'
import { Counter } from '../../store/activity/counter'
import { quantileOf } from '../../store/activity/estimates'
import { whole } from '../../store/activity/figures'
import { OTHER } from '../../store/activity/model'
import { operationOf } from '../../store/activity/rows'
import { Recent } from '../../store/recent'
import { isWork, queryOf } from './services'
import { type ReadActivity, sumBusiest } from './sums'

/** What is usual: how long calls took in the last days, by which pages tell whether one is slow. */

/** How far back it looks. */
export const USUAL_US = 7 * 24 * 3600e6
const MAX_OPERATIONS = 2_000
/** Of fewer calls nobody can say what is usual. */
const MIN_RECORDS = 30
/** For so long an answer is good: a few minutes more or less of a week change nothing. */
const KEPT_MS = 10 * 60_000
/** An answer that has little to go by is soon outdated, as in the first hour of a collector. */
const KEPT_WHILE_FEW_MS = 20_000
const FEW_RECORDS = 5_000
const MAX_KEPT = 1_000

type Known = Omit<UsualAnswer, keyof Range>

/** Remembers what is usual for each service. */
export class UsualDurations {
  private readonly read: ReadActivity
  private readonly nowMs: () => number
  private readonly known = new Recent<string | undefined, { known: Promise<Known>; untilMs: number }>(MAX_KEPT)

  constructor(read: ReadActivity, nowMs: () => number) {
    this.read = read
    this.nowMs = nowMs
  }

  /** @param services whose operations are asked for; none for all services as a whole */
  async of(range: Range, services: string[]): Promise<Known> {
    const all: Known[] = []
    if (services.length === 0) all.push(await this.one(range, undefined))
    for (const service of new Set(services)) all.push(await this.one(range, service))
    return { services: all.flatMap(one => one.services), operations: all.flatMap(one => one.operations) }
  }

  private one(range: Range, service: string | undefined): Promise<Known> {
    const nowMs = this.nowMs()
    const kept = this.known.get(service)
    if (kept !== undefined && kept.untilMs > nowMs) return kept.known
    const counted = count(this.read, range, service)
    const entry = { known: counted, untilMs: nowMs + KEPT_MS }
    this.known.set(service, entry)
    counted.then(
      ({ records }) => {
        if (records < FEW_RECORDS) entry.untilMs = nowMs + KEPT_WHILE_FEW_MS
      },
      () => this.known.delete(service),
    )
    return counted
  }
}

interface Counted extends Known {
  records: number
}

async function count(read: ReadActivity, range: Range, service: string | undefined): Promise<Counted> {
  const options = { keyOf: ({ key }: { key: string }) => key, max: MAX_OPERATIONS }
  const { counters } = await sumBusiest(read, queryOf(range, service), options)
  const work = new Map<string, Counter>()
  const operations: UsualAnswer['operations'] = []
  let records = 0
  for (const [key, counter] of counters) {
    records += counter.records
    const operation = operationOf(key)
    if (isWork(operation.side, counter.calls, counter.roots)) {
      const sum = work.get(operation.service) ?? new Counter()
      sum.merge(counter)
      work.set(operation.service, sum)
    }
    const usual = operation.name === OTHER || service === undefined ? undefined : usualOf(counter)
    if (usual !== undefined) operations.push({ ...operation, ...usual })
  }
  const services = [...work].flatMap(([service, counter]) => {
    const usual = usualOf(counter)
    return usual === undefined ? [] : [{ service, ...usual }]
  })
  return { services, operations, records }
}

function usualOf(counter: Counter): UsualFigures | undefined {
  if (counter.records < MIN_RECORDS) return undefined
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map(q => quantileOf(counter, q)?.value)
  if (p50 === undefined || p95 === undefined || p99 === undefined) return undefined
  return { p50: whole(p50), p95: whole(p95), p99: whole(p99) }
}
