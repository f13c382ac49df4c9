import type { Change, Changed, ChangesAnswer, Range } from '../../http/answers'
import { Counter } from '../../store/activity/counter'
import * as estimates from '../../store/activity/estimates'
import { exemplarsOf, figuresOf, millionths, rounded, tenths, whole } from '../../store/activity/figures'
import { OTHER, type RowKind } from '../../store/activity/model'
import type { ActivityEntry } from '../../store/activity/read'
import { edgeKey, edgeOf, operationKey, operationOf } from '../../store/activity/rows'
import { Turns } from '../../turns'
import { originsOf, type Subject } from './origins'
import { queryOf } from './services'
import { edgeIn, kindsOfEdges, type ReadActivity, sumBusiestOfAll } from './sums'

/** Two times compared: which operations and edges changed beyond chance, and what that costs. */

/** How many operations, and how many edges, are compared; how many changes are listed. */
const MAX_COMPARED = 2_000
const MAX_CHANGES = 500

/**
 * Compares what a service, or all services did in two times. Calls that a service makes are compared as edges, which know both
 * operations, rather than as operations of the client's side.
 */
export async function changes(
  read: ReadActivity,
  times: { before: Range; after: Range },
  service?: string,
): Promise<ChangesAnswer> {
  const { before, after } = times
  const { subjects, leftOut } = await subjectsOf(read, times, service)
  const turns = new Turns()
  const comparing = estimates.comparing(
    subjects.map(subject => ({ ...subject, beforeUs: before.to - before.from, afterUs: after.to - after.from })),
  )
  const comparisons = await turns.take(comparing)
  // Where nothing was known before, all is new: that says nothing about where it comes from.
  const isKnown = subjects.some(subject => !subject.before.isNothing())
  const origins = isKnown ? originsOf(subjects, comparisons) : new Set<Subject>()
  const seconds = (after.to - after.from) / 1e6
  const found = subjects
    .map((subject, i) => ({ subject, comparison: comparisons[i]!, seconds }))
    .filter(({ comparison: { rate, errorShare, mean, p95 } }) =>
      [rate, errorShare, mean, p95].some(change => change?.beyondChance),
    )
  const rank = new Map(found.map(one => [one, rankOf(one, origins.has(one.subject))]))
  found.sort((a, b) => compareRanks(rank.get(a)!, rank.get(b)!))
  const listed: Change[] = []
  for (const one of found.slice(0, MAX_CHANGES)) {
    listed.push(changeOf(one, origins.has(one.subject)))
    if (turns.over()) await turns.next()
  }
  return {
    before,
    after,
    compared: subjects.length,
    changed: found.length,
    ...((leftOut > 0 || found.length > listed.length) && { truncated: true }),
    changes: listed,
  }
}

/** Origins of what costs most come first, then what costs most, then what changed in its rate alone. */
function rankOf(found: Found, isOrigin: boolean): number[] {
  const { secondsPerSecond, errorsPerSecond } = costOf(found)
  const cost = secondsPerSecond + errorsPerSecond
  return [isOrigin && cost > 0 ? 1 : 0, cost, Math.abs(found.comparison.rate.change.value)]
}

function compareRanks(a: number[], b: number[]): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return b[i]! - a[i]!
  return 0
}

/** Adds up the busiest operations and edges of both times together, so that none seems new because the other time had busier ones. */
async function subjectsOf(read: ReadActivity, { before, after }: { before: Range; after: Range }, service?: string) {
  const sums = (kinds: RowKind[], keyOf: (entry: ActivityEntry) => string | undefined) => {
    const queries = [before, after].map(range => ({ ...queryOf(range, service), kinds }))
    return sumBusiestOfAll(read, queries, { keyOf, max: MAX_COMPARED })
  }
  const operations = await sums(['operations'], ({ key }) => (operationOf(key).side === 'client' ? undefined : key))
  const edges = await sums(kindsOfEdges(service), entry => edgeIn(entry, service) && entry.key)
  const subjects: Subject[] = []
  for (const { key, ...counters } of inBoth(operations.counters, otherOperationOf)) {
    subjects.push({ kind: 'operation', operation: operationOf(key), ...counters })
  }
  for (const { key, ...counters } of inBoth(edges.counters, otherEdgeOf)) {
    subjects.push({ kind: 'edge', edge: edgeOf(key), ...counters })
  }
  return { subjects, leftOut: operations.leftOut + edges.leftOut }
}

