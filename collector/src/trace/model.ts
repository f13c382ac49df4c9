/**
 * A trace as people read it: its half-spans are merged, and its tree is a flat list. These types are also the JSON of
 * `GET /api/traces/{id}`, so every field is plain data: ids are lower-case hex, and 64-bit counters are decimal strings.
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
  /** The clocks that the times come from: hosts by name, then services. */
  clocks: Clock[]
  totals: { services: ServiceTotals[]; names: NameTotals[] }
  /** True when the trace has more spans than the limit for reading one trace allows. */
  truncated?: boolean
  /** Present when the trace was kept after the fact. */
  kept?: KeptTrace
  /**
   * The spans depth-first: parents come before children, and siblings are ordered by start. With `depth`, this is the tree:
   * the descendants of spans[i] are the deeper spans right after it.
   */
  spans: TraceSpan[]
}

/** A trace that wasn't sampled: a process kept it, and asked all others for what they had of it. */
export interface KeptTrace {
  /** Empty if nobody knows who asked for it. */
  reasons: KeptReason[]
  /** What processes had forgotten of their own, the halves of calls that aren't there, and why; 1,000 at most. */
  missing: MissingHalf[]
  /** How many there are. */
  missingCount: number
  /** How many spans services have left out because of their limits: those that had ended first. */
  leftOut: LeftOut[]
}

export interface LeftOut {
  service: string | null
  spans: number
}

export interface KeptReason {
  /** error, slow, lateral, requested, or the application's word. */
  reason: string
  /** The span whose process kept the trace. `spanId` is null if that span isn't there; `name` is empty too if a person asked for the trace by its id. */
  service: string | null
  name: string
  spanId: string | null
  /** Who asked for the trace by its id: the user, or null if nobody had to say. Absent for what a process has kept. */
  by?: string | null
}

export interface MissingHalf {
  /** The span whose server half is missing, the caller's span, which another one names as its parent, or the one below which spans may be missing. */
  spanId: string
  /** The span of the trace at which it shows: the client's half, the one that names the missing parent, or the one that has lost spans. */
  shownAt: string
  /** The half that is missing, and what is known of its process. `inner`: spans that ended in that process before its history began, if there were any. */
  side: 'server' | 'client' | 'inner'
  service: string | null
  host: string | null
  /**
   * no_history: no process with a history is known there; overwritten: its history began later; ended: it went away before it had
   * sent it, and hasn't come back; unsent: it was there, so its limits were reached, this hadn't ended, or its spans are still on their
   * way; unknown: it may come back, several may have been it, or its history isn't known to have gone back to it or not.
   */
  why: 'no_history' | 'overwritten' | 'ended' | 'unsent' | 'unknown'
  /** The same as a sentence, with times. */
  detail: string
}

/** A host's clock, or a service's if its host is unknown or has a name that every host has, such as localhost. */
export interface Clock {
  host: string | null
  service: string | null
  /**
   * How far this clock is ahead of the root's, in microseconds, as estimated from the calls. All times of this clock have been
   * corrected: they are the reported times minus this.
   */
  skewUs: number
  /** The number of calls to or from other clocks that agree with this skew. */
  pairs: number
}

/** Times are in microseconds. */
export interface Totals {
  /** The number of spans. */
  count: number
  errors: number
  /** The sum of all durations; calls that run side by side count in full. */
  total: number
  max: number
  self: number
  /** The time on the critical path. */
  critical: number
}

/**
 * Totals of the spans that a service worked on, or that it called if nobody else reported them. `service` is null if neither
 * is known.
 */
