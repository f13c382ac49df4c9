/** A search as people write it: times may be relative to the moment at which it runs. */
export interface Query {
  name?: string
  service?: string
  /** Microseconds, inclusive. */
  minDurationUs?: number
  maxDurationUs?: number
  annotations: AnnotationCondition[]
  error?: boolean
  /** Inclusive. */
  from?: Time
  to?: Time
}

/** How many annotations a search may name: each is a join in MySQL, which has a limit. */
export const MAX_CONDITIONS = 32

/** It has a key, a value, or both. */
export interface AnnotationCondition {
  key?: string
  /** The value of that key, or of any key if none is given. */
  value?: string
  /** How the value is compared; `exact` if there is no value. */
  match: Match
}

export type Match = 'exact' | 'prefix' | 'contains'

/** Microseconds: since the epoch, or before now. */
export type Time = { atUs: number } | { agoUs: number }
