import { CallPaths } from './call-paths'
import { errorsOf } from './failure'
import type { Totals, Trace } from './model'
import { addSpan, nothing } from './totals'

/** The comparison of two traces, call by call. */
export interface TraceDiff {
  /**
   * The nodes depth-first, siblings in the order in which they began in either trace; with `depth` a tree, like a trace's
   * spans.
   */
  nodes: DiffNode[]
}

/** All spans with the same service and name, below spans that form one node themselves. */
export interface DiffNode {
  service: string | null
  name: string
  depth: number
  /** Null if the trace has no such span. */
  a: Totals | null
  b: Totals | null
  /** How many more spans b has. */
  countChange: number
  /** How much longer b's spans take in total, in microseconds. */
  totalChange: number
  selfChange: number
  /** How much more of b's duration was spent on these spans themselves. Those of all nodes add up to how much longer b's first root took. */
  criticalChange: number
}

/** An error that arose in one of two traces, or in both. */
export interface DiffError {
  service: string | null
  /** Of the span in which it arose. */
  name: string
  type: string | null
  message: string | null
  /** How often it arose, with another number or id in its message, too. */
  a: number
  b: number
  /** One of the spans in which it arose. */
  spanA: string | null
  spanB: string | null
}

/**
 * Compares two traces by their structure: spans correspond if the services and names on the path from the root to them are the
 * same.
 */
export function diffTraces(a: Trace, b: Trace): TraceDiff {
  const paths = new CallPaths<Pick<DiffNode, 'a' | 'b'>>(() => ({ a: null, b: null }))
  for (const [which, trace] of [
    ['a', a],
    ['b', b],
  ] as const) {
    paths.lay(trace, (node, span) => {
      let totals = node[which]
      if (totals === null) node[which] = totals = nothing()
      addSpan(totals, span)
    })
  }
  const nodes = paths.inOrder().map(({ service, name, depth, value }) => {
    const left = value.a ?? nothing()
    const right = value.b ?? nothing()
    return {
      service,
      name,
      depth,
      ...value,
      countChange: right.count - left.count,
      totalChange: right.total - left.total,
      selfChange: right.self - left.self,
      criticalChange: right.critical - left.critical,
    }
  })
  return { nodes }
}

/** Compares the errors of two traces: those that only one of them has come first, b's before a's. */
export function diffErrors(a: Trace, b: Trace): DiffError[] {
  const errors = new Map<string, DiffError>()
  for (const [which, trace] of [
    ['a', a],
    ['b', b],
  ] as const) {
    for (const { key, service, span, type, message } of errorsOf(trace)) {
      let error = errors.get(key)
      if (error === undefined) {
        error = { service, name: span.name, type, message, a: 0, b: 0, spanA: null, spanB: null }
        errors.set(key, error)
      }
      error[which]++
      error[which === 'a' ? 'spanA' : 'spanB'] ??= span.spanId
    }
  }
  const rank = (error: DiffError) => (error.a === 0 ? 0 : error.b === 0 ? 1 : 2)
  return [...errors.values()].sort((x, y) => rank(x) - rank(y))
}
