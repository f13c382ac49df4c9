import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { MessageChannel, Worker } from 'node:worker_threads'
import { type StoredTrace, storedTrace } from '../../record/records'
import type { ActivityQuery, ActivityRead } from '../activity/model'
import type { AnalysisQuery, AnalysisRead, Load } from '../analysis/model'
import { closedError, GroupCommit } from '../pipeline/group-commit'
import type { IndexSettings } from '../search/index-policy'
import {
  type Backlog,
  type HourPage,
  type HourSource,
  type Message,
  NO_BACKLOG,
  type Store,
  StoreError,
  TRACE_BYTES,
} from '../store'
import { pagesOfHour } from './hours'
import {
  type EmbeddedOptions,
  packLoad,
  type ReaderMethods,
  type Reply,
  type Request,
  type ThreadData,
  unpackActivity,
  unpackAnalysis,
  type WriterMethods,
} from './protocol'

/**
 * Everything in one SQLite file, which two threads have open: what waits for the disk or for SQLite holds up no socket, and a
 * long search no acknowledgment.
 *
 *     this thread        │ the writer (writer.ts, backend.ts)
 *     append, packed ────┼→ Pipeline → message rows: durable → OK
 *                        │     │ settle, every 250 ms or 20,000 spans
 *                        │     ▼
 *                        │  a part of the index                   index/indexer.ts
 *                        │  and what services did                 activity.ts
 *                        │     │ when its last message is too old
 *                        │     ▼
 *                        │  removed, with its messages            backend.ts
 *                        │
 *                        │ the reader (reader.ts)
 *     readTrace, search ─┼→ the parts of the index                index/lookup.ts, index/traces.ts
 *                        │  and, from the writer, what is pending
 *
 * A message is written once and stays where it is. The index says in which messages a trace is, and which records have a term.
 */

/** Where a group of messages ends on its way to the thread, and how many groups may be under way. */
const GROUP_BYTES = 1024 * 1024
const GROUPS = 4
/** How often the thread is asked whether it is alive, and how often in a row it may fail to answer. */
const LOOK_MS = 5_000
const MAX_LOOKS = 12

/**
 * Opens the file, or makes it, and brings its schema up to date: nobody else can be using it.
 * @throws StoreError when another process has it, when a newer version wrote it, or when it can't be opened
 */
export async function openEmbedded(options: EmbeddedOptions, log: (message: string) => void): Promise<Store> {
  const store = new EmbeddedStore(options, log)
  await store.opened
  return store
}

class EmbeddedStore implements Store {
  readonly opened: Promise<void>
  private readonly writer: Thread<WriterMethods>
  private readonly reader: Thread<ReaderMethods>
  /** The writer's. */
  readonly worker: Worker
  private readonly commits = new GroupCommit<Message>(messages => this.send(messages), GROUP_BYTES, GROUPS)
  private lastBacklog: Backlog = NO_BACKLOG
  private closing: Promise<void> | undefined
  /** Why a thread is no more. */
  private ended: StoreError | undefined
  private readonly path: string
  private readonly collector: string
  private unansweredLooks = 0

  constructor(options: EmbeddedOptions, log: (message: string) => void) {
    this.path = options.path
    this.collector = options.collector ?? ''
    const { port1, port2 } = new MessageChannel()
    const told = {
      log,
      backlog: (backlog: Backlog) => {
        this.lastBacklog = backlog
      },
      ended: (error: StoreError) => this.end(error),
    }
    this.writer = new Thread({ role: 'writer', options, pending: port1 }, told)
    this.reader = new Thread({ role: 'reader', options, pending: port2 }, told)
    this.worker = this.writer.worker
    const looking = setInterval(() => this.look(), options.lookMs ?? LOOK_MS).unref()
    void this.writer.exited.then(() => clearInterval(looking))
    this.opened = this.open()
  }

  private async open(): Promise<void> {
    try {
      await this.writer.call('open')
      await this.reader.call('open')
    } catch (error) {
      this.closing = Promise.resolve()
      await this.stop().catch(() => {})
      throw error
    }
  }

