import type { LiveSpan } from '../trace/span'

/** The spans that ended lately in this process, of traces that aren't sampled: in fixed memory, where the newest take the oldest's place. */
export interface SpanHistory {
  add(span: LiveSpan): void
  /** Copies what there is of these traces, oldest first. */
  collect(ids: readonly TraceId[], each: (span: LiveSpan) => void): void
  /** The ids of the last n traces that have a span of this name. */
  last(name: string, n: number): TraceId[]
  /** When the oldest span ended, in microseconds since the epoch. */
  readonly beganUs: number
  readonly spans: number
  readonly bytes: number
}

/** The low 64 bits of a trace's id, as signed halves. */
export interface TraceId {
  hi: number
  lo: number
}
