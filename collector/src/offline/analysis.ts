import type { SpanRecord } from 'milo/codec/span'
import type { Trace } from '../trace'

/** A whole trace, as analyses get it. Nothing of it may be changed, and `records` is valid only during add(). */
export interface AnalysedTrace {
  /** 16 hex digits, or 32 if the high half isn't zero. */
  id: string
  /** What the collector's pages show of it, built by the same code. Its annotations are those of KEPT_ANNOTATIONS alone. */
  tree: Omit<Trace, 'totals'>
  /** With what probability it was kept: 0 = forced, null = unknown. */
  probability: number | null
  /** How many traces it stands for: 1/p; 1 if p is unknown, and 0 if it was forced. */
  weight: number
  root: TraceRoot
  /** Whether it has more records than are analysed. */
  isCut: boolean
  /** Its records, as readLean() reads them. */
  halves: readonly SpanRecord[]
  /** The same as they are stored, in a row. None has the same bytes as another. */
  records: Buffer
}

export interface TraceRoot {
  /** Who worked on it or, if only the caller reported, the caller; null if unknown. */
  service: string | null
  name: string
  /** In microseconds since the epoch: the root's, or else that of the trace's first event; null if nothing has a time. */
  startUs: number | null
  /** The sum of all critical times, in microseconds; 0 if nothing has a time. */
  durationUs: number
  /** Whether it has no parent. Otherwise its parent is missing, and so is a part of the trace. */
  isRoot: boolean
}

/**
 * One question to all traces. What it knows after some of them can be written as lines, and added up with those of others in any order and
 * grouping: the results are the same, to the last byte, as if one process had seen all traces. So sums that aren't whole numbers are
 * ExactSums, and what is kept of many is chosen by rules that don't depend on the order.
 */
export interface Analysis {
  add(trace: AnalysedTrace): void
  /** What it knows. A key may be any text, and may come several times; a value is anything that JSON holds. */
  partials(): Iterable<[key: string, value: unknown]>
  /** Adds what partials() gave. @throws if it isn't that */
  merge(key: string, value: unknown): void
  /** The results as plain data, each with a `kind`. They don't depend on the order of traces or partials. */
  results(): Iterable<object>
}
