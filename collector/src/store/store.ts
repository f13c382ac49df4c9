import type { Above, AnnotationCondition, Match, Where } from '../query'
import type { StoredTrace } from '../record/records'
import type { TraceSummary } from '../trace/model'
import { type ActivityQuery, type ActivityRead, type MeterStats, NO_STATS } from './activity/model'
import type { Analyses } from './analysis/model'
import type { Keeps } from './keeps'
import type { IndexSettings } from './search/index-policy'

/** A store with all its parts, for the code that opens and closes it. Other code depends only on the parts that it uses. */
export interface Store
  extends SpanSink,
    TraceReader,
    SpanSearch,
    SavedSearches,
    ActivityReader,
    HourReader,
    Analyses,
    Keeps,
    StoreLifecycle {}

/**
 * Accepts spans. The unit of writing is the message, as a sender sent it: whole and already validated. A store never accepts
 * spans one by one, so that it can journal messages first and regroup them later (pipeline/pipeline.ts).
 */
export interface SpanSink {
  /**
   * Resolves when every record of every message is durable; only then does the sender get OK. The records can be read at
   * once, and found by a search within a second. Rejects if a write fails or the backlog is full: the sender gets TRY_LATER
   * and sends again, so a record that was written twice must be read once.
   */
  append(messages: Message[]): Promise<void>
  /** Returns what is accepted, and so durable, but not settled yet. */
  backlog(): Backlog
}

export interface TraceReader {
  /**
   * Returns every record of a trace, byte-identical ones once, in order of arrival as far as that is known.
   * @param maxBytes how much of the trace to read at most; TRACE_BYTES by default
   */
  readTrace(traceId: bigint, maxBytes?: number): Promise<StoredTrace>
}

export interface SpanSearch {
  /** Returns summaries of the matching traces, newest first. */
  search(query: SearchQuery): Promise<SearchPage>
  /** Returns words that can be searched for, sorted and distinct, to complete what a user types. */
  complete(query: CompletionQuery): Promise<string[]>
  /**
   * Sets which annotations are indexed from now on, and so can be searched for. Earlier spans aren't indexed again: a search
   * for a newly allowed key doesn't find them.
   */
  setIndex(settings: IndexSettings): void
}

export interface SavedSearches {
  savedSearches(): Promise<SavedSearch[]>
  /** Creates the search, or replaces the one with the same id. */
  saveSearch(search: SavedSearch): Promise<void>
  /** @returns whether the search existed */
  deleteSearch(id: string): Promise<boolean>
}

export interface ActivityReader {
  /** Returns what services did, or as much of it as fits into memory: ask by activity/read.ts, which asks for the rest. */
  activity(query: ActivityQuery): Promise<ActivityRead>
}

/** Reads what was accepted, by the hour, for analyses elsewhere (docs/offline.md). */
export interface HourReader {
  /** Returns the collectors whose spans are stored, in a fixed order. */
  hourSources(): Promise<HourSource[]>
  /**
   * Reads what a collector accepted in an hour, in a fixed order. Pages are made as they are asked for; damaged rows are left out and
   * named.
   * @param collector a source's
   * @param hourUs when the hour begins, by the collector's clock of acceptance
   */
  readHour(collector: string, hourUs: number): Promise<AsyncIterable<HourPage>>
}

/** A collector whose spans can be read by the hour. Times are microseconds since the epoch. */
export interface HourSource {
  /** Its collector_id. */
  collector: string
  /** Everything that was accepted from this time on … */
  fromUs: number
  /** … and before this one is stored, and nothing can be added to it. */
  toUs: number
}

export interface HourPage {
  /** Whole lines, as record/trace-lines.ts has them; of a few MiB at most. */
  lines: Buffer
  /** How many records the lines have, as far as it is known. */
  records: number
  /** What is left out because it isn't what was written: where it is, and what is wrong with it. */
  damaged: string[]
  /** How far reading has come, in microseconds since the epoch. */
  reachedUs: number
}

export interface StoreLifecycle {
  /** Rejects with the reason unless the store can be read and written. */
  check(): Promise<void>
  /** Returns the reason if the store can't recover in this process, so that only a restart helps. */
  dead(): string | undefined
  /** Settles what was accepted, then releases files and connections. */
  close(): Promise<void>
}

/** The part of a store that the API asks. */
export type ReadableStore = TraceReader & SpanSearch & SavedSearches & ActivityReader & HourReader & Analyses & Keeps

export interface Message {
  /** Valid records, concatenated: i32 0x8badf00d, i32 length, struct with a trace id and a span id. */
  body: Buffer
  /** The number of records. */
  spans: number
}

export interface Backlog {
  spans: number
  bytes: number
  /** How many records with a string that isn't UTF-8 this process has settled. They are stored unchanged. */
  notUtf8: number
  /** How many accepted records this process has put aside because a database refuses them for good. They are kept with the reason. */
  putAside: number
  /** How long the current attempt to settle has taken, in milliseconds; 0 if there is none. */
  settlingMs: number
  /** What this process has counted of what services did, and how many settlings aren't added up yet. */
  activity: MeterStats & { unfolded: number }
}

