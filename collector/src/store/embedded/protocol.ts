import type { IndexSettings } from '../search/index-policy'
import type { Backlog, CompletionQuery, SavedSearch, SearchQuery, StoreError } from '../store'

/** What the store and the thread that has its file say to each other. */

export interface EmbeddedOptions {
  path: string
  /** How long a message is kept at least. */
  retentionDays?: number | undefined
  index?: IndexSettings | undefined
  /** What may be accepted and not indexed yet: more is refused. */
  maxBacklogSpans?: number | undefined
  maxBacklogBytes?: number | undefined
  /** How long what was accepted may wait until it is indexed, so that much is indexed together. */
  settleMs?: number
  /** How often the thread is asked whether it is alive. */
  lookMs?: number
}

export type Request = { id: number } & Call

export type Call =
  | { method: 'append'; bodies: ArrayBuffer; lengths: number[]; spans: number[] }
  | { method: 'readTrace'; traceId: bigint; maxBytes: number }
  | { method: 'search'; query: SearchQuery }
  | { method: 'complete'; query: CompletionQuery }
  | { method: 'activity'; fromMinute: number; toMinute: number }
  | { method: 'setIndex'; settings: IndexSettings }
  | { method: 'savedSearches' | 'check' | 'look' | 'close' }
  | { method: 'saveSearch'; search: SavedSearch }
  | { method: 'deleteSearch'; searchId: string }

export type Reply =
  | { kind: 'log'; message: string }
  | { kind: 'opened' | 'backlog'; backlog: Backlog }
  | { kind: 'result'; id: number; result: unknown; backlog: Backlog }
  | { kind: 'error'; id: number; error: { code: StoreError['code']; message: string }; backlog: Backlog }
  | { kind: 'refused'; error: { code: StoreError['code']; message: string } }
