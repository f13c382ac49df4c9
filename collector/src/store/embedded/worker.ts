import { parentPort, workerData } from 'node:worker_threads'
import type { RawTrace } from '../../record/records'
import { systemClock } from '../pipeline/clock'
import { closedError } from '../pipeline/group-commit'
import { Pipeline } from '../pipeline/pipeline'
import { rarely } from '../rarely'
import { indexPolicy } from '../search/index-policy'
import { search } from '../search/search'
import { type Backlog, type Message, type StoreError, unavailable } from '../store'
import { DEFAULT_RETENTION_DAYS } from '../store-config'
import { EmbeddedBackend } from './backend'
import { EmbeddedFile } from './file'
import type { EmbeddedOptions, Reply, Request, ThreadMethods } from './protocol'
import { SegmentIndex } from './segments/lookup'

/** The thread that has the file; see store.ts. */

const MAX_BACKLOG_SPANS = 400_000
const MAX_BACKLOG_BYTES = 256 * 1024 * 1024
const SETTLE_MS = 250
/** How often the backlog is told when nobody asks for anything. */
const BACKLOG_MS = 100

const port = parentPort!

class Thread {
  private readonly path: string
  private readonly file: EmbeddedFile
  private readonly backend: EmbeddedBackend
  private index: SegmentIndex
  private pipeline!: Pipeline
  private closing: Promise<void> | undefined
  /** Reads that are under way. */
  private readonly reads = new Set<Promise<unknown>>()
  private told = 0

  constructor(options: EmbeddedOptions) {
    const { path, retentionDays = DEFAULT_RETENTION_DAYS, index, settleMs = SETTLE_MS } = options
    this.path = path
    const policy = indexPolicy(index)
    this.file = new EmbeddedFile(path, message => post({ kind: 'log', message }))
    this.backend = new EmbeddedBackend(this.file, policy, {
      retentionDays,
      settleMs,
      clock: systemClock,
      onPutAside: reason => this.warnOfQuarantine(`a record was put aside in the table quarantine: ${reason}`),
      onTendError: error => this.warn('merging or removing failed, and is tried again', error),
    })
    this.index = new SegmentIndex(this.file, this.backend, policy)
  }

  async open({
    maxBacklogSpans = MAX_BACKLOG_SPANS,
    maxBacklogBytes = MAX_BACKLOG_BYTES,
  }: EmbeddedOptions): Promise<Backlog> {
    this.pipeline = await Pipeline.open(this.backend, {
      maxBacklogSpans,
      maxBacklogBytes,
      onSettleError: error => this.warnRarely(`indexing failed, and is tried again: ${told(this.path, error).message}`),
    })
    const timer = setInterval(() => {
      const backlog = this.pipeline.backlog()
      if (backlog.spans !== this.told) post({ kind: 'backlog', backlog })
      this.told = backlog.spans
    }, BACKLOG_MS)
    timer.unref()
    return this.pipeline.backlog()
  }

  async answer({ id, method, args }: Request): Promise<void> {
    try {
      if (this.closing !== undefined && method !== 'close') throw closedError()
      const result = await (this.methods[method] as (...args: unknown[]) => Promise<unknown>)(...args)
      // A trace's bytes are handed over.
      const transfer = method === 'readTrace' ? [(result as RawTrace).bytes.buffer as ArrayBuffer] : []
      const backlog = this.pipeline.backlog()
      this.told = backlog.spans
      post({ kind: 'result', id, result, backlog }, transfer)
    } catch (error) {
      post({ kind: 'error', id, error: told(this.path, error), backlog: this.pipeline.backlog() })
    }
    if (method === 'close') port.close()
  }

  private readonly methods: ThreadMethods = {
    append: (bodies, lengths, spans) => this.pipeline.append(messagesOf(bodies, lengths, spans)),
    // Decoded where the records are wanted: not here, and once.
    readTrace: (traceId, maxBytes) => this.reading(this.pipeline.readTrace(traceId, maxBytes)),
    search: query => {
      const readTrace = (id: bigint, maxBytes: number) => this.pipeline.readTrace(id, maxBytes)
      return this.reading(search({ index: this.index, readTrace }, query))
    },
    complete: query => this.reading(this.index.complete(query)),
    activity: async (fromMinute, toMinute) => {
      const rows = this.file.sql.selectActivity.all([BigInt(fromMinute), BigInt(toMinute)]) as [bigint, string][]
      return rows.map(([minute, body]) => ({ minute: Number(minute), body }))
    },
    setIndex: async settings => {
      const policy = indexPolicy(settings)
      this.backend.policy = policy
      // A search that is under way ends with the index that it has.
      this.index = new SegmentIndex(this.file, this.backend, policy)
    },
    savedSearches: async () => {
      const rows = this.file.sql.selectSearches.all([]) as [string, Buffer, Buffer, bigint][]
      return rows.map(([id, name, query, createdUs]) => ({
        id,
        name: name.toString(),
        query: query.toString(),
        createdUs: Number(createdUs),
      }))
    },
    saveSearch: async ({ id, name, query, createdUs }) =>
      this.file.durable(() => this.file.sql.replaceSearch.run([id, name, query, BigInt(createdUs)])),
    deleteSearch: async id => {
      let deleted = 0
      this.file.durable(() => {
        deleted = this.file.sql.deleteSearch.run([id]).changes
      })
      return deleted > 0
    },
    check: async () => this.file.check(),
    look: async () => {},
    close: () => (this.closing ??= this.pipeline.close().then(() => this.letGo())),
  }

  private async reading<R>(read: Promise<R>): Promise<R> {
    this.reads.add(read)
    try {
      return await read
    } finally {
      this.reads.delete(read)
    }
  }

  async letGo(): Promise<void> {
    await this.backend.close()
    await Promise.allSettled(this.reads)
    this.file.close()
  }

  private readonly warnRarely = rarely(message => post({ kind: 'log', message }))
  private readonly warnOfQuarantine = rarely(message => post({ kind: 'log', message }))

  private warn(what: string, error: unknown): void {
    post({ kind: 'log', message: `${what}: ${told(this.path, error).message}` })
  }
}

function messagesOf(bodies: ArrayBuffer, lengths: number[], spans: number[]): Message[] {
  let at = 0
  return lengths.map((length, i) => {
    const body = Buffer.from(bodies, at, length)
    at += length
    return { body, spans: spans[i]! }
  })
}

function told(path: string, error: unknown): { code: StoreError['code']; message: string } {
  // Neither SQLite's nor ours: a mistake, which somebody has to find.
  if (!/^(MILO|SQLITE)_/.test(String((error as { code?: unknown }).code))) {
    post({ kind: 'log', message: String((error as Error).stack) })
  }
  const { code, message } = unavailable(path, error)
  return { code, message }
}

function post(reply: Reply, transfer: ArrayBuffer[] = []): void {
  port.postMessage(reply, transfer)
}

async function main(options: EmbeddedOptions): Promise<void> {
  let thread: Thread | undefined
  let backlog: Backlog
  try {
    thread = new Thread(options)
    backlog = await thread.open(options)
  } catch (error) {
    post({ kind: 'refused', error: told(options.path, error) })
    await thread?.letGo()
    return
  }
  port.on('message', (request: Request) => void thread.answer(request))
  post({ kind: 'opened', backlog })
}

void main(workerData)