  readonly search = this.passOn<ReaderMethods, 'search'>(() => this.reader, 'search')
  readonly complete = this.passOn<ReaderMethods, 'complete'>(() => this.reader, 'complete')
  readonly savedSearches = this.passOn<ReaderMethods, 'savedSearches'>(() => this.reader, 'savedSearches')
  readonly saveSearch = this.passOn<WriterMethods, 'saveSearch'>(() => this.writer, 'saveSearch')
  readonly deleteSearch = this.passOn<WriterMethods, 'deleteSearch'>(() => this.writer, 'deleteSearch')
  readonly analyses = this.passOn<ReaderMethods, 'analyses'>(() => this.reader, 'analyses')
  readonly deleteAnalysis = this.passOn<WriterMethods, 'deleteAnalysis'>(() => this.writer, 'deleteAnalysis')
  readonly addKeeps = this.passOn<WriterMethods, 'addKeeps'>(() => this.writer, 'addKeeps')
  readonly saveRings = this.passOn<WriterMethods, 'saveRings'>(() => this.writer, 'saveRings')
  readonly keepsAfter = this.passOn<ReaderMethods, 'keepsAfter'>(() => this.reader, 'keepsAfter')
  readonly caught = this.passOn<ReaderMethods, 'caught'>(() => this.reader, 'caught')
  readonly keeps = this.passOn<ReaderMethods, 'keeps'>(() => this.reader, 'keeps')
  readonly keepsOf = this.passOn<ReaderMethods, 'keepsOf'>(() => this.reader, 'keepsOf')
  readonly rings = this.passOn<ReaderMethods, 'rings'>(() => this.reader, 'rings')
  readonly check = this.passOn<WriterMethods, 'check'>(() => this.writer, 'check')
  private readonly readRaw = this.passOn<ReaderMethods, 'readTrace'>(() => this.reader, 'readTrace')
  private readonly completeHours = this.passOn<ReaderMethods, 'completeHours'>(() => this.reader, 'completeHours')
  private readonly partOfHour = this.passOn<ReaderMethods, 'partOfHour'>(() => this.reader, 'partOfHour')
  private readonly readActivity = this.passOn<ReaderMethods, 'activity'>(() => this.reader, 'activity')
  private readonly readResults = this.passOn<ReaderMethods, 'readAnalysis'>(() => this.reader, 'readAnalysis')

  nowUs(): number {
    return Date.now() * 1000
  }

  append(messages: Message[]): Promise<void> {
    return this.commits.append(messages)
  }

  async readTrace(traceId: bigint, maxBytes = TRACE_BYTES): Promise<StoredTrace> {
    const { bytes, truncated } = await this.readRaw(traceId, maxBytes)
    return storedTrace({ bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), truncated })
  }

  async activity(query: ActivityQuery): Promise<ActivityRead> {
    return unpackActivity(await this.readActivity(query))
  }

  async hourSources(): Promise<HourSource[]> {
    return [{ collector: this.collector, ...(await this.completeHours()) }]
  }

  async readHour(_collector: string, hourUs: number): Promise<AsyncIterable<HourPage>> {
    return pagesOfHour(after => this.partOfHour(hourUs, after))
  }

  async saveAnalysis(load: Load): Promise<void> {
    if (this.closing !== undefined) throw closedError()
    const packed = packLoad(load)
    await this.writer.post('saveAnalysis', [packed], [packed.bytes.buffer as ArrayBuffer])
  }

  async readAnalysis(query: AnalysisQuery): Promise<AnalysisRead | undefined> {
    const read = await this.readResults(query)
    return read && unpackAnalysis(read)
  }

  setIndex(settings: IndexSettings): void {
    // In order with all that is asked for later. A thread that is no more doesn't index anything.
    for (const thread of this.threads()) thread.call('setIndex', settings).catch(() => {})
  }

  backlog(): Backlog {
    return this.lastBacklog
  }

  dead(): string | undefined {
    if (this.closing !== undefined) return undefined
    if (this.ended !== undefined) return this.ended.message
    if (this.unansweredLooks < MAX_LOOKS) return undefined
    return `${this.path}: its thread hasn't answered for ${(MAX_LOOKS * LOOK_MS) / 1000} s: start the collector again`
  }

  /** Whether the thread still answers. Looks are counted, and not time: this process may have been stopped meanwhile. */
  private look(): void {
    if (this.unansweredLooks++ > 0) return
    const answered = () => {
      this.unansweredLooks = 0
    }
    Promise.all(this.threads().map(thread => thread.call('look'))).then(answered, answered)
  }

  close(): Promise<void> {
    this.closing ??= this.commits.close().then(() => this.stop())
    return this.closing
  }

  /** The reader first: the last connection leaves one file. */
  private async stop(): Promise<void> {
    if (this.ended !== undefined) await this.reader.worker.terminate()
    else await this.reader.close()
    if (this.ended === undefined) await this.writer.close()
  }

  private async send(messages: Message[]): Promise<void> {
    if (messages.length === 0) return
    const lengths = messages.map(({ body }) => body.length)
    // One buffer of its own, which is handed over: the bodies may lie in memory that others use too.
    const bodies = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0))
    let at = 0
    for (const { body } of messages) {
      bodies.set(body, at)
      at += body.length
    }
    const spans = messages.map(message => message.spans)
    await this.writer.post('append', [bodies.buffer, lengths, spans], [bodies.buffer])
  }

  private passOn<T, M extends keyof T & string>(thread: () => Thread<T>, method: M): T[M] {
    const call = (...args: unknown[]) =>
      this.closing === undefined ? thread().post(method, args) : Promise.reject(closedError())
    return call as T[M]
  }

  private threads(): { call(method: 'look' | 'setIndex', ...args: unknown[]): Promise<unknown> }[] {
    return [this.writer, this.reader] as never
  }

  private end(error: StoreError): void {
    this.ended ??= error
    for (const thread of [this.writer, this.reader]) thread.end(this.ended)
  }
}