export const NO_BACKLOG: Readonly<Backlog> = {
  spans: 0,
  bytes: 0,
  notUtf8: 0,
  putAside: 0,
  settlingMs: 0,
  activity: { ...NO_STATS, unfolded: 0 },
}

/** How much of a trace is read by default: some 200,000 spans. */
export const TRACE_BYTES = 64 * 1024 * 1024

/**
 * Conditions that one span must meet together. Without conditions, every trace matches. Name, service and minimal duration
 * apply to one half; annotations and the error may be on either half.
 */
export interface SearchQuery {
  /** The exact name. */
  name?: string
  /** The exact name of the service that reported the half. */
  service?: string
  /** Microseconds, inclusive. */
  minDurationUs?: number
  /** Microseconds, inclusive; applies to the span's longest half. */
  maxDurationUs?: number
  annotations: AnnotationCondition[]
  /** Whether the span ended in an error. */
  error?: boolean
  /** What the fields can't express. */
  where?: Where
  /** What is above the span, whenever that began. */
  above?: Above
  /** Range of the span's start as in the trace's tree; microseconds since the epoch, inclusive. */
  fromUs?: number
  toUs?: number
  /** Saves the reads beyond the range for spans whose halves' clocks are apart: such a span may be missed at the range's ends. */
  clocksAgree?: true
  limit: number
  /** The `next` of the previous page of the same query. */
  after?: string
}

export type { AnnotationCondition, Match }

export interface SearchPage {
  /** May have fewer traces than the limit, even none, before the last page: a page also ends after a certain amount of work. */
  traces: TraceSummary[]
  /**
   * For each trace, when its earliest span that matches began; Infinity if that has no time, undefined for a trace that is too long to be
   * matched.
   */
  matchedUs: (number | undefined)[]
  /** Undefined on the last page. */
  next?: string
  /** With `next`: every trace with a span that matches after this time is on this page or an earlier one. */
  reachedUs?: number
  /** How many traces were read for this page. */
  read: number
  cost: SearchCost
}

/**
 * What finding the traces cost: `index` if the index knows a condition of each alternative; `key` if every trace with a certain
 * annotation is read; `all` if every trace of the time range is.
 */
export type SearchCost = 'index' | 'key' | 'all'

export interface CompletionQuery {
  field: 'name' | 'service' | 'key' | 'value'
  /** The key whose values are completed. */
  key?: string
  prefix: string
  limit: number
}

export interface SavedSearch {
  id: string
  name: string
  /** The query string of the web interface's address. */
  query: string
  createdUs: number
}

/**
 * An error of a store. The message is a sentence with the remedy, for the operator. It contains neither the driver's error nor
 * anything else that could hold a password or user data.
 */
export class StoreError extends Error {
  readonly code: StoreErrorCode
  constructor(code: StoreErrorCode, message: string) {
    super(message)
    this.name = 'StoreError'
    this.code = code
  }
}

/** Makes a StoreError from any error. @param where the file or server */
export function unavailable(where: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error
  // Node leaves the message empty when it has tried several addresses.
  const { message, code } = error as { message?: string; code?: string }
  return new StoreError('MILO_STORE_UNAVAILABLE', `${where}: ${message || code || error}`)
}

/** Makes the error for reads from a relay, which stores nothing. */
export function storedElsewhere(): StoreError {
  return new StoreError(
    'MILO_STORE_ELSEWHERE',
    'store: scribe stores nothing that could be read: ask the collectors that it forwards to',
  )
}

export type StoreErrorCode =
  /** Another process uses the file. */
  | 'MILO_STORE_LOCKED'
  /** The schema is older or newer than this program requires. */
  | 'MILO_STORE_SCHEMA'
  /** File or database can't be reached, read or written now. */
  | 'MILO_STORE_UNAVAILABLE'
  /** A database refuses this data, now and later. */
  | 'MILO_STORE_REFUSED'
  /** What is stored can't be read: it isn't what was written. */
  | 'MILO_STORE_DAMAGED'
  /** The backlog is full: try later. */
  | 'MILO_STORE_BUSY'
  /** The quarantine has no such record. */
  | 'MILO_NOT_QUARANTINED'
  /** The search's `after` doesn't belong to its query. */
  | 'MILO_BAD_CURSOR'
  /** The search needs an annotation that isn't indexed. */
  | 'MILO_NOT_INDEXED'
  /** The search was aborted because it took too long. */
  | 'MILO_SEARCH_TOO_LONG'
  /** A relay stores nothing that could be read. */
  | 'MILO_STORE_ELSEWHERE'
  /** close() has been called. */
  | 'MILO_STORE_CLOSED'
