import type { FastifyInstance } from 'fastify'
import type { SpanRecord } from 'milo/codec/span'
import { FeatureTable } from '../difference/features'
import { rank, type Weights } from '../difference/rank'
import type { ComparedGroup, DifferenceAnswer, Feature } from '../http/answers'
import { conditionsOf, type TimedQuery } from '../query'
import { DEFAULT_DENY } from '../store/search/index-policy'
import { linksOf, matchTrace } from '../store/search/match'
import type { SpanSearch, TraceReader } from '../store/store'
import type { TraceSummary } from '../trace'
import type { Turns } from '../turns'
import type { AskStore } from './ask-store'
import { type DifferenceQuery, readDifference, type TraceConditions } from './parameters'
import type { Reads } from './read-budget'
import { clientTurns } from './survey/client-turns'
import { FOUND_BYTES, readFound } from './survey/found-trace'
import { pagesByTurns, partsOf, searchWithin } from './survey/parts'

/**
 * GET /api/difference: what tells a selection of traces from the others of the same search. A sample of both is read, spread over the
 * time range, so that what changes with time doesn't look like a difference between the groups.
 */

const READS_AT_ONCE = 4
/** The work for one of the two groups, after which the comparison goes on with what it has. */
const GROUP_BYTES = 128 * 1024 * 1024
const GROUP_DEADLINE_MS = 10_000
const MAX_PAGE = 100
/** A trace's start is corrected by the clocks of its hosts, while the index has the spans' own. */
const CLOCKS_APART_US = 2_000_000

type ComparedStore = SpanSearch & TraceReader

export function differenceRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<ComparedStore>): void {
  app.get('/api/difference', async (request, reply): Promise<DifferenceAnswer> => {
    const query = readDifference(request.query, Date.now() * 1000)
    return reads.differences.during(1, () => new Comparison(query, reads, askStore, clientTurns(reply)).run())
  })
}

class Comparison {
  private readonly table = new FeatureTable(key => DEFAULT_DENY.includes(key))
  /** The traces that have been read or passed over, so that none counts twice. */
  private readonly seen = new Set<string>()
  private readonly query: DifferenceQuery
  private readonly reads: Reads
  private readonly askStore: AskStore<ComparedStore>
  private readonly turns: Turns

  constructor(query: DifferenceQuery, reads: Reads, askStore: AskStore<ComparedStore>, turns: Turns) {
    this.query = query
    this.reads = reads
    this.askStore = askStore
    this.turns = turns
  }

  async run(): Promise<DifferenceAnswer> {
    const { fromUs, toUs, base, order, limit } = this.query
    const selected = await this.read(true, selectedQueries(this.query))
    const others = await this.read(false, [base])
    const isAskedFor = (feature: Feature) => asksFor(this.query, feature)
    const ranking = await rank(this.table, { order, limit, isAskedFor }, this.turns)
    return {
      from: fromUs,
      to: toUs,
      selected: groupOf(ranking.selected, selected),
      others: groupOf(ranking.others, others),
      tested: ranking.tested,
      ...(this.table.truncated && { truncated: true }),
      more: ranking.more,
      less: ranking.less,
    }
  }

  /**
   * Reads traces of one group until it has enough.
   * @param queries that find them; a later one finds what an earlier one hasn't
   */
  private async read(selected: boolean, queries: TimedQuery[]): Promise<Read> {
    const giveUpAt = performance.now() + GROUP_DEADLINE_MS
    const work = { traces: 0, truncated: 0, bytes: 0, complete: false, passedOver: false, giveUpAt }
    for (const query of queries) {
      for await (const summaries of this.pages(query)) {
        if (!(await this.take(summaries, selected, work))) return work
      }
    }
    work.complete = !work.passedOver
    return work
  }

  /** Yields pages of a search, from all parts of its time range by turns. */
  private async *pages(query: TimedQuery): AsyncGenerator<TraceSummary[]> {
    const parts = partsOf({ fromUs: query.fromUs!, toUs: query.toUs! })
    const limit = Math.min(MAX_PAGE, Math.ceil(this.query.sample / parts.length))
    const search = searchWithin(this.reads, this.askStore)
    for await (const { page } of pagesByTurns(search, query, parts, () => limit, this.turns)) yield page.traces
  }

