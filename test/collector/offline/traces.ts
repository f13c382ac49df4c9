import type { AnalysedTrace, Analysis } from '../../../collector/src/offline/analysis'
import { buildTrace, jointProbability, type Trace, type TraceSpan, weightOf } from '../../../collector/src/trace'
import type { SpanRecord } from '../../../src/codec/span'
import { half, server } from '../trace/records'

/** A call as tests describe it: what it does itself, and which calls it waits for, one after the other. */
export interface Call {
  service?: string
  name: string
  /** In microseconds: before the first call, and after each. */
  ownUs: number[]
  calls?: Call[]
  /** Calls that begin with the first one and end earlier, so that they aren't waited for. */
  beside?: Call[]
}

/** Makes the records of a trace. */
export function recordsOf(call: Call, fields: SpanRecord, startUs = 1_000_000): SpanRecord[] {
  const records: SpanRecord[] = []
  let ids = 1n
  const add = (
    { service = 'shop', name, ownUs, calls = [], beside = [] }: Call,
    from: number,
    parentId?: bigint,
  ): number => {
    const id = ids++
    let to = from
    for (let i = 0; i < Math.max(ownUs.length, calls.length); i++) {
      to += ownUs[i] ?? 0
      if (i === 0) for (const call of beside) add(call, to, id)
      if (calls[i] !== undefined) to = add(calls[i]!, to, id)
    }
    records.push(half(server, id, { service, name, from, to, ...(parentId !== undefined && { parentId }), ...fields }))
    return to
  }
  add(call, startUs)
  return records
}

/** A trace as reduce gives it to the analyses. */
export function analysed(records: SpanRecord[]): AnalysedTrace {
  return ofTree(buildTrace(records), jointProbability(records), records)
}

/** The same of a tree without times but those on the critical path, which is faster: depth, service, name, microseconds. */
export function plain(
  id: number,
  spans: [depth: number, service: string | null, name: string, us: number][],
  { probability = 1 as number | null, startUs = 1_000_000 } = {},
): AnalysedTrace {
  const tree = {
    traceId: id.toString(16).padStart(16, '0'),
    start: startUs,
    spans: spans.map(([depth, service, name, criticalTime]) => {
      return { depth, service, clientService: null, name, criticalTime, start: startUs, orphan: false, cycle: false }
    }),
  }
  return ofTree(tree as Partial<Trace> as Trace, probability, [])
}

function ofTree(tree: Trace, probability: number | null, halves: SpanRecord[]): AnalysedTrace {
  const [top] = tree.spans as [TraceSpan]
  return {
    id: tree.traceId,
    tree,
    probability,
    weight: weightOf(probability),
    root: {
      service: top.service ?? top.clientService,
      name: top.name,
      startUs: top.start ?? tree.start,
      durationUs: tree.spans.reduce((sum, { criticalTime }) => sum + criticalTime, 0),
      isRoot: !top.orphan && !top.cycle,
    },
    isCut: false,
    halves,
    records: Buffer.alloc(0),
  }
}

/** Adds partial results, as JSON has them, to an analysis. */
export function mergeAll(to: Analysis, from: Iterable<[string, unknown]>): void {
  for (const [key, value] of from) to.merge(key, JSON.parse(JSON.stringify(value)))
}

/** The results as lines. */
export function linesOf(analysis: Analysis): string[] {
  return [...analysis.results()].map(line => JSON.stringify(line))
}

/**
 * Divides traces at random, in any order, and adds the parts up in any grouping.
 * @param random from 0 to 1
 */
export function divided<A extends Analysis>(
  make: () => A,
  traces: AnalysedTrace[],
  parts: number,
  random: () => number,
): A {
  let all = Array.from({ length: parts }, make)
  const shuffled = traces.map(trace => ({ trace, at: random() })).sort((a, b) => a.at - b.at)
  for (const { trace } of shuffled) all[Math.floor(random() * parts)]!.add(trace)
  while (all.length > 1) {
    const next: A[] = []
    while (all.length > 0) {
      const to = make()
      const some = all.splice(0, 2 + Math.floor(random() * 2))
      const lines = some.flatMap(part => [...part.partials()]).map(line => ({ line, at: random() }))
      mergeAll(
        to,
        lines.sort((a, b) => a.at - b.at).map(({ line }) => line),
      )
      next.push(to)
    }
    all = next
  }
  return all[0]!
}
