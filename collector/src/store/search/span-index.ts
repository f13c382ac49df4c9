import type { Comparison } from '../../query'
import type { Match } from '../store'
import type { Place } from './place'

/** An index of the records of all traces. Every store has one. */
export interface SpanIndex {
  /**
   * Traces are listed at the newest of their records with a term that begin in the same 2^windowBits µs (see window.ts); without it,
   * each record is.
   */
  readonly windowBits?: number
  /**
   * Returns about how many records have the term; stops counting at `max`.
   * @param mayGoOn called now and then; throws to abort the search
   */
  count(term: Term, max: number, mayGoOn: () => void): Promise<number>
  /** Returns places of records after `after`, newest first by start and then by trace id; of at most `max` traces, unless it is cheap. */
  places(query: IndexQuery, after: Place | undefined, max: number, mayGoOn: () => void): Promise<Places>
}

/** A condition that the index can find records by. */
export type Term =
  /** Conditions on one record; without any, every record. */
  | { kind: 'half'; name: string | undefined; service: string | undefined; minDurationUs: number | undefined }
  | { kind: 'key'; key: string }
  /** An annotation's value; without a key, of any key. */
  | { kind: 'value'; key: string | undefined; value: string; match: Match }
  /** An annotation's value as a number. */
  | { kind: 'number'; key: string; compare: Comparison; number: number }
  | { kind: 'error' }

/** Every record. */
export const EVERY_RECORD: Term = { kind: 'half', name: undefined, service: undefined, minDurationUs: undefined }

export function isEveryRecord(term: Term): boolean {
  return term.kind === 'half' && (term.name ?? term.service ?? term.minDurationUs) === undefined
}

export interface IndexQuery {
  /** The term of the records to list. Others are listed only if hashes collide. */
  driver: Term
  /** Records whose spans lack one of these terms may be omitted. */
  others: Term[]
  /** Records whose traces lack one of these terms may be omitted. */
  ofTrace: Term[]
  /** Time range of the driver's records, inclusive. */
  fromUs: bigint | undefined
  toUs: bigint | undefined
}

export interface Places {
  /** Every place in order, also the others of a trace; the same place may occur again. */
  places: Place[]
  /** The term whose places they are, if it isn't the driver: the index may list those of a wider one. */
  of?: Term
  /** Where to continue; undefined at the end. Fewer places than asked for don't mean the end. */
  resume: Place | undefined
}
