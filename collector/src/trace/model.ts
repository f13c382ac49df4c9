/**
 * A trace as people read it: half-spans merged, the tree laid out flat. These types are also the JSON of
 * `GET /api/traces/{id}`, so every field is plain data: ids are lower-case hex, 64-bit counters decimal strings.
 */
export interface Trace {
  /** 16 hex digits, or 32 when the high half isn't zero. */
  traceId: string
  /** The earliest time of any span, in microseconds since the epoch; null when no span has one. */
  start: number | null
  /** The time from the earliest event to the latest, in microseconds. */
  duration: number | null
  /** The services that reported, without duplicates and sorted. */
  services: string[]
  /** The clocks by which the times were taken: hosts by name, then services. */
  clocks: Clock[]
  totals: { services: ServiceTotals[]; names: NameTotals[] }
  /** True when the trace has more spans than are read of one. */
  truncated?: boolean
  /**
   * Depth-first, parents before children, siblings by start. With `depth`, that is the tree: the descendants of spans[i]
   * are the spans right after it that are deeper.
   */
  spans: TraceSpan[]
}

/** A host's; or a service's, where its host is unknown or has a name that every host has, such as localhost. */
export interface Clock {
  host: string | null
  service: string | null
  /**
   * How far it is ahead of the root's, as estimated from the calls. All times of this clock have been corrected by it: what is
   * given is what was reported less this.
   */
  skewUs: number
  /** The number of calls to or from other clocks that agree with this skew. */
  pairs: number
}

/** Microseconds, but for the counts. */
export interface Totals {
  /** Spans. */
  count: number
  errors: number
  /** The sum of all durations; calls that run side by side count in full. */
  total: number
  max: number
  self: number
  /** On the critical path. */
  critical: number
}

/** Totals of the spans that a service worked on, or that it called where no other reported; null: spans without either. */
export interface ServiceTotals extends Totals {
  service: string | null
  /** Spans of which it reported a half or more. */
  reported: number
}

export interface NameTotals extends Totals {
  service: string | null
  name: string
}

export interface TraceSpan {
  /** 16 hex digits. */
  spanId: string
  /** 16 hex digits; all zero for a root. */
  parentId: string
  /** The server half's, or the client half's when the server gave none; empty when neither gave one. */
  name: string
  /** Which halves were reported: both (`rpc`), one, or neither (`local`: work within one process). */
  kind: SpanKind
  /**
   * The service that did the work: the server half's, or the reporter of a local span. A service that reports no half itself (a
   * database, a broker) has the name by which the caller calls it. Null when unknown.
   */
  service: string | null
  /** The service that called: the client half's, or the caller that the server names. A message goes to the broker, or comes from it. */
  clientService: string | null
  clientHost: string | null
  serverHost: string | null
  /**
   * Microseconds since the epoch: the client half's, or the server half's without one. This time and all others are corrected
   * by the skew of the clock that took them.
   */
  start: number | null
  /**
   * Microseconds: the longer half's. As a rule that is the client's, which holds the network too, but a client that doesn't
   * wait (one-way, timed out) ends first. Not from the first event to the last: two clocks are involved.
   */
  duration: number | null
  clientStart: number | null
  clientDuration: number | null
  serverStart: number | null
  serverDuration: number | null
  /** The annotations of all reports. Where two differ, the server half's is here (but see OUTCOME in merge.ts), and the other in `conflicts`. */
  annotations: Record<string, string>
  /** As annotations; decimal strings, since an i64 doesn't fit into a number. */
  counters: Record<string, string>
  /** What the application recorded, by time. */
  events: TraceEvent[]
  /** The probability with which the trace was kept: 0 = forced, null = unknown. */
  probability: number | null
  error: boolean
  /** 0 for a root. */
  depth: number
  /** It names a parent that isn't in the trace. */
  orphan: boolean
  /** Its parents form a circle, which has been cut here, at its earliest span. */
  cycle: boolean
  /** What a report says otherwise than the fields above. */
  conflicts: Conflict[]
  /** Every report of a side that reported more than once (retries, replays), by start. Empty as a rule. */
  repeats: Report[]
  /** What is left of the duration without the time in which children ran; null without a duration. */
  selfTime: number | null
  /** How much of the first root's duration this span took itself, rather than a child that it waited for. */
  criticalTime: number
  /**
   * Of a call, what it took beyond the server's work: network and queues. Null when the client didn't wait for the server, or a
   * half is missing. Where client and server are spans of their own, the client's has it.
   */
  networkTime: number | null
  /** The times as reported; absent from a span that no skewed clock had a part in. */
  rawStart?: number | null
  rawClientStart?: number | null
  rawServerStart?: number | null
}

export type SpanKind = 'rpc' | 'client' | 'server' | 'local'

/** The side of a call that a record reports. */
export type Side = 'client' | 'server' | 'local'

export interface TraceEvent {
  time: number | null
  /** As reported, if that was by a skewed clock. */
  rawTime?: number
  value: string
  side: Side
}

export interface Conflict {
  field: 'name' | 'parentId' | 'annotation' | 'counter'
  /** The annotation's or counter's; null for the others. */
  key: string | null
  value: string
  side: Side
}

export interface Report {
  side: Side
  service: string | null
  host: string | null
  start: number | null
  duration: number | null
  /** As reported, if that was by a skewed clock. */
  rawStart?: number
}

export interface TraceSummary {
  traceId: string
  start: number | null
  duration: number | null
  /** The root's. */
  name: string
  /** The service that worked on the root or, if only the caller reported, the caller; null if unknown. */
  service: string | null
  /** The services that reported, without duplicates and sorted. */
  services: string[]
  /** How many spans each of them reported a half of. */
  serviceSpans: number[]
  spanCount: number
  /** Whether any span ended in an error. */
  error: boolean
  errorCount: number
  /** True when the trace was too long to be read for this: all of the above is of a part, and so at least what it says. */
  truncated?: boolean
}

export const NO_PARENT = '0000000000000000'
