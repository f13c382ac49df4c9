import { type MessagePort, parentPort } from 'node:worker_threads'
import type { RawTrace } from '../../record/records'
import type { ActivityQuery, ActivityRead, Row } from '../activity/model'
import type { PassedOn } from '../pass-on'
import { closedError } from '../pipeline/group-commit'
import type { IndexSettings } from '../search/index-policy'
import { type Backlog, type HourSource, type StoreError, unavailable } from '../store'
import type { PartOfHour } from './hours'

/** What the store and its two threads say to each other. */

export interface EmbeddedOptions {
  path: string
  /** The collector's name. */
  collector?: string
  /** How long a message is kept at least. */
  retentionDays?: number | undefined
  /** How long figures of services are kept, by the hour. */
  activityDays?: number | undefined
  index?: IndexSettings | undefined
  /** What may be accepted and not indexed yet: more is refused. */
  maxBacklogSpans?: number | undefined
  maxBacklogBytes?: number | undefined
  /** How long what was accepted may wait until it is indexed, so that much is indexed together. */
  settleMs?: number
  /** How often the threads are asked whether they are alive. */
  lookMs?: number
}

export interface ThreadData {
  role: 'writer' | 'reader'
  options: EmbeddedOptions
  /** On which the reader asks the writer for what isn't indexed yet: PendingRequest and PendingReply. */
  pending: MessagePort
}

export interface PendingRequest {
  id: number
  traceId: bigint
  maxBytes: number
}

export interface PendingReply {
  id: number
  bytes: Uint8Array
  truncated: boolean
}

/** Bodies of rows and deltas on their way between threads: one after the other, to be handed over as one. */
interface PackedActivity {
  bytes: Uint8Array
  rows: (Omit<Row, 'body'> & { length: number })[]
  deltas: { seq: bigint; length: number }[]
  moreDeltas: boolean
  from: number
  to: number
}

export function packActivity({ rows, deltas, ...rest }: ActivityRead): PackedActivity {
  const bodies = [...rows.map(({ body }) => body), ...deltas.map(({ delta }) => delta)]
  const bytes = new Uint8Array(bodies.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const body of bodies) {
    bytes.set(body, at)
    at += body.length
  }
  return {
    ...rest,
    bytes,
    rows: rows.map(({ body, ...id }) => ({ ...id, length: body.length })),
    deltas: deltas.map(({ seq, delta }) => ({ seq, length: delta.length })),
  }
}

export function unpackActivity({ bytes, rows, deltas, ...rest }: PackedActivity): ActivityRead {
  let at = bytes.byteOffset
  const take = (length: number) => {
    at += length
    return Buffer.from(bytes.buffer, at - length, length)
  }
  return {
    ...rest,
    rows: rows.map(({ length, ...id }) => ({ ...id, body: take(length) })),
    deltas: deltas.map(({ seq, length }) => ({ seq, delta: take(length) })),
  }
}

interface AnyThread {
  /** Resolves when the file is open. */
  open(): Promise<void>
  setIndex(settings: IndexSettings): Promise<void>
  /** Shows that the thread answers. */
  look(): Promise<void>
  close(): Promise<void>
}

/** What the threads do: a store's methods, and a few that have another form on their way there. */
export interface WriterMethods extends AnyThread, Pick<PassedOn, 'saveSearch' | 'deleteSearch' | 'check'> {
  /** The messages' bodies in a row, with their lengths and numbers of spans. */
  append(bodies: ArrayBuffer, lengths: number[], spans: number[]): Promise<void>
}

export interface ReaderMethods extends AnyThread, Pick<PassedOn, 'search' | 'complete' | 'savedSearches'> {
  readTrace(traceId: bigint, maxBytes: number): Promise<RawTrace>
  activity(query: ActivityQuery): Promise<PackedActivity>
  completeHours(): Promise<Omit<HourSource, 'collector'>>
  /** @see readPartOfHour */
  partOfHour(hourUs: number, after: bigint | undefined): Promise<PartOfHour>
}

export interface Request {
  id: number
  method: string
  args: unknown[]
}

export type Reply =
  | { kind: 'log'; message: string }
  | { kind: 'backlog'; backlog: Backlog }
  | { kind: 'result'; id: number; result: unknown; backlog: Backlog | undefined }
  | {
      kind: 'error'
      id: number
      error: { code: StoreError['code']; message: string }
      backlog: Backlog | undefined
    }

/** Methods whose answer has `bytes`, in memory of its own. */
const WITH_BYTES = ['readTrace', 'activity', 'partOfHour']

/** Answers what the store asks this thread, until it has been closed. */
export function serve(path: string, methods: object, backlog: () => Backlog | undefined = () => undefined): void {
  const port = parentPort!
  let closing: Promise<void> | undefined
  const answer = async ({ id, method, args }: Request) => {
    try {
      if (closing !== undefined && method !== 'close') throw closedError()
      const result = (methods as Record<string, (...args: unknown[]) => Promise<unknown>>)[method]!(...args)
      if (method === 'close') closing = result as Promise<void>
      const answer = await result
      // Bytes are handed over.
      const transfer = WITH_BYTES.includes(method)
        ? [(answer as { bytes: Uint8Array }).bytes.buffer as ArrayBuffer]
        : []
      post({ kind: 'result', id, result: answer, backlog: backlog() }, transfer)
    } catch (error) {
      post({ kind: 'error', id, error: told(path, error), backlog: backlog() })
    }
    if (method === 'close') port.close()
  }
  port.on('message', (request: Request) => void answer(request))
}

export function post(reply: Reply, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(reply, transfer)
}

export function told(path: string, error: unknown): { code: StoreError['code']; message: string } {
  // Neither SQLite's nor ours: a mistake, which somebody has to find.
  if (!/^(MILO|SQLITE)_/.test(String((error as { code?: unknown }).code))) {
    post({ kind: 'log', message: String((error as Error).stack) })
  }
  const { code, message } = unavailable(path, error)
  return { code, message }
}
