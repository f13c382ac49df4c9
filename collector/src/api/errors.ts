import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { ErrorGroup, ErrorsAnswer, FailedTrace } from '../http/answers'
import type { TimedQuery } from '../query'
import { rounded, tenths, whole } from '../store/activity/figures'
import type { SpanSearch, TraceReader } from '../store/store'
import { arose, buildTraceInSlices, foldMessage, roseThrough, type Trace, type TraceSummary, weightOf } from '../trace'
import { summaryFailure } from '../trace/failure'
import { ownerOf } from '../trace/totals'
import type { Turns } from '../turns'
import type { AskStore } from './ask-store'
import { type ErrorsQuery, readErrors } from './parameters'
import type { Reads } from './read-budget'
import { clientTurns } from './survey/client-turns'
import { FOUND_BYTES, readFound } from './survey/found-trace'
import { searchWithin } from './survey/parts'
import { roundStep } from './survey/steps'
import { type Bucket, type Survey, sampledOf, shareOf, surveyOf } from './survey/survey'
import { matchingOf, type Seen, totalOf, typicalWeight } from './survey/totals'

/**
 * GET /api/errors: what fails, where and how often. Of a sample of the traces with errors, each span in which an error arose is counted in the group
 * of its service, operation, type and message. What it made fail further up isn't counted again.
 */

const READS_AT_ONCE = 4
const BUCKETS = 58
/** How many groups are counted; further ones are left out. The answer has the most frequent. */
const MAX_GROUPS = 2_000
const MAX_LISTED = 200
const MAX_THROUGH = 20
const MAX_TRACES = 5

type ReadStore = SpanSearch & TraceReader

export function errorsRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<ReadStore>): void {
  app.get('/api/errors', async (request, reply): Promise<ErrorsAnswer> => {
    const query = readErrors(request.query, Date.now() * 1000)
    const turns = clientTurns(reply)
    return reads.surveys.during(1, () => new Failures(query, reads, askStore, turns).run())
  })
}

class Failures {
  private readonly groups = new Map<string, Group>()
  private truncated = false
  /** Whether all traces were found, and each was read to its end. */
  private complete = true
  private readonly query: ErrorsQuery
  private readonly reads: Reads
  private readonly askStore: AskStore<ReadStore>
  private readonly turns: Turns
  /** Half of the time is for finding traces, the other for reading them. */
  private readonly giveUpAt: number

  constructor(query: ErrorsQuery, reads: Reads, askStore: AskStore<ReadStore>, turns: Turns) {
    this.query = query
    this.reads = reads
    this.askStore = askStore
    this.turns = turns
    this.giveUpAt = performance.now() + 2 * reads.surveyMs
  }

  async run(): Promise<ErrorsAnswer> {
    const { fromUs, toUs } = this.query
    const step = roundStep(this.query, BUCKETS)
    const survey = await this.survey(step)
    if (!survey.complete) this.complete = false
    for (const bucket of survey.buckets) {
      const sampled = new Set(sampledOf(bucket))
      const share = shareOf(bucket)
      for (let i = 0; i < bucket.found.length; i += READS_AT_ONCE) {
        const some = bucket.found.slice(i, i + READS_AT_ONCE)
        const traces = await this.readTraces(some.map(({ trace }) => trace))
        for (const [j, trace] of traces.entries()) {
          const found = some[j]!
          if (trace === undefined) this.complete = false
          const weight = sampled.has(found) ? weightOf(found.trace.probability) / share : 0
          this.count(found.trace, trace, { bucket, weight, atUs: found.matchedUs })
          if (this.turns.over()) await this.turns.next()
        }
      }
    }
    const groups = this.list(survey)
    return {
      from: fromUs,
      to: toUs,
      step,
      groups: groups.slice(0, MAX_LISTED),
      read: survey.read,
      complete: this.complete,
      matching: rounded(matchingOf(survey), whole),
      ...((this.truncated || groups.length > MAX_LISTED) && { truncated: true }),
    }
  }

  /**
   * Finds traces with errors. The span in which one arose has the operation's name in one of its halves, but its service may be known from
   * its caller alone: a database reports nothing. So if a search by service finds nothing, all errors are looked at.
   */
  private async survey(step: number): Promise<Survey> {
    const { fromUs, toUs, service, operation, sample } = this.query
    const search = searchWithin(this.reads, this.askStore)
    const query: TimedQuery & { fromUs: number; toUs: number } = {
      ...{ annotations: [], error: true, fromUs, toUs },
      ...(operation !== undefined && { name: operation }),
    }
    const options = { step, sample, deadlineMs: this.reads.surveyMs, turns: this.turns }
    if (service !== undefined) {
      const reported = await surveyOf(search, { ...query, service }, options)
      if (reported.read > 0) return reported
    }
    return surveyOf(search, query, options)
  }

  /** Returns the traces with more than one failed span; of others the summary says it all. Undefined for what there is no time for. */
  private async readTraces(summaries: TraceSummary[]): Promise<(Trace | undefined | 'summary')[]> {
    const wanted = summaries.filter(({ errorCount, truncated }) => errorCount > 1 || truncated)
    if (wanted.length === 0) return summaries.map(() => 'summary')
    if (performance.now() > this.giveUpAt) {
      return summaries.map(summary => (wanted.includes(summary) ? undefined : 'summary'))
    }
    return this.reads.traces.during(wanted.length * FOUND_BYTES, async () => {
      const read = new Map<TraceSummary, Trace>()
      for (const summary of wanted) {
        const { records, truncated } = await readFound(this.askStore, summary.traceId)
        if (truncated) this.complete = false
        if (records.length === 0) continue
        read.set(summary, await buildTraceInSlices(records, () => this.turns.next(), { sliceMs: 4 }))
      }
      return summaries.map(summary => read.get(summary) ?? 'summary')
    })
  }

