import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type StoredTrace, storedTrace } from '../../record/records'
import { type ActivityMinute, minutesOf, readActivityInTurns } from '../activity/activity'
import type { PassedOn } from '../pass-on'
import { closedError, GroupCommit } from '../pipeline/group-commit'
import type { IndexSettings } from '../search/index-policy'
import { type Backlog, type Message, NO_BACKLOG, type Store, StoreError, TRACE_BYTES } from '../store'
import type { EmbeddedOptions, Reply, Request, ThreadMethods } from './protocol'

/**
 * Everything in one SQLite file, which one thread owns: what waits for the disk or for SQLite holds up no socket.
 *
 *     this thread        │ the file's thread (worker.ts)
 *     append, packed ────┼→ Pipeline → message rows: durable → OK
 *                        │     │ settle, every 250 ms or 20,000 spans
 *                        │     ▼
 *                        │  segment: chunks, blocks, directory      segments/build.ts, format.ts
 *                        │     │ eight of about the same size
 *                        │     ▼
 *                        │  a larger segment                        segments/merge.ts
 *                        │     │ when its last message is too old
 *                        │     ▼
 *                        │  removed, with its messages              backend.ts
 *     readTrace, search ─┼→ what is pending, and the segments       segments/lookup.ts
 *
 * A message is written once and stays where it is; segments say where a trace's records are, and which records have a term.
 * They never change: they are replaced, in one transaction, by what they were merged into.
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

interface Waiting {
  resolve(result: any): void
  reject(error: unknown): void
}

class EmbeddedStore implements Store {
  readonly opened: Promise<void>
  private readonly worker: Worker
  private readonly exited: Promise<void>
  private readonly commits = new GroupCommit<Message>(messages => this.send(messages), GROUP_BYTES, GROUPS)
  private readonly waiting = new Map<number, Waiting>()
  private lastCall = 0
  private lastBacklog: Backlog = NO_BACKLOG
  private closing: Promise<void> | undefined
  /** Why the thread is no more. */
  private ended: StoreError | undefined
  private readonly path: string
  private unansweredLooks = 0

  constructor(options: EmbeddedOptions, log: (message: string) => void) {
    this.path = options.path
    const looking = setInterval(() => this.look(), options.lookMs ?? LOOK_MS).unref()
    this.worker = startThread(options)
    this.opened = new Promise((resolve, reject) => {
      this.worker.on('message', (reply: Reply) => {
        if (reply.kind === 'log') log(reply.message)
        else if (reply.kind === 'refused') this.end(new StoreError(reply.error.code, reply.error.message))
        else this.take(reply)
        if (reply.kind === 'opened') resolve()
      })
      this.worker.on('error', ({ message }) =>
        this.end(threadError(`${options.path}: its thread has failed: ${message}`)),
      )
      this.worker.on('exit', () => {
        this.end(threadError(`${options.path}: its thread has ended`))
        clearInterval(looking)
        reject(this.ended)
      })
    })
    this.exited = new Promise(resolve => this.worker.on('exit', () => resolve()))
  }

  readonly search = this.passOn('search')
  readonly complete = this.passOn('complete')
  readonly savedSearches = this.passOn('savedSearches')
  readonly saveSearch = this.passOn('saveSearch')
  readonly deleteSearch = this.passOn('deleteSearch')
  readonly check = this.passOn('check')

  append(messages: Message[]): Promise<void> {
    return this.commits.append(messages)
  }

  async readTrace(traceId: bigint, maxBytes = TRACE_BYTES): Promise<StoredTrace> {
    const { bytes, truncated } = await this.call('readTrace', traceId, maxBytes)
    return storedTrace({ bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), truncated })
  }

  async activity(fromUs: number, toUs: number): Promise<ActivityMinute[]> {
    const [fromMinute, toMinute] = minutesOf(fromUs, toUs)
    return readActivityInTurns(await this.call('activity', fromMinute, toMinute))
  }

  setIndex(settings: IndexSettings): void {
    // In order with all that is asked for later. A thread that is no more doesn't index anything.
    this.call('setIndex', settings).catch(() => {})
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
    this.call('look').then(answered, answered)
  }

  close(): Promise<void> {
    this.closing ??= this.commits.close().then(async () => {
      if (this.ended !== undefined) return
      try {
        await this.post('close', [])
      } finally {
        await this.exited
      }
    })
    return this.closing
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
    await this.post('append', [bodies.buffer, lengths, spans], [bodies.buffer])
  }

  private passOn<M extends keyof PassedOn & keyof ThreadMethods>(
    method: M,
  ): (...args: Parameters<ThreadMethods[M]>) => ReturnType<ThreadMethods[M]> {
    return (...args) => this.call(method, ...args)
  }

  private call<M extends keyof ThreadMethods>(
    method: M,
    ...args: Parameters<ThreadMethods[M]>
  ): ReturnType<ThreadMethods[M]> {
    const answer = this.closing === undefined ? this.post(method, args) : Promise.reject(closedError())
    return answer as ReturnType<ThreadMethods[M]>
  }

  private post(method: keyof ThreadMethods, args: unknown[], transfer: ArrayBuffer[] = []): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.ended !== undefined) return reject(this.ended)
      const id = ++this.lastCall
      this.waiting.set(id, { resolve, reject })
      this.worker.postMessage({ id, method, args } satisfies Request, transfer)
    })
  }

  private take(reply: Exclude<Reply, { kind: 'log' | 'refused' }>): void {
    this.lastBacklog = reply.backlog
    if (!('id' in reply)) return
    const { resolve, reject } = this.waiting.get(reply.id)!
    this.waiting.delete(reply.id)
    if (reply.kind === 'result') resolve(reply.result)
    else reject(new StoreError(reply.error.code, reply.error.message))
  }

  private end(error: StoreError): void {
    this.ended ??= error
    for (const { reject } of this.waiting.values()) reject(this.ended)
    this.waiting.clear()
  }
}

function threadError(message: string): StoreError {
  return new StoreError('MILO_STORE_UNAVAILABLE', `${message}: start the collector again`)
}

/** Starts the worker beside the bundle, or the source where that runs by itself (in tests, through tsx). */
function startThread(options: EmbeddedOptions): Worker {
  const built = join(__dirname, 'embedded-worker.js')
  return existsSync(built)
    ? new Worker(built, { workerData: options })
    : new Worker(join(__dirname, 'worker.ts'), { workerData: options, execArgv: ['--require', 'tsx/cjs'] })
}
