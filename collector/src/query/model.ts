/** A search as people write it. Times may be relative to the moment at which it runs. */
export interface Query {
  name?: string
  service?: string
  /** Microseconds, inclusive. */
  minDurationUs?: number
  maxDurationUs?: number
  annotations: AnnotationCondition[]
  error?: boolean
  /** Both times are inclusive. */
  from?: Time
  to?: Time
}

/** The most annotations that a search may name. Each is a join in MySQL, which has a limit. */
export const MAX_CONDITIONS = 32

/** A condition has a key, a value, or both. */
export interface AnnotationCondition {
  key?: string
  /** The value of that key, or of any key if `key` is undefined. */
  value?: string
  /** The way to compare the value; `exact` if there is no value. */
  match: Match
}

export type Match = 'exact' | 'prefix' | 'contains'

/** Microseconds since the epoch, or microseconds before now. */
export type Time = { atUs: number } | { agoUs: number }
