import type { Counter } from '../../store/activity/counter'
import type { Changed, Comparison } from '../../store/activity/estimates'
import type { EdgeKey, OperationKey } from '../../store/activity/model'

/**
 * Where a regression begins. What is slow makes its callers slow, and theirs, so many operations and edges change with one; likewise
 * with errors. Of the time that an operation takes more than before
 *
 *     Δ = own time + Σ over its calls of others
 *
 * it isn't the origin if half of it or more is in calls that take longer themselves. An edge isn't the origin if the operation that
 * is called takes longer whoever calls it; but if it does so for one of several callers alone, the edge is rather than the operation.
 */

/** An operation or an edge, and what was counted of it. */
export type Subject = ({ kind: 'operation'; operation: OperationKey } | { kind: 'edge'; edge: EdgeKey }) & {
  before: Counter
  after: Counter
}

/** The share of an operation's change that its calls must have to explain it. */
const EXPLAINS = 0.5
/** Other callers have this share of the calls at least, and see less than this share of the change: then one edge has it. */
const OTHERS_CALLS = 0.1
const OTHERS_CHANGE = 0.25

/** What may become worse: the sum of it over all calls, and its change. */
interface Measure {
  sum(counter: Counter): number
  change(comparison: Comparison): Changed | undefined
}

const MEASURES: Measure[] = [
  { sum: ({ durations }) => durations.sum, change: ({ mean }) => mean },
  { sum: ({ errors }) => errors, change: ({ errorShare }) => errorShare },
]

/** @param comparisons in the order of the subjects */
export function originsOf(subjects: Subject[], comparisons: Comparison[]): Set<Subject> {
  const found = new Set<Subject>()
  for (const measure of MEASURES) for (const subject of originsBy(measure, subjects, comparisons)) found.add(subject)
  return found
}

function originsBy({ sum, change }: Measure, subjects: Subject[], comparisons: Comparison[]): Subject[] {
  const grown = new Set(subjects.filter((subject, i) => isWorse(subject, change(comparisons[i]!))))
  if (grown.size === 0) return []
  const calls = subjects.filter(isEdge)
  const callsOf = groupBy(calls, ({ edge }) => nameOf(edge.caller, edge.callerName))
  const callersOf = groupBy(calls, ({ edge }) => nameOf(edge.callee, edge.calleeName))
  const servers = new Map<string, Subject>()
  for (const subject of subjects) {
    if (subject.kind !== 'operation' || subject.operation.side !== 'server') continue
    servers.set(nameOf(subject.operation.service, subject.operation.name), subject)
  }
  const servicesWithWorseCalls = new Set(calls.filter(edge => grown.has(edge)).map(({ edge }) => edge.caller))

  return [...grown].filter(subject => {
    if (subject.kind === 'edge') {
      const called = servers.get(nameOf(subject.edge.callee, subject.edge.calleeName))
      if (called === undefined || !grown.has(called)) return true
      if (isExplained(called)) return false
      const one = oneCallerOf(called)
      if (one !== undefined) return one === subject
      return growth(called) < EXPLAINS * growth(subject)
    }
    const { service, side } = subject.operation
    // Which operation a step within a service belongs to isn't known: any of the service's calls may explain it.
    if (side === 'local' && subject.after.roots * 2 < subject.after.calls) return !servicesWithWorseCalls.has(service)
    return !isExplained(subject) && oneCallerOf(subject) === undefined
  })

  /** How much more there is of it in a call. */
  function growth({ before, after }: Subject): number {
    return perCall(sum(after), after) - perCall(sum(before), before)
  }

  function isExplained(subject: Subject): boolean {
    let explained = 0
    for (const edge of callsOf.get(operationNameOf(subject)) ?? []) {
      if (!grown.has(edge)) continue
      explained += perCall(sum(edge.after), subject.after) - perCall(sum(edge.before), subject.before)
    }
    return explained >= EXPLAINS * growth(subject)
  }

  /** The only edge by which an operation that several call is worse than before. */
  function oneCallerOf(subject: Subject): Subject | undefined {
    const edges = callersOf.get(operationNameOf(subject)) ?? []
    const cost = (edge: Subject) => growth(edge) * edge.after.calls
    const [worst, ...others] = [...edges].sort((a, b) => cost(b) - cost(a))
    if (worst === undefined || !grown.has(worst)) return undefined
    const othersCalls = others.reduce((sum, { after }) => sum + after.calls, 0)
    if (othersCalls < OTHERS_CALLS * (othersCalls + worst.after.calls)) return undefined
    const othersGrowth = others.reduce((sum, edge) => sum + cost(edge), 0) / othersCalls
    return othersGrowth < OTHERS_CHANGE * growth(worst) ? worst : undefined
  }
}

/** A call that wasn't made before takes all of its time more. */
function isWorse({ kind, before, after }: Subject, changed: Changed | undefined): boolean {
  if (kind === 'edge' && before.isNothing()) return !after.isNothing()
  return changed?.beyondChance === true && changed.change.value > 0
}

function isEdge(subject: Subject): subject is Extract<Subject, { kind: 'edge' }> {
  return subject.kind === 'edge'
}

function operationNameOf(subject: Subject): string {
  return subject.kind === 'operation' ? nameOf(subject.operation.service, subject.operation.name) : ''
}

function nameOf(service: EdgeKey['caller'], name: string): string {
  return `${service}\0${name}`
}

function perCall(sum: number, { calls }: Counter): number {
  return calls > 0 ? sum / calls : 0
}

function groupBy<V>(values: V[], keyOf: (value: V) => string): Map<string, V[]> {
  const groups = new Map<string, V[]>()
  for (const value of values) {
    const group = groups.get(keyOf(value))
    if (group === undefined) groups.set(keyOf(value), [value])
    else group.push(value)
  }
  return groups
}
