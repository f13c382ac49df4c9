import type { TraceDiff, TraceSummary } from '../trace'

/**
 * The JSON of the API's answers: the routes return these types and the web interface reads them. docs/http-api.md describes
 * them. Times are microseconds since the epoch and durations microseconds; null means unknown. trace/model.ts and trace/diff.ts
 * have the answers about single traces.
 */

/** Any error. */
export interface ErrorAnswer {
  /** A sentence, with the remedy. It may change. */
  error: string
  /** Such as MILO_BAD_QUERY. It stays the same. */
  code: string
}

/** GET /api/search */
export interface SearchAnswer {
  traces: TraceSummary[]
  /** The value of `before` for the next page. */
  next: string | null
}

/** GET /api/complete */
export interface CompletionAnswer {
  values: string[]
}

/** GET /api/saved-searches */
export interface SavedSearchesAnswer {
  searches: SavedSearchAnswer[]
}

/** A named search, which all users of the collector share. */
export interface SavedSearchAnswer {
  id: string
  name: string
  /** The query string of the web interface's address. */
  query: string
  created: number
}

/** The time range of an answer. */
export interface Range {
  from: number
  to: number
}

/** Counts are scaled by the sampling probability. */
export interface Figures {
  spans: number
  errors: number
  p50: number | null
  p95: number | null
  p99: number | null
}

/** GET /api/services */
export interface ServicesAnswer extends Range {
  /** The length of one step of a series. */
  step: number
  /** True if there are more services or names: the answer has the busiest. */
  truncated?: true
  services: ServiceFigures[]
}

export interface ServiceFigures extends Figures {
  service: string
  names: ({ name: string } & Figures)[]
  /** Steps without spans are left out. */
  series: ({ time: number } & Figures)[]
}

/** GET /api/dependencies */
export interface DependenciesAnswer extends Range {
  /** True if there are more pairs: the answer has those with the most calls. */
  truncated?: true
  edges: Dependency[]
}

export interface Dependency extends Omit<Figures, 'spans'> {
  /** The caller. */
  from: string
  to: string
  calls: number
}

/** POST /api/traces */
export interface UploadAnswer {
  traceIds: string[]
  /** The number of spans that are stored. */
  spans: number
  rejected: number
  /** Why spans were rejected; absent if none was. */
  reasons?: RejectedSpans[]
  /** Fields that spans were stored without; absent if there are none. */
  leftOut?: { format: string; field: string; reason: string; count: number }[]
}

export interface RejectedSpans {
  reason: string
  spans: number
  /** What is wrong with the first of them. */
  message: string
}

/** GET /api/compare */
export interface CompareAnswer extends TraceDiff {
  a: ComparedTrace
  b: ComparedTrace
}

export interface ComparedTrace {
  traceId: string
  start: number | null
  duration: number | null
  spanCount: number
  /** True if only a part of the trace was read. */
  truncated?: true
}
