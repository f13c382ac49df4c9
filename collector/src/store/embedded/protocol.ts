import { type MessagePort, parentPort } from 'node:worker_threads'
import type { RawTrace } from '../../record/records'
import type { ActivityQuery, ActivityRead, Row } from '../activity/model'
import type { AnalysisQuery, AnalysisRead, Load } from '../analysis/model'
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
  /** How long results of offline analyses are kept. */
  analysisDays?: number | undefined
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

/** Buffers on their way between threads: one after the other, to be handed over as one. */
interface Packed<T> {
  bytes: Uint8Array
  lengths: number[]
  rest: T
}

type PackedActivity = Packed<
  Omit<ActivityRead, 'rows' | 'deltas'> & { rows: Omit<Row, 'body'>[]; deltas: { seq: bigint }[] }
>

export function packActivity({ rows, deltas, ...read }: ActivityRead): PackedActivity {
  const rest = { ...read, rows: rows.map(({ body, ...id }) => id), deltas: deltas.map(({ seq }) => ({ seq })) }
  return pack([...rows.map(({ body }) => body), ...deltas.map(({ delta }) => delta)], rest)
}

export function unpackActivity({ rest: { rows, deltas, ...read }, ...packed }: PackedActivity): ActivityRead {
  const bodies = unpack(packed)
  return {
    ...read,
    rows: rows.map((id, i) => ({ ...id, body: bodies[i]! })),
    deltas: deltas.map(({ seq }, i) => ({ seq, delta: bodies[rows.length + i]! })),
  }
}

export type PackedLoad = Packed<Omit<Load, 'pieces'> & { pieces: Omit<Load['pieces'][number], 'body'>[] }>
export type PackedAnalysis = Packed<Omit<AnalysisRead, 'bodies'>>

export function packLoad({ pieces, ...load }: Load): PackedLoad {
  const rest = { ...load, pieces: pieces.map(({ body, ...piece }) => piece) }
  return pack(
    pieces.map(({ body }) => body),
    rest,
  )
}

export function unpackLoad({ rest: { pieces, ...load }, ...packed }: PackedLoad): Load {
  const bodies = unpack(packed)
  return { ...load, pieces: pieces.map((piece, i) => ({ ...piece, body: bodies[i]! })) }
}

export function packAnalysis({ bodies, ...rest }: AnalysisRead): PackedAnalysis {
  return pack(bodies, rest)
}

export function unpackAnalysis({ rest, ...packed }: PackedAnalysis): AnalysisRead {
  return { ...rest, bodies: unpack(packed) }
}

function pack<T>(buffers: Buffer[], rest: T): Packed<T> {
  const lengths = buffers.map(({ length }) => length)
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0))
  let at = 0
  for (const buffer of buffers) {
    bytes.set(buffer, at)
    at += buffer.length
  }
  return { bytes, lengths, rest }
}

function unpack({ bytes, lengths }: Omit<Packed<unknown>, 'rest'>): Buffer[] {
  let at = bytes.byteOffset
  return lengths.map(length => {
    at += length
    return Buffer.from(bytes.buffer, at - length, length)
  })
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
export interface WriterMethods
  extends AnyThread,
    Pick<PassedOn, 'saveSearch' | 'deleteSearch' | 'deleteAnalysis' | 'addKeeps' | 'saveRings' | 'check'> {
  /** The messages' bodies in a row, with their lengths and numbers of spans. */
  append(bodies: ArrayBuffer, lengths: number[], spans: number[]): Promise<void>
  saveAnalysis(load: PackedLoad): Promise<void>
}

type ReadMethods =
  | ('search' | 'complete' | 'savedSearches' | 'analyses')
  | ('keepsAfter' | 'caught' | 'keeps' | 'keepsOf' | 'rings')

export interface ReaderMethods extends AnyThread, Pick<PassedOn, ReadMethods> {
  readTrace(traceId: bigint, maxBytes: number): Promise<RawTrace>
  activity(query: ActivityQuery): Promise<PackedActivity>
  completeHours(): Promise<Omit<HourSource, 'collector'>>
  /** @see readPartOfHour */
  partOfHour(hourUs: number, after: bigint | undefined): Promise<PartOfHour>
  readAnalysis(query: AnalysisQuery): Promise<PackedAnalysis | undefined>
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
const WITH_BYTES = ['readTrace', 'activity', 'partOfHour', 'readAnalysis']

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
      const hasBytes = WITH_BYTES.includes(method) && answer !== undefined
      const transfer = hasBytes ? [(answer as { bytes: Uint8Array }).bytes.buffer as ArrayBuffer] : []
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
