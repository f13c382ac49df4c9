import type { MessagePort } from 'node:worker_threads'
import { systemClock } from '../pipeline/clock'
import { Pipeline } from '../pipeline/pipeline'
import { rarely } from '../rarely'
import { indexPolicy } from '../search/index-policy'
import { type Message, NO_BACKLOG } from '../store'
import { DEFAULT_ACTIVITY_DAYS, DEFAULT_ANALYSIS_DAYS, DEFAULT_RETENTION_DAYS } from '../store-config'
import { EmbeddedBackend } from './backend'
import { EmbeddedFile } from './file'
import {
  type EmbeddedOptions,
  type PendingReply,
  type PendingRequest,
  post,
  serve,
  told,
  unpackLoad,
  type WriterMethods,
} from './protocol'

/** The thread that owns the file; see store.ts. */

const MAX_BACKLOG_SPANS = 400_000
const MAX_BACKLOG_BYTES = 256 * 1024 * 1024
const SETTLE_MS = 250
/** How often the backlog is told when nobody asks for anything. */
const BACKLOG_MS = 100

export function writer(options: EmbeddedOptions, pending: MessagePort): void {
  const { path, index, retentionDays = DEFAULT_RETENTION_DAYS, settleMs = SETTLE_MS } = options
  const { activityDays = DEFAULT_ACTIVITY_DAYS, analysisDays = DEFAULT_ANALYSIS_DAYS } = options
  const { maxBacklogSpans = MAX_BACKLOG_SPANS, maxBacklogBytes = MAX_BACKLOG_BYTES } = options
  const log = (message: string) => post({ kind: 'log', message })
  const warnRarely = rarely(log)
  const warnOfQuarantine = rarely(log)
  const warnOfActivity = rarely(log)
  let file: EmbeddedFile | undefined
  let backend: EmbeddedBackend | undefined
  let pipeline: Pipeline | undefined
  let toldSpans = 0
  const backlog = () => {
    const now = pipeline?.backlog() ?? NO_BACKLOG
    toldSpans = now.spans
    return now
  }
  setInterval(() => {
    if (pipeline !== undefined && pipeline.backlog().spans !== toldSpans) post({ kind: 'backlog', backlog: backlog() })
  }, BACKLOG_MS).unref()
  const letGo = async () => {
    await backend?.close()
    pending.close()
    file?.close()
  }

  const methods: WriterMethods = {
    open: async () => {
      try {
        file = new EmbeddedFile(path, log)
        backend = new EmbeddedBackend(file, indexPolicy(index), {
          retentionDays,
          activityDays,
          analysisDays,
          settleMs,
          clock: systemClock,
          onPutAside: reason => warnOfQuarantine(`a record was put aside in the table quarantine: ${reason}`),
          onActivityError: error =>
            warnOfActivity(`figures of services are late or left out: ${told(path, error).message}`),
          onTendError: error => log(`removing failed, and is tried again: ${told(path, error).message}`),
        })
        pipeline = await Pipeline.open(backend, {
          maxBacklogSpans,
          maxBacklogBytes,
          onSettleError: error => warnRarely(`indexing failed, and is tried again: ${told(path, error).message}`),
        })
        backend.folder.start()
      } catch (error) {
        await letGo()
        throw error
      }
      pending.on('message', ({ id, traceId, maxBytes }: PendingRequest) => {
        pending.postMessage({ id, ...pipeline!.readPending(traceId, maxBytes) } satisfies PendingReply)
      })
    },
    append: (bodies, lengths, spans) => pipeline!.append(messagesOf(bodies, lengths, spans)),
    setIndex: async settings => {
      backend!.policy = indexPolicy(settings)
    },
    saveSearch: async ({ id, name, query, createdUs }) =>
      file!.durable(() => file!.sql.replaceSearch.run([id, name, query, BigInt(createdUs)])),
    deleteSearch: async id => {
      let deleted = 0
      file!.durable(() => {
        deleted = file!.sql.deleteSearch.run([id]).changes
      })
      return deleted > 0
    },
    saveAnalysis: load => backend!.analyses.save(unpackLoad(load)),
    deleteAnalysis: window => backend!.analyses.delete(window),
    addKeeps: keeps => backend!.keeps.addKeeps(keeps),
    saveRings: rings => backend!.keeps.saveRings(rings),
    check: async () => file!.check(),
    look: async () => {},
    close: async () => {
      await pipeline?.close()
      await letGo()
    },
  }
  serve(path, methods, backlog)
}

function messagesOf(bodies: ArrayBuffer, lengths: number[], spans: number[]): Message[] {
  let at = 0
  return lengths.map((length, i) => {
    const body = Buffer.from(bodies, at, length)
    at += length
    return { body, spans: spans[i]! }
  })
}
