import type { SpanRecord } from '../../../src/codec/span'

/**
 * What the collector asks of a place to keep spans.
 *
 * The unit of writing is the message, as a sender sent it: whole, already validated, decoded once by ingest. A store
 * never sees spans one by one, so that it can journal messages first and regroup later.
 */
export interface Store {
  /**
   * Resolves when every record of every message is durable: only then is the sender told OK. Readable at once,
   * searchable within a second. Rejects when it can't be: the sender is told TRY_LATER and sends again, so that a
   * record that was written twice must come out once.
   */
  append(messages: Message[]): Promise<void>
  /** Every record of a trace, byte-identical ones once, in the order of `compare` on their bytes' arrival if known. */
  readTrace(traceId: bigint): Promise<StoredRecord[]>
  /** Ids of the traces that match, newest first. */
  search(query: SearchQuery): Promise<SearchPage>
  /** Rejects, with the reason, unless what is stored can be read and more can be written. */
  check(): Promise<void>
  /** Finishes what was accepted, then lets go. */
  close(): Promise<void>
}

export interface Message {
  /** Nothing but good records, concatenated: i32 0x8badf00d, i32 length, struct. */
  body: Buffer
  /** The same, decoded, in order; `start` and `end` delimit the record (header included) within `body`. */
  records: MessageRecord[]
}

export interface MessageRecord {
  start: number
  end: number
  /** Has a trace id and a span id. */
  record: SpanRecord & { traceId: bigint; id: bigint }
}

export interface StoredRecord {
  record: SpanRecord
  /** The Span struct's bytes, exactly as they came. */
  bytes: Buffer
}

/** All that are given must hold on one and the same span. All absent: every trace. */
export interface SearchQuery {
  /** The span's name, exactly. */
  name?: string
  /** An annotation's key, exactly. */
  key?: string
  /** An annotation's value, exactly; of `key` when that is given, of any otherwise. */
  value?: string
  limit: number
  /** Go on after this trace: `next` of the page before. */
  before?: Cursor
}

/** A place in the order newest first: by start (microseconds), then by id. */
export interface Cursor {
  startUs: bigint
  traceId: bigint
}

export interface SearchPage {
  /** May be fewer than the limit, even none, before the last page: a page is also full when enough work went into it. */
  traces: Cursor[]
  /** Undefined on the last page. */
  next?: Cursor
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

export type StoreErrorCode =
  /** Somebody else has the file. */
  | 'MILO_STORE_LOCKED'
  /** The schema is older or newer than this program wants. */
  | 'MILO_STORE_SCHEMA'
  /** File or database can't be reached, read or written now. */
  | 'MILO_STORE_UNAVAILABLE'
  /** close() has been called. */
  | 'MILO_STORE_CLOSED'
