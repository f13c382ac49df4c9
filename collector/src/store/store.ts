import type { AnnotationCondition, Match } from '../query'
import type { StoredTrace } from '../record/records'
import type { TraceSummary } from '../trace/model'
import type { ActivityMinute } from './activity/activity'
import type { IndexSettings } from './search/index-policy'

/**
 * A place that keeps spans, for whoever opens and closes it; everything else asks for the part that it uses.
 */
export interface Store extends SpanSink, TraceReader, SpanSearch, SavedSearches, ActivityReader, StoreLifecycle {}

/**
 * Takes spans in. The unit of writing is the message, as a sender sent it: whole and already validated. A store never takes
 * spans one by one, so that it can journal messages first and regroup them later (pipeline/pipeline.ts).
 */
export interface SpanSink {
  /**
   * Resolves when every record of every message is durable; only then is the sender answered OK. The records can be read at
   * once, and searched for within a second. Rejects when a write fails, or when too much waits already: the sender is
   * answered TRY_LATER and sends again, so a record that was written twice must be read once.
   */
  append(messages: Message[]): Promise<void>
  /** What is accepted, and so durable, but not yet where searches and later reads find it. */
  backlog(): Backlog
}

export interface TraceReader {
  /**
   * Every record of a trace, byte-identical ones once, in the order of arrival as far as it is known.
   * @param maxBytes how much of the trace is read at most; TRACE_BYTES by default
   */
  readTrace(traceId: bigint, maxBytes?: number): Promise<StoredTrace>
}

export interface SpanSearch {
  /** Summaries of the traces that match, newest first. */
  search(query: SearchQuery): Promise<SearchPage>
  /** Words that can be searched for, to complete what somebody types: sorted, distinct. */
  complete(query: CompletionQuery): Promise<string[]>
  /**
   * Says which annotations are indexed from now on, and so can be searched for. What is indexed already stays as it is: under
   * a key that is newly allowed it isn't found.
   */
  setIndex(settings: IndexSettings): void
}

export interface SavedSearches {
  savedSearches(): Promise<SavedSearch[]>
  /** Creates the search, or replaces the one with the same id. */
  saveSearch(search: SavedSearch): Promise<void>
  /** @returns whether there was one */
  deleteSearch(id: string): Promise<boolean>
}

export interface ActivityReader {
  /** What services did in the minutes between two times (microseconds since the epoch), oldest first. */
  activity(fromUs: number, toUs: number): Promise<ActivityMinute[]>
}

export interface StoreLifecycle {
  /** Rejects, with the reason, unless what is stored can be read and more can be written. */
  check(): Promise<void>
  /** The reason why it will never work again in this process, if there is one: then only a restart helps. */
  dead(): string | undefined
  /** Finishes what was accepted, then releases files and connections. */
  close(): Promise<void>
}

/** What can be asked about spans that were stored. */
export type ReadableStore = TraceReader & SpanSearch & SavedSearches & ActivityReader

export interface Message {
  /** Nothing but good records, concatenated: i32 0x8badf00d, i32 length, struct with a trace id and a span id. */
  body: Buffer
  /** How many. */
  spans: number
}

export interface Backlog {
  spans: number
  bytes: number
  /** Of what was settled by this process: records with a string that isn't UTF-8. They are kept as they came. */
  notUtf8: number
  /** By this process: records that were accepted and that a database refuses for good. They are kept, with the reason. */
  putAside: number
  /** How long the attempt to settle that is under way has taken; 0 when none is. */
  settlingMs: number
}

export const NO_BACKLOG: Readonly<Backlog> = { spans: 0, bytes: 0, notUtf8: 0, putAside: 0, settlingMs: 0 }

/** How much of a trace is read unless somebody says otherwise: some 200,000 spans. */
export const TRACE_BYTES = 64 * 1024 * 1024

/**
 * All conditions must hold on one and the same span; none: every trace. Name, service and minimal duration are those of
 * one half; annotations and the error may stand on either.
 */
export interface SearchQuery {
  /** Exactly. */
  name?: string
  /** The service that reported the half; exactly. */
  service?: string
  /** Microseconds, inclusive. */
  minDurationUs?: number
  /** Microseconds, inclusive; of the span's longest half. */
  maxDurationUs?: number
  annotations: AnnotationCondition[]
  /** Whether the span ended in an error. */
  error?: boolean
  /** The span's start, as trees have it; microseconds since the epoch, inclusive. */
  fromUs?: number
  toUs?: number
  limit: number
  /** Go on behind the page whose `next` this was, of the same query. */
  after?: string
}

export type { AnnotationCondition, Match }

export interface SearchPage {
  /** May be fewer than the limit, even none, before the last page: a page is also full when enough work went into it. */
  traces: TraceSummary[]
  /** Undefined on the last page. */
  next?: string
}

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
  /** What to search for, in the words of the web interface's address. */
  query: string
  createdUs: number
}

/**
 * What a store says when it can't do as asked: a sentence with the remedy, for the operator. It carries neither the
 * driver's error nor anything else that could hold a password or somebody's data.
 */
export class StoreError extends Error {
  readonly code: StoreErrorCode
  constructor(code: StoreErrorCode, message: string) {
    super(message)
    this.name = 'StoreError'
    this.code = code
  }
}

/** @param where file or server */
export function unavailable(where: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error
  // Node leaves the message empty when it has tried several addresses.
  const { message, code } = error as { message?: string; code?: string }
  return new StoreError('MILO_STORE_UNAVAILABLE', `${where}: ${message || code || error}`)
}

/** Refuses to read from a relay, which keeps nothing that could be read. */
export function storedElsewhere(): StoreError {
  return new StoreError(
    'MILO_STORE_ELSEWHERE',
    'store: scribe keeps nothing that could be read: ask the collectors that it forwards to',
  )
}

export type StoreErrorCode =
  /** Somebody else has the file. */
  | 'MILO_STORE_LOCKED'
  /** The schema is older or newer than this program wants. */
  | 'MILO_STORE_SCHEMA'
  /** File or database can't be reached, read or written now. */
  | 'MILO_STORE_UNAVAILABLE'
  /** A database won't have this data as it is, now or later. */
  | 'MILO_STORE_REFUSED'
  /** More is accepted already than could be settled: wait. */
  | 'MILO_STORE_BUSY'
  /** The quarantine has no such record. */
  | 'MILO_NOT_QUARANTINED'
  /** A search's `after` is none of that query's. */
  | 'MILO_BAD_CURSOR'
  /** A search asks for what the index leaves out. */
  | 'MILO_NOT_INDEXED'
  /** A search was given up: it would keep others waiting. */
  | 'MILO_SEARCH_TOO_LONG'
  /** A relay keeps nothing that could be read. */
  | 'MILO_STORE_ELSEWHERE'
  /** close() has been called. */
  | 'MILO_STORE_CLOSED'
