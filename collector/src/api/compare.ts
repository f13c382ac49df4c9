import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { CallComparison, type GroupName } from '../difference/call-comparison'
import type { AlikeAnswer, CompareGroupsAnswer, RootOperation, TraceGroup } from '../http/answers'
import type { SearchQuery, SpanSearch, TraceReader } from '../store/store'
import { buildTraceInSlices, summarize, type TraceSpan, type TraceSummary } from '../trace'
import type { Turns } from '../turns'
import type { AskStore } from './ask-store'
import { type GroupsQuery, readGroups, readParameters, refusal } from './parameters'
import type { Reads } from './read-budget'
import { StoredTraces } from './stored-traces'
import { clientTurns } from './survey/client-turns'
import { FOUND_BYTES, readFound } from './survey/found-trace'
import { pagesByTurns, partsOf, searchWithin } from './survey/parts'
import { evenly } from './survey/totals'

/**
 * What a trace can be compared with, and the comparison of fast and slow traces. GET /api/compare, of two traces, is in traces.ts.
 */

/** How many of a quarter's traces are compared. */
const MAX_COMPARED = 20
const MIN_COMPARED = 5
const MAX_NODES = 500
const MAX_ERRORS = 100
const MAX_OPERATIONS = 20
const MAX_PAGE = 100
/** The comparison goes on with what it has when it has read for so long. */
const DEADLINE_MS = 10_000

/** Traces are looked for this long before and after a trace, and among the newest. */
const AROUND_US = 3600e6
const NEAR_LIMIT = 100
const MAX_CHOICES = 5

const ALIKE = z.strictObject({ trace: z.string(refusal('give the id of a trace')) })

type ComparedStore = SpanSearch & TraceReader

export function compareRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<ComparedStore>): void {
  const search = searchWithin(reads, askStore)
  const traces = new StoredTraces(reads, askStore)
  const traceBytes = Math.min(FOUND_BYTES, reads.maxTraceBytes)

  app.get('/api/compare/alike', async (request, reply): Promise<AlikeAnswer> => {
    const { trace: id } = readParameters(ALIKE, request.query)
    const turns = clientTurns(reply)
    const { trace, root } = await reads.traces.during(FOUND_BYTES, async () => {
      const { records } = await traces.find(id, traceBytes)
      const trace = await buildTraceInSlices(records, () => turns.next())
      return { trace: summarize(trace), root: trace.spans[0] }
    })
    const found = new Map<string, TraceSummary>()
    for (const query of root === undefined ? [] : alikeQueries(root, trace.start)) {
      for (const other of (await search(query)).traces) {
        if (other.traceId !== trace.traceId && beginsAlike(other, trace)) found.set(other.traceId, other)
      }
      await turns.next()
    }
    return { trace, ...choicesOf([...found.values()]) }
  })

  app.get('/api/compare/groups', async (request, reply): Promise<CompareGroupsAnswer> => {
    const query = readGroups(request.query, Date.now() * 1000)
    return reads.differences.during(1, async () => {
      const turns = clientTurns(reply)
      const giveUpAt = performance.now() + DEADLINE_MS
      const sample = await readSample(query, giveUpAt, turns)
      return compareQuarters(query, sample, giveUpAt, turns)
    })
  })

  /** Reads summaries from all parts of the time range by turns, so that the sample isn't of its end alone. */
  async function readSample({ base, sample }: GroupsQuery, giveUpAt: number, turns: Turns): Promise<Sample> {
    const parts = partsOf({ fromUs: base.fromUs!, toUs: base.toUs! })
    const limit = Math.min(MAX_PAGE, Math.ceil(sample / parts.length))
    const found = new Map<string, TraceSummary>()
    const limitOf = () => (found.size >= sample || performance.now() > giveUpAt ? 0 : limit)
    for await (const { page } of pagesByTurns(search, base, parts, limitOf, turns)) {
      for (const trace of page.traces) if (found.size < sample) found.set(trace.traceId, trace)
    }
    return {
      traces: [...found.values()],
      complete: parts.every(({ after }) => after === undefined) && found.size < sample,
    }
  }

  async function compareQuarters(
    { fromUs, toUs, root }: GroupsQuery,
    { traces, complete }: Sample,
    giveUpAt: number,
    turns: Turns,
  ): Promise<CompareGroupsAnswer> {
    const operations = rootsOf(traces)
    const operation =
      root === undefined
        ? (operations[0] ?? null)
        : (operations.find(({ service, name }) => (service ?? '') === root.service && name === root.name) ?? null)
    const timed = traces
      .filter(trace => operation !== null && beginsAlike(trace, operation) && trace.duration !== null)
      .sort((a, b) => a.duration! - b.duration!)
    // A quarter, but of few traces more, so that there is something to tell from chance.
    const size = Math.max(Math.floor(timed.length / 4), Math.min(MIN_COMPARED, Math.floor(timed.length / 2)))
    const comparison = new CallComparison()
    const groups = { fast: timed.slice(0, size), slow: timed.slice(timed.length - size) }
    const compared = { fast: [] as TraceSummary[], slow: [] as TraceSummary[] }
    const truncated = { fast: 0, slow: 0 }
    const chosen = { fast: evenly(groups.fast, MAX_COMPARED), slow: evenly(groups.slow, MAX_COMPARED) }
    // By turns, so that a comparison that is given up has some of both.
    for (let i = 0; i < Math.max(chosen.fast.length, chosen.slow.length); i++) {
      for (const group of ['fast', 'slow'] as const) {
        const summary = chosen[group][i]
        if (summary === undefined || performance.now() > giveUpAt) continue
        const isCut = await addTrace(comparison, summary, group, turns)
        if (isCut === undefined) continue
        compared[group].push(summary)
        if (isCut) truncated[group]++
      }
    }
    const answerOf = (group: GroupName): TraceGroup => ({
      traces: compared[group].length,
      of: groups[group].length,
      min: groups[group][0]?.duration ?? null,
      max: groups[group].at(-1)?.duration ?? null,
      truncated: truncated[group],
      examples: compared[group]
        .slice(0, MAX_CHOICES)
        .map(({ traceId, duration }) => ({ traceId, duration: duration! })),
    })
    return {
      ...{ from: fromUs, to: toUs, operation, operations: operations.slice(0, MAX_OPERATIONS), complete },
      ...{ fast: answerOf('fast'), slow: answerOf('slow') },
      ...(await comparison.nodes(MAX_NODES, turns)),
      errors: comparison.failures(MAX_ERRORS),
    }
  }

  /** @returns whether only a part of it was read; undefined if it has expired meanwhile */
  async function addTrace(comparison: CallComparison, { traceId }: TraceSummary, group: GroupName, turns: Turns) {
    return reads.traces.during(FOUND_BYTES, async () => {
      const { records, truncated } = await readFound(askStore, traceId, traceBytes)
      if (records.length === 0) return undefined
      comparison.add(await buildTraceInSlices(records, () => turns.next()), group)
      await turns.next()
      return truncated
    })
  }
}