/** What has its name in one time only may be among the others in the other: it can't be compared then. */
function inBoth([before, after]: Map<string, Counter>[], otherOf: (key: string) => string[]) {
  return [...new Set([...before!.keys(), ...after!.keys()])].flatMap(key => {
    const others = otherOf(key)
    const isOther = others.includes(key)
    const isHidden = (counters: Map<string, Counter>) => !counters.has(key) && others.some(other => counters.has(other))
    if (isOther || isHidden(before!) || isHidden(after!)) return []
    return [{ key, before: before!.get(key) ?? new Counter(), after: after!.get(key) ?? new Counter() }]
  })
}

function otherOperationOf(key: string): string[] {
  const { service, side } = operationOf(key)
  return [service, OTHER].map(service => operationKey({ service, name: OTHER, side }))
}

function otherEdgeOf(key: string): string[] {
  const { caller, callee } = edgeOf(key)
  const names = { callerName: OTHER, calleeName: OTHER }
  return [
    { caller, callee, ...names },
    { caller, callee: OTHER, ...names },
    { caller: OTHER, callee, ...names },
    { caller: OTHER, callee: OTHER, ...names },
  ].map(edgeKey)
}

/** What a change costs: time, and errors, of which each counts as a second. Of these only what is beyond chance. */
function costOf({ subject: { kind, before, after }, comparison, seconds }: Found) {
  const { mean, errorShare, extraUsPerSecond, extraErrorsPerSecond } = comparison
  // Nobody waited for a call that wasn't made before.
  if (kind === 'edge' && before.isNothing()) {
    return { secondsPerSecond: after.durations.sum / 1e6 / seconds, errorsPerSecond: after.errors / seconds }
  }
  return {
    secondsPerSecond: mean?.beyondChance ? extraUsPerSecond.value / 1e6 : 0,
    errorsPerSecond: errorShare?.beyondChance ? extraErrorsPerSecond.value : 0,
  }
}

interface Found {
  subject: Subject
  comparison: estimates.Comparison
  /** The length of the time after. */
  seconds: number
}

function changeOf(found: Found, isOrigin: boolean): Change {
  const { subject, comparison } = found
  const { before, after } = subject
  const { rate, errorShare, mean, p95 } = comparison
  const { secondsPerSecond, errorsPerSecond } = costOf(found)
  const figures = {
    before: figuresOf(before),
    after: figuresOf(after),
    changes: {
      rate: changed(rate, millionths),
      errorShare: changed(errorShare, millionths),
      mean: changed(mean, tenths),
      p95: changed(p95, whole),
    },
    cost: { secondsPerSecond: millionths(secondsPerSecond), errorsPerSecond: millionths(errorsPerSecond) },
    ...(before.isNothing() && { isNew: true as const }),
    ...(after.isNothing() && { isGone: true as const }),
    ...(isOrigin && { origin: true as const }),
    exemplars: exemplarsOf(after.isNothing() ? before : after),
  }
  if (subject.kind === 'operation') return { kind: 'operation', ...subject.operation, ...figures }
  const { caller: from, callerName: fromName, callee: to, calleeName: toName } = subject.edge
  return { kind: 'edge', from, fromName, to, toName, ...figures }
}

function changed(of: estimates.Changed | undefined, round: (n: number) => number): Changed | null {
  return of === undefined ? null : { change: rounded(of.change, round), beyondChance: of.beyondChance }
}
