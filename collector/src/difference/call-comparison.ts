import { benjaminiHochberg } from '../false-discovery'
import type { GroupError, GroupMeans, GroupNode } from '../http/answers'
import { CallPaths, errorsOf, type Trace } from '../trace'
import type { Turns } from '../turns'
import { fisherExact, MIN_RANKED as MIN_TRACES, rankSum } from './statistics'

/** Compares the calls of two groups of traces, the fast and the slow ones: which are more, which take longer, which fail. */

export type GroupName = 'fast' | 'slow'

/** Of what is marked as beyond chance, at most this share is there by chance, on average. */
const CHANCE = 0.05
const GROUPS: GroupName[] = ['fast', 'slow']

/** What a trace has of one call path. Microseconds. */
interface Value {
  calls: number
  time: number
  critical: number
  errors: number
}

/** Of one call path, what each trace has that has it at all, by the trace's number in its group. */
type Values = Record<GroupName, Map<number, Value>>

interface ErrorCount {
  service: string | null
  name: string
  type: string | null
  message: string | null
  /** The traces in which it arose. */
  fast: Set<number>
  slow: Set<number>
  exampleFast: GroupError['exampleFast']
  exampleSlow: GroupError['exampleSlow']
}

export class CallComparison {
  private readonly paths = new CallPaths<Values>(() => ({ fast: new Map(), slow: new Map() }))
  private readonly errors = new Map<string, ErrorCount>()
  private readonly traces = { fast: 0, slow: 0 }

  add(trace: Trace, group: GroupName): void {
    const number = this.traces[group]++
    this.paths.lay(trace, (values, span) => {
      let value = values[group].get(number)
      if (value === undefined) values[group].set(number, (value = { calls: 0, time: 0, critical: 0, errors: 0 }))
      value.calls++
      value.time += span.duration ?? 0
      value.critical += span.criticalTime
      if (span.error) value.errors++
    })
    for (const { key, service, span, type, message } of errorsOf(trace)) {
      let error = this.errors.get(key)
      if (error === undefined) {
        const none = { fast: new Set<number>(), slow: new Set<number>(), exampleFast: null, exampleSlow: null }
        this.errors.set(key, (error = { service, name: span.name, type, message, ...none }))
      }
      error[group].add(number)
      error[group === 'fast' ? 'exampleFast' : 'exampleSlow'] ??= { traceId: trace.traceId, spanId: span.spanId }
    }
  }

  /** Returns the calls, depth-first. @param max how many at most: those on which the time differs most, and the calls above them */
  async nodes(max: number, turns: Turns): Promise<{ nodes: GroupNode[]; left: number }> {
    const nodes = this.paths.inOrder().map(({ service, name, depth, value }) => {
      const [fast, slow] = GROUPS.map(group => this.means(value[group], this.traces[group])) as [GroupMeans, GroupMeans]
      return {
        node: {
          ...{ service, name, depth, fast, slow },
          change: {
            calls: slow.calls - fast.calls,
            time: slow.time - fast.time,
            critical: slow.critical - fast.critical,
          },
          beyondChance: { calls: null, time: null },
        } as GroupNode,
        value,
      }
    })
    await this.judge(nodes, turns)
    const kept = most(
      nodes.map(({ node }) => node),
      max,
    )
    return { nodes: kept, left: nodes.length - kept.length }
  }

  /** Returns the errors: those of the slow traces alone come first, those of the fast ones alone next. */
  failures(max: number): GroupError[] {
    const list = [...this.errors.values()]
    const of = this.traces
    const p = list.map(({ fast, slow }) =>
      fisherExact({ selected: slow.size, selectedOf: of.slow, others: fast.size, othersOf: of.fast }),
    )
    const corrected = benjaminiHochberg(p, p.length)
    const rank = ({ fast, slow }: GroupError) => (fast === 0 ? 0 : slow === 0 ? 1 : 2)
    return list
      .map(({ fast, slow, ...error }, i) => ({
        ...error,
        fast: fast.size,
        slow: slow.size,
        beyondChance: corrected[i]! <= CHANCE,
      }))
      .sort((x, y) => rank(x) - rank(y) || y.slow + y.fast - (x.slow + x.fast))
      .slice(0, max)
  }

  private means(values: Map<number, Value>, traces: number): GroupMeans {
    const sum = { calls: 0, time: 0, critical: 0, errors: 0 }
    for (const value of values.values()) {
      sum.calls += value.calls
      sum.time += value.time
      sum.critical += value.critical
      sum.errors += value.errors
    }
    const mean = (n: number) => (traces === 0 ? 0 : n / traces)
    return {
      traces: values.size,
      ...{ calls: mean(sum.calls), time: mean(sum.time), critical: mean(sum.critical), errors: mean(sum.errors) },
    }
  }

  /** Decides which differences are beyond chance, for all calls together. */
  private async judge(nodes: { node: GroupNode; value: Values }[], turns: Turns): Promise<void> {
    const tests: { p: number; node: GroupNode; what: 'calls' | 'time' }[] = []
    const tooFew = this.traces.fast < MIN_TRACES || this.traces.slow < MIN_TRACES
    for (const { node, value } of nodes) {
      if (turns.over()) await turns.next()
      // What hardly a trace has can't be significant, and doesn't make the others' correction stricter.
      if (value.fast.size + value.slow.size < MIN_TRACES) {
        if (!tooFew) node.beyondChance = { calls: false, time: false }
        continue
      }
      for (const what of ['calls', 'time'] as const) {
        const [fast, slow] = GROUPS.map(group =>
          Array.from({ length: this.traces[group] }, (_, i) => value[group].get(i)?.[what] ?? 0),
        ) as [number[], number[]]
        const p = rankSum(fast, slow)
        if (p !== null) tests.push({ p, node, what })
      }
    }
    const corrected = benjaminiHochberg(
      tests.map(({ p }) => p),
      tests.length,
    )
    for (const [i, { node, what }] of tests.entries()) node.beyondChance[what] = corrected[i]! <= CHANCE
  }
}

/** Keeps the nodes whose time differs most, with all that are above them. */
function most(nodes: GroupNode[], max: number): GroupNode[] {
  if (nodes.length <= max) return nodes
  const above = new Int32Array(nodes.length)
  const latest: number[] = []
  for (const [i, { depth }] of nodes.entries()) {
    above[i] = depth === 0 ? -1 : latest[depth - 1]!
    latest[depth] = i
  }
  const order = nodes.map((_, i) => i).sort((i, j) => Math.abs(nodes[j]!.change.time) - Math.abs(nodes[i]!.change.time))
  const kept = new Set<number>()
  for (const i of order) {
    const path: number[] = []
    for (let at = i; at !== -1 && !kept.has(at); at = above[at]!) path.push(at)
    if (kept.size + path.length > max) break
    for (const at of path) kept.add(at)
  }
  return nodes.filter((_, i) => kept.has(i))
}