interface Waiting {
  resolve(result: any): void
  reject(error: unknown): void
}

interface Told {
  log(message: string): void
  backlog(backlog: Backlog): void
  ended(error: StoreError): void
}

/** One of the threads, and what it was asked. */
class Thread<T> {
  readonly worker: Worker
  readonly exited: Promise<void>
  private readonly waiting = new Map<number, Waiting>()
  private lastCall = 0
  private ended: StoreError | undefined
  private closing = false

  constructor(data: ThreadData, { log, backlog, ended }: Told) {
    const { path } = data.options
    this.worker = startThread(data)
    this.worker.on('message', (reply: Reply) => {
      if (reply.kind === 'log') return log(reply.message)
      if (reply.backlog !== undefined) backlog(reply.backlog)
      if (reply.kind !== 'backlog') this.take(reply)
    })
    this.worker.on('error', ({ message }) => ended(threadError(`${path}: its thread has failed: ${message}`)))
    this.exited = new Promise(resolve => this.worker.on('exit', () => resolve()))
    void this.exited.then(() => {
      if (!this.closing) ended(threadError(`${path}: its thread has ended`))
    })
  }

  call<M extends keyof T & string>(method: M, ...args: T[M] extends (...args: infer A) => unknown ? A : never) {
    return this.post(method, args) as T[M] extends (...args: never[]) => infer R ? R : never
  }

  post(method: string, args: unknown[], transfer: ArrayBuffer[] = []): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.ended !== undefined) return reject(this.ended)
      const id = ++this.lastCall
      this.waiting.set(id, { resolve, reject })
      this.worker.postMessage({ id, method, args } satisfies Request, transfer)
    })
  }

  async close(): Promise<void> {
    this.closing = true
    try {
      await this.post('close', [])
    } finally {
      await this.exited
    }
  }

  /** Rejects what it was asked. */
  end(error: StoreError): void {
    this.ended ??= error
    for (const { reject } of this.waiting.values()) reject(this.ended)
    this.waiting.clear()
  }

  private take(reply: Extract<Reply, { id: number }>): void {
    const waiting = this.waiting.get(reply.id)
    if (waiting === undefined) return
    this.waiting.delete(reply.id)
    if (reply.kind === 'result') waiting.resolve(reply.result)
    else waiting.reject(new StoreError(reply.error.code, reply.error.message))
  }
}

function threadError(message: string): StoreError {
  return new StoreError('MILO_STORE_UNAVAILABLE', `${message}: start the collector again`)
}

/** Starts the worker beside the bundle, or the source where that runs by itself (in tests, through tsx). */
function startThread(data: ThreadData): Worker {
  const options = { workerData: data, transferList: [data.pending] }
  const built = join(__dirname, 'embedded-worker.js')
  return existsSync(built)
    ? new Worker(built, options)
    : new Worker(join(__dirname, 'worker.ts'), { ...options, execArgv: ['--require', 'tsx/cjs'] })
}
