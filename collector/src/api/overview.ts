import type { FastifyInstance } from 'fastify'
import type { OverviewAnswer, OverviewBucket } from '../http/answers'
import type { TimedQuery } from '../query'
import { Counter } from '../store/activity/counter'
import { figuresOf, rounded, tenths, whole } from '../store/activity/figures'
import { MINUTE_US, type OperationKey } from '../store/activity/model'
import { keyWord, operationOf } from '../store/activity/rows'
import type { SpanSearch } from '../store/store'
import type { Turns } from '../turns'
import { usualStep } from './activity/range'
import type { ActivityOptions } from './activity/routes'
import { queryOf, stepOf, workOf } from './activity/services'
import type { ReadActivity } from './activity/sums'
import type { AskStore } from './ask-store'
import { readOverview } from './parameters'
import type { Reads } from './read-budget'
import { clientTurns } from './survey/client-turns'
import { type Search, searchWithin } from './survey/parts'
import { roundStep } from './survey/steps'
import { type Bucket, type Survey, surveyOf } from './survey/survey'
import { callsOf, matchingOf, quantileOf, sampleOf, storedOf, typicalWeight } from './survey/totals'

/**
 * GET /api/overview: all of a search's time range at a glance, by buckets of time. Of a service or an operation, every call has been
 * counted; other searches are known by a sample of their traces.
 */

/** The most buckets, but for one that a range has only a part of. */
const BUCKETS = 58
/** In a shorter range, minutes are too few buckets. */
const LEAST_COUNTED_US = 5 * MINUTE_US
const HOUR_US = 60 * MINUTE_US
const DAY_US = 24 * HOUR_US

export function overviewRoutes(
  app: FastifyInstance,
  reads: Reads,
  askStore: AskStore<SpanSearch>,
  { read, retentionDays, activityDays }: Pick<ActivityOptions, 'read' | 'retentionDays' | 'activityDays'>,
): void {
  app.get('/api/overview', async (request, reply): Promise<OverviewAnswer> => {
    const nowUs = Date.now() * 1000
    const { query, sample } = readOverview(request.query, nowUs)
    const turns = clientTurns(reply)
    const search = searchWithin(reads, askStore)
    return reads.surveys.during(1, async () => {
      const { toUs = nowUs } = query
      const { fromUs = await oldestOf(search, query, toUs, { turns, deadlineMs: reads.surveyMs / 2 }) } = query
      const range = { fromUs, toUs }
      const length = toUs - fromUs
      const isCounted = asksForCalls(query) && length >= LEAST_COUNTED_US && length <= activityDays * DAY_US
      const step = isCounted
        ? usualStep({ from: fromUs, to: toUs }, BUCKETS, { retentionDays, activityDays, nowUs })
        : roundStep(range, BUCKETS)
      const survey = await surveyOf(search, { ...query, ...range }, { step, sample, deadlineMs: reads.surveyMs, turns })
      const counts = isCounted ? await reads.activity.during(1, () => countsOf(read, range, step, query)) : undefined
      return answerOf(survey, { range, step, sample, counts })
    })
  })
}

function answerOf(
  survey: Survey,
  about: {
    range: { fromUs: number; toUs: number }
    step: number
    sample: number
    counts: Map<number, Counter> | undefined
  },
): OverviewAnswer {
  const { range, step, sample, counts } = about
  // What isn't counted as a call (a trace that was forced) may be there all the same.
  const isCounted = counts !== undefined && (counts.size > 0 || survey.read === 0)
  const { clumping } = survey
  const typical = typicalWeight(survey)
  const buckets = Array.from(partsByTime(survey), ([time, parts]): OverviewBucket => {
    const stored = {
      traces: rounded(storedOf(parts, clumping), tenths),
      read: parts.reduce((sum, { found }) => sum + found.length, 0),
      complete: parts.every(({ complete }) => complete),
    }
    if (isCounted) {
      const { calls, errors, p50, p95, p99 } = figuresOf(counts.get(time) ?? new Counter())
      const likely = (estimate: typeof p50) => estimate?.value ?? null
      return { time, calls, errors, p50: likely(p50), p95: likely(p95), p99: likely(p99), ...stored }
    }
    return {
      time,
      calls: rounded(callsOf(parts, clumping, typical), tenths),
      errors: rounded(
        callsOf(parts, clumping, typical, ({ error }) => error),
        tenths,
      ),
      p50: quantileOf(parts, 0.5),
      p95: quantileOf(parts, 0.95),
      p99: quantileOf(parts, 0.99),
      ...stored,
    }
  })
  return {
    from: range.fromUs,
    to: range.toUs,
    step,
    source: isCounted ? 'counts' : 'sample',
    buckets,
    matching: rounded(matchingOf(survey), whole),
    sample: sampleOf(survey, sample),
    complete: survey.complete,
  }
}

function partsByTime({ buckets }: Survey): Map<number, Bucket[]> {
  const parts = new Map<number, Bucket[]>()
  for (const bucket of buckets) {
    const others = parts.get(bucket.time)
    if (others === undefined) parts.set(bucket.time, [bucket])
    else others.push(bucket)
  }
  return parts
}

/** Whether the search is one of a service, an operation or both, and nothing else. */
function asksForCalls({ name, service, annotations, fromUs: _, toUs: __, ...others }: TimedQuery): boolean {
  const more = Object.values(others).some(value => value !== undefined)
  return (name ?? service) !== undefined && annotations.length === 0 && !more
}

/**
 * Returns what was counted of a service's work, or of an operation, by when each step begins. Operations that aren't their services' own work
 * (calls to others, steps on the way) count if there are no others of that name.
 */
async function countsOf(
  read: ReadActivity,
  range: { fromUs: number; toUs: number },
  step: number,
  { name, service }: Pick<TimedQuery, 'name' | 'service'>,
): Promise<Map<number, Counter>> {
  const query = queryOf({ from: range.fromUs, to: range.toUs }, service)
  const operation = name === undefined ? undefined : keyWord(name)
  const isAsked = (key: OperationKey) => operation === undefined || key.name === operation
  const work = await workOf(read, query, isAsked)
  const steps = new Map<number, Counter>()
  await read({ ...query, stepUs: step }, ({ key, minute, addTo }) => {
    if (work.size > 0 ? work.has(key) : isAsked(operationOf(key))) addTo(stepOf(steps, minute, step))
  })
  return new Map([...steps].filter(([, counter]) => !counter.isNothing()))
}

/**
 * Returns when the search's oldest trace began, or some time before that: it asks whether anything is older than ever earlier times, and
 * then for times between the last two of those.
 */
async function oldestOf(
  search: Search,
  query: TimedQuery,
  toUs: number,
  { turns, deadlineMs }: { turns: Turns; deadlineMs: number },
): Promise<number> {
  const giveUpAt = performance.now() + deadlineMs
  const isLater = async (us: number) => {
    await turns.next()
    return (await search({ ...query, toUs: us, limit: 1 })).traces.length === 0
  }
  let agoUs = HOUR_US
  while (agoUs < toUs && !(await isLater(toUs - agoUs))) {
    if (performance.now() > giveUpAt) return toUs - agoUs
    agoUs *= 2
  }
  let [before, after] = [Math.max(0, toUs - agoUs), agoUs === HOUR_US ? toUs : toUs - agoUs / 2]
  for (let i = 0; i < 5 && performance.now() < giveUpAt; i++) {
    const middle = Math.floor((before + after) / 2)
    if (await isLater(middle)) before = middle
    else after = middle
  }
  return before
}