export interface ServiceTotals extends Totals {
  service: string | null
  /** The number of spans of which the service reported at least a half. */
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
  /** The server half's name, or the client half's if the server gave none; empty if neither gave one. */
  name: string
  /** The halves that were reported: both (`rpc`), one, or neither (`local`: work within one process). */
  kind: SpanKind
  /**
   * The service that did the work: the server half's, or the reporter of a local span. A service that reports no half itself
   * (a database, a broker) has the name by which the caller calls it. Null when unknown.
   */
  service: string | null
  /**
   * The service that called: the client half's, or the caller that the server names. The broker is `service` where a message
   * is sent to it, and `clientService` where a message comes from it.
   */
  clientService: string | null
  clientHost: string | null
  /** The server half's host or, if no half has it, the one that the caller says it calls (server.address). */
  serverHost: string | null
  /**
   * Microseconds since the epoch: the client half's start, or the server half's if there is no client half. This time and all
   * others are corrected by the skew of the clock that took them.
   */
  start: number | null
  /**
   * The longer half's duration, in microseconds. As a rule that is the client's, which includes the network, but a client that
   * doesn't wait (one-way, timed out) ends first. It isn't the time from the first event to the last: two clocks are involved.
   */
  duration: number | null
  clientStart: number | null
  clientDuration: number | null
  serverStart: number | null
  serverDuration: number | null
  /**
   * The annotations of all reports. If two differ, the server half's is here (but see OUTCOME in merge.ts), the other in
   * `conflicts`.
   */
  annotations: Record<string, string>
  /**
   * The counters of all reports, merged like annotations. They are decimal strings, since an i64 doesn't fit into a number.
   */
  counters: Record<string, string>
  /** What the application recorded, by time. */
  events: TraceEvent[]
  /** The probability with which the trace was kept: 0 = forced, null = unknown. */
  probability: number | null
  error: boolean
  /** 0 for a root. */
  depth: number
  /** True if the span names a parent that isn't in the trace. */
  orphan: boolean
  /** True if the span's parents form a circle, which has been cut here, at its earliest span. */
  cycle: boolean
  /** The values in reports that differ from the fields above. */
  conflicts: Conflict[]
  /** All reports of a side that reported more than once (retries, replays), by start. It is empty as a rule. */
  repeats: Report[]
  /** The duration without the time in which children ran; null without a duration. */
  selfTime: number | null
  /** The part of the first root's duration that this span took itself, rather than a child that it waited for. */
  criticalTime: number
  /**
   * The time that a call took beyond the server's work: network and queues. It is null if the client didn't wait for the
   * server, or a half is missing. If client and server are separate spans, the client's span has it.
   */
  networkTime: number | null
  /** The times as reported. They are absent if no clock of the span was skewed. */
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
  /** What OpenTelemetry's spans say about an event, such as exception.message; absent if they say nothing. All values are text. */
  attributes?: Record<string, string>
}

export interface Conflict {
  field: 'name' | 'parentId' | 'annotation' | 'counter'
  /** The annotation's or counter's key; null for other fields. */
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
  /** The root's name. */
  name: string
  /** The service that worked on the root or, if only the caller reported, the caller; null if unknown. */
  service: string | null
  /** The services that reported, without duplicates and sorted. */
  services: string[]
  /** For each of `services`, the number of spans of which it reported at least a half. */
  serviceSpans: number[]
  spanCount: number
  /** True if any span ended in an error. */
  error: boolean
  errorCount: number
  /** Where an error arose first: in a failed span with no failed one below it; null if no span failed. */
  failure: SummaryFailure | null
  /** The probability with which the trace was kept: 0 = forced, null = unknown. */
  probability: number | null
  /** Why it was kept after the fact: empty if it was asked for, and its spans don't say by whom. Absent if it was sampled. */
  kept?: string[]
  /**
   * True if the trace was too long to be read as a whole. All of the above describes a part then, so the numbers are lower
   * bounds.
   */
  truncated?: boolean
}

export interface SummaryFailure {
  /** The error's class, code or status; null if the span doesn't say. */
  type: string | null
  /** What it says besides, or the first 300 characters of that. */
  message: string | null
  /** The span's service (the caller, if only that is known) and name. */
  service: string | null
  name: string
  spanId: string
}

export const NO_PARENT = '0000000000000000'