interface Sample {
  traces: TraceSummary[]
  complete: boolean
}

/** Returns searches for traces with the root's operation: around a time, and the newest. */
function alikeQueries(root: TraceSpan, start: number | null): SearchQuery[] {
  // Who reported the root: a service that is only called, such as a database, is in no index.
  const service = root.kind === 'client' ? root.clientService : root.service
  const query: SearchQuery = {
    ...(root.name !== '' && { name: root.name }),
    ...(service !== null && { service }),
    annotations: [],
    limit: NEAR_LIMIT,
  }
  const around = start === null ? [] : [{ ...query, fromUs: start - AROUND_US, toUs: start + AROUND_US }]
  return [...around, query]
}

function beginsAlike(
  a: { service: string | null; name: string },
  b: { service: string | null; name: string },
): boolean {
  return a.name === b.name && a.service === b.service
}

function choicesOf(others: TraceSummary[]): Omit<AlikeAnswer, 'trace'> {
  const timed = others.filter(({ duration }) => duration !== null).sort((a, b) => a.duration! - b.duration!)
  const good = timed.filter(({ error, truncated }) => !error && !truncated)
  // A forced trace was kept because someone wanted that one, so that it says little about the others.
  const typicalOf =
    [good.filter(({ probability }) => probability !== 0), good, timed].find(some => some.length > 0) ?? []
  return {
    found: others.length,
    typical: typicalOf[(typicalOf.length - 1) >> 1] ?? null,
    fastest: timed.slice(0, MAX_CHOICES),
    slowest: timed.slice(-MAX_CHOICES).reverse(),
    newest: [...others].sort((a, b) => (b.start ?? 0) - (a.start ?? 0)).slice(0, MAX_CHOICES),
  }
}

/** Counts what the traces begin with, the most frequent first. */
function rootsOf(traces: TraceSummary[]): RootOperation[] {
  const roots = new Map<string, RootOperation>()
  for (const { service, name } of traces) {
    const key = JSON.stringify([service, name])
    const root = roots.get(key)
    if (root === undefined) roots.set(key, { service, name, traces: 1 })
    else root.traces++
  }
  return [...roots.values()].sort((a, b) => b.traces - a.traces)
}
