import type { RawTrace } from '../../record/records'
import type { PassedOn } from '../pass-on'
import type { IndexSettings } from '../search/index-policy'
import type { Backlog, StoreError } from '../store'

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

/** What the thread does: a store's methods, and a few that have another form on their way to it. */
export interface ThreadMethods extends Omit<PassedOn, 'append' | 'readTrace' | 'activity'> {
  /** The messages' bodies in a row, with their lengths and numbers of spans. */
  append(bodies: ArrayBuffer, lengths: number[], spans: number[]): Promise<void>
  readTrace(traceId: bigint, maxBytes: number): Promise<RawTrace>
  activity(fromMinute: number, toMinute: number): Promise<{ minute: number; body: string }[]>
  setIndex(settings: IndexSettings): Promise<void>
  /** Shows that the thread answers. */
  look(): Promise<void>
  close(): Promise<void>
}

export interface Request {
  id: number
  method: keyof ThreadMethods
  args: unknown[]
}

export type Reply =
  | { kind: 'log'; message: string }
  | { kind: 'opened' | 'backlog'; backlog: Backlog }
  | { kind: 'result'; id: number; result: unknown; backlog: Backlog }
  | { kind: 'error'; id: number; error: { code: StoreError['code']; message: string }; backlog: Backlog }
  | { kind: 'refused'; error: { code: StoreError['code']; message: string } }