  /** Counts those of the traces that belong to the group. @returns false when it has enough, or has worked enough, without having seen all */
  private async take(summaries: TraceSummary[], selected: boolean, work: Read & Work): Promise<boolean> {
    const { sample, trace, select } = this.query
    const fresh = summaries.filter(summary => {
      // One of the others that may be selected is decided on by its records.
      if (this.seen.has(summary.traceId)) return false
      if (selected ? !meets(summary, trace) : meets(summary, trace) && !hasConditions(select)) return false
      this.seen.add(summary.traceId)
      return true
    })
    for (let i = 0; i < fresh.length; ) {
      if (work.traces >= sample || work.bytes >= GROUP_BYTES || performance.now() > work.giveUpAt) return false
      const some = fresh.slice(i, i + Math.min(READS_AT_ONCE, sample - work.traces))
      i += some.length
      await this.reads.traces.during(some.length * FOUND_BYTES, async () => {
        const traces = await Promise.all(some.map(({ traceId }) => readFound(this.askStore, traceId)))
        for (const [j, { records, bytes, truncated }] of traces.entries()) {
          const summary = some[j]!
          work.bytes += bytes.length
          if (records.length === 0) {
            // It has expired meanwhile, or its first record is too long.
            if (truncated) work.passedOver = true
            continue
          }
          if (!selected && meets(summary, trace) && (await this.isSelected(records))) continue
          await this.table.add(records, summary.traceId, selected, this.turns)
          work.traces++
          if (truncated) work.truncated++
        }
      })
    }
    return true
  }

  private async isSelected(records: SpanRecord[]): Promise<boolean> {
    const { selected } = this.query
    return (await this.turns.take(matchTrace(records, linksOf(selected), selected))) !== undefined
  }
}

interface Read {
  traces: number
  truncated: number
  complete: boolean
}

interface Work {
  bytes: number
  /** Whether there was a trace of which nothing could be read. */
  passedOver: boolean
  giveUpAt: number
}

/** Returns the queries that find the selected traces; the first finds most of them, if there are two. */
function selectedQueries({ selected, trace }: DifferenceQuery): TimedQuery[] {
  const query = { ...selected }
  if (trace.fromUs !== undefined) query.fromUs = Math.max(query.fromUs!, trace.fromUs - CLOCKS_APART_US)
  if (trace.toUs !== undefined && trace.maxDurationUs !== undefined) {
    // Every span of the trace begins before the trace ends.
    query.toUs = Math.min(query.toUs!, trace.toUs + trace.maxDurationUs + CLOCKS_APART_US)
  }
  if (query.fromUs! > query.toUs!) return []
  const { minDurationUs = 0 } = trace
  // A long trace has a span as long as it, as a rule. The index finds this span, rather than look at every trace.
  return minDurationUs <= (query.minDurationUs ?? 0) ? [query] : [{ ...query, minDurationUs }, query]
}

/** Whether the trace as a whole is one that the selection asks for. */
function meets({ start, duration, error }: TraceSummary, conditions: TraceConditions): boolean {
  const { fromUs = -Infinity, toUs = Infinity, minDurationUs = -Infinity, maxDurationUs = Infinity } = conditions
  if (conditions.error !== undefined && error !== conditions.error) return false
  if ((conditions.fromUs ?? conditions.toUs) !== undefined && !(start !== null && start >= fromUs && start <= toUs)) {
    return false
  }
  if ((conditions.minDurationUs ?? conditions.maxDurationUs) === undefined) return true
  return duration !== null && duration >= minDurationUs && duration <= maxDurationUs
}

function hasConditions({ annotations, ...others }: TimedQuery): boolean {
  return annotations.length > 0 || Object.keys(others).length > 0
}

/** Whether the selection itself asks for the feature: that all selected traces have it is no news. */
function asksFor({ select, trace, selected }: DifferenceQuery, feature: Feature): boolean {
  const { kind, service, name, key } = feature
  switch (kind) {
    case 'service':
      return service === select.service
    case 'name':
      return name === select.name
    case 'error':
      if (service === null && name === null) return (select.error ?? trace.error) !== undefined
      return (
        select.error !== undefined &&
        (service === null || service === selected.service) &&
        (name === null || name === selected.name)
      )
    default:
      // The key's other values, which the selected traces lack, are no news either.
      return conditionsOf(select).some(asked => {
        if (asked.kind === 'annotation') return asked.key === key && asked.match === 'exact'
        return asked.kind === 'number' && asked.key === key
      })
  }
}

function groupOf({ traces, forced, effective }: Weights, { complete, truncated }: Read): ComparedGroup {
  return { traces, complete, forced, truncated, effective }
}