  /** Counts each failure of a trace in its group. @param trace undefined or 'summary' to count the first alone */
  private count(summary: TraceSummary, trace: Trace | undefined | 'summary', at: Place): void {
    for (const failure of typeof trace === 'object' ? failuresOf(trace) : firstOf(summary)) {
      const { service, operation, type } = this.query
      if (service !== undefined && failure.service !== service) continue
      if (operation !== undefined && failure.operation !== operation) continue
      if (type !== undefined && failure.type !== type) continue
      const { count, ...what } = failure
      const key = JSON.stringify([what.service, what.operation, what.type, what.message])
      let group = this.groups.get(key)
      if (group === undefined) {
        if (this.groups.size >= MAX_GROUPS) {
          this.truncated = true
          continue
        }
        this.groups.set(key, (group = new Group(key, what)))
      }
      group.add(failure, summary, at)
    }
  }

  private list(survey: Survey): ErrorGroup[] {
    const unread = survey.buckets.some(bucket => shareOf(bucket) === 0)
    return [...this.groups.values()]
      .map(group => group.answer(survey, unread))
      .sort((a, b) => b.count.value - a.count.value || b.last - a.last || (a.id < b.id ? -1 : 1))
  }
}

/** Failures of a trace that are alike. */
interface Alike {
  service: string | null
  operation: string
  type: string | null
  message: string | null
  example: string
  /** The first of them, and how many there are. */
  startUs: number | null
  lastUs: number | null
  spanId: string
  count: number
  through: string[]
}

/** Where a trace was found. */
interface Place {
  bucket: Bucket
  /** What it stands for; 0 if the estimates leave it out. */
  weight: number
  atUs: number
}

function failuresOf(trace: Trace): Alike[] {
  const alike = new Map<string, Alike>()
  for (const span of arose(trace)) {
    const failure = alikeOf(summaryFailure(span)!, span.start)
    const key = JSON.stringify([failure.service, failure.operation, failure.type, failure.message])
    const known = alike.get(key)
    if (known === undefined) {
      const services = roseThrough(trace, span).map(ownerOf)
      failure.through = [...new Set(services)].filter(
        service => service !== null && service !== failure.service,
      ) as string[]
      alike.set(key, failure)
    } else {
      known.count++
      known.lastUs = span.start ?? known.lastUs
    }
  }
  return [...alike.values()]
}

/** Returns what a summary says: where an error arose first, though not exactly when. */
function firstOf({ failure }: TraceSummary): Alike[] {
  return failure === null ? [] : [alikeOf(failure, null)]
}

function alikeOf(
  { type, message, service, name, spanId }: NonNullable<TraceSummary['failure']>,
  startUs: number | null,
): Alike {
  return {
    ...{ service, operation: name, type, message: message && foldMessage(message), example: message ?? type ?? '' },
    ...{ startUs, lastUs: startUs, spanId, count: 1, through: [] },
  }
}

class Group {
  private readonly id: string
  private readonly what: Pick<Alike, 'service' | 'operation' | 'type' | 'message' | 'example'>
  private readonly through = new Set<string>()
  private readonly seen: Seen[] = []
  /** Of traces that weren't forced. */
  private known = 0
  private read = 0
  private first = Infinity
  private last = -Infinity
  private readonly trend = new Map<number, number>()
  private traces: FailedTrace[] = []

  constructor(key: string, { service, operation, type, message, example }: Omit<Alike, 'count'>) {
    this.id = createHash('sha256').update(key).digest('base64url').slice(0, 16)
    this.what = { service, operation, type, message, example }
  }

  add(
    { count, startUs, lastUs, spanId, through }: Alike,
    summary: TraceSummary,
    { bucket, weight, atUs }: Place,
  ): void {
    this.read += count
    if (summary.probability !== 0) this.known += count
    if (weight > 0) {
      this.seen.push({ weight, count })
      this.trend.set(bucket.time, (this.trend.get(bucket.time) ?? 0) + weight * count)
    }
    const start = startUs ?? atUs
    this.first = Math.min(this.first, start)
    this.last = Math.max(this.last, lastUs ?? atUs)
    for (const service of through) if (this.through.size < MAX_THROUGH) this.through.add(service)
    this.traces.push({ traceId: summary.traceId, start, spanId })
    if (this.traces.length > 2 * MAX_TRACES) this.traces = newest(this.traces)
  }

  /** @param unread whether there are parts of the range of which nothing was read */
  answer(survey: Survey, unread: boolean): ErrorGroup {
    const { id, what, known, read, first, last } = this
    const missing = typicalWeight(survey)
    const count = totalOf(this.seen, { known, missing, clumping: survey.clumping })
    return {
      id,
      ...what,
      first,
      last,
      count: rounded(unread ? { ...count, high: Infinity } : count, tenths),
      read,
      trend: [...this.trend].map(([time, count]) => ({ time, count: tenths(count) })),
      through: [...this.through],
      traces: newest(this.traces),
    }
  }
}

function newest(traces: FailedTrace[]): FailedTrace[] {
  return traces.sort((a, b) => b.start - a.start || (a.traceId < b.traceId ? 1 : -1)).slice(0, MAX_TRACES)
}
