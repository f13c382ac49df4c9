import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../pipeline/clock'
import { closedError } from '../pipeline/group-commit'
import { Pipeline } from '../pipeline/pipeline'
import { rarely } from '../rarely'
import { indexPolicy } from '../search/index-policy'
import { search } from '../search/search'
import { type Backlog, type Message, type SavedSearch, type StoreError, unavailable } from '../store'
import { DEFAULT_RETENTION_DAYS } from '../store-config'
import { EmbeddedBackend } from './backend'
import { EmbeddedFile } from './file'
import type { Call, EmbeddedOptions, Reply, Request } from './protocol'
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

  async answer({ id, ...call }: Request): Promise<void> {
    try {
      const { result, transfer } = await this.handle(call)
      const backlog = this.pipeline.backlog()
      this.told = backlog.spans
      post({ kind: 'result', id, result, backlog }, transfer)
    } catch (error) {
      post({ kind: 'error', id, error: told(this.path, error), backlog: this.pipeline.backlog() })
    }
    if (call.method === 'close') port.close()
  }

  private async handle(call: Call): Promise<{ result?: unknown; transfer?: ArrayBuffer[] }> {
    if (call.method === 'close') {
      await this.close()
      return {}
    }
    if (this.closing !== undefined) throw closedError()
    const { file, index, pipeline } = this
    switch (call.method) {
      case 'append':
        await pipeline.append(messagesOf(call))
        return {}
      case 'readTrace': {
        // Decoded where they are wanted: not here, and once.
        const trace = await this.reading(pipeline.readTrace(call.traceId, call.maxBytes))
        return { result: trace, transfer: [trace.bytes.buffer as ArrayBuffer] }
      }
      case 'search': {
        const readTrace = (id: bigint, maxBytes: number) => pipeline.readTrace(id, maxBytes)
        return { result: await this.reading(search({ index, readTrace }, call.query)) }
      }
      case 'complete':
        return { result: await this.reading(index.complete(call.query)) }
      case 'activity': {
        const rows = file.sql.selectActivity.all([BigInt(call.fromMinute), BigInt(call.toMinute)]) as [bigint, string][]
        return { result: rows.map(([minute, body]) => ({ minute: Number(minute), body })) }
      }
      case 'setIndex': {
        const policy = indexPolicy(call.settings)
        this.backend.policy = policy
        // A search that is under way ends with the one it has.
        this.index = new SegmentIndex(file, this.backend, policy)
        return {}
      }
      case 'savedSearches': {
        const rows = file.sql.selectSearches.all([]) as [string, string, string, bigint][]
        const searches: SavedSearch[] = rows.map(([id, name, query, createdUs]) => {
          return { id, name, query, createdUs: Number(createdUs) }
        })
        return { result: searches }
      }
      case 'saveSearch': {
        const { id, name, query, createdUs } = call.search
        file.durable(() => file.sql.replaceSearch.run([id, name, query, BigInt(createdUs)]))
        return {}
      }
      case 'deleteSearch': {
        let deleted = 0
        file.durable(() => {
          deleted = file.sql.deleteSearch.run([call.searchId]).changes
        })
        return { result: deleted > 0 }
      }
      case 'check':
        file.check()
        return {}
      case 'look':
        return {}
    }
  }

  private async reading<R>(read: Promise<R>): Promise<R> {
    this.reads.add(read)
    try {
      return await read
    } finally {
      this.reads.delete(read)
    }
  }

  private close(): Promise<void> {
    this.closing ??= this.pipeline.close().then(() => this.letGo())
    return this.closing
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

function messagesOf({ bodies, lengths, spans }: Call & { method: 'append' }): Message[] {
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
