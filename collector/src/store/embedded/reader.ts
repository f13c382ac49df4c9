import type { MessagePort } from 'node:worker_threads'
import type { RawTrace } from '../../record/records'
import { UniqueRecords } from '../pipeline/unique-records'
import { rarely } from '../rarely'
import { indexPolicy } from '../search/index-policy'
import { each, search } from '../search/search'
import { DEFAULT_RETENTION_DAYS } from '../store-config'
import { readEmbeddedActivity } from './activity'
import { readEmbeddedAnalyses, readEmbeddedAnalysis } from './analyses'
import { EmbeddedFile } from './file'
import { completeHours, readPartOfHour } from './hours'
import { FtsIndex } from './index/lookup'
import { readTrace } from './index/traces'
import { readCaught, readKeeps, readKeepsAfter, readKeepsOf, readRings } from './keeps'
import {
  type EmbeddedOptions,
  type PendingReply,
  packActivity,
  packAnalysis,
  post,
  type ReaderMethods,
  serve,
} from './protocol'

const DAY_US = 86_400_000_000

/** The thread that reads the file, on a connection of its own: the writer neither waits for it nor is waited for; see store.ts. */
export function reader(options: EmbeddedOptions, pending: MessagePort): void {
  const { path, index, retentionDays = DEFAULT_RETENTION_DAYS } = options
  let policy = indexPolicy(index)
  let file!: EmbeddedFile
  let lookup!: FtsIndex
  /** Reads that are under way. */
  const reads = new Set<Promise<unknown>>()
  const warn = rarely(message => post({ kind: 'log', message }))
  const onDamage = (message: bigint) =>
    warn(`${path}: message ${message} isn't as it was written, and is left out of what is read`)

  const asked = new Map<number, (reply: PendingReply) => void>()
  let lastAsked = 0
  pending.on('message', (reply: PendingReply) => {
    asked.get(reply.id)!(reply)
    asked.delete(reply.id)
  })

  const read = async (traceId: bigint, maxBytes: number): Promise<RawTrace> => {
    const unique = new UniqueRecords(maxBytes)
    // Pending first: what is indexed meanwhile is found twice rather than never.
    const { bytes, truncated } = await new Promise<PendingReply>(resolve => {
      asked.set(++lastAsked, resolve)
      pending.postMessage({ id: lastAsked, traceId, maxBytes })
    })
    let damaged = false
    readTrace(
      file,
      traceId,
      records => unique.add(records),
      message => {
        damaged = true
        onDamage(message)
      },
    )
    unique.add(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
    return { bytes: unique.taken(), truncated: unique.truncated || truncated || damaged }
  }
  const reading = async <R>(read: Promise<R>): Promise<R> => {
    reads.add(read)
    try {
      return await read
    } finally {
      reads.delete(read)
    }
  }

  const methods: ReaderMethods = {
    open: async () => {
      file = new EmbeddedFile(path, () => {}, true)
      lookup = new FtsIndex(file, policy)
    },
    // Decoded where the records are wanted: not here, and once.
    readTrace: (traceId, maxBytes) => reading(read(traceId, maxBytes)),
    search: query => reading(search({ index: lookup, readTraces: each(read) }, query)),
    complete: query => reading(lookup.complete(query)),
    activity: async query =>
      packActivity(readEmbeddedActivity(file, query, Date.now() * 1000 - retentionDays * DAY_US)),
    completeHours: async () => completeHours(file, Date.now() * 1000),
    partOfHour: async (hourUs, after) => readPartOfHour(file, hourUs, after),
    analyses: async () => readEmbeddedAnalyses(file),
    readAnalysis: async query => {
      const read = readEmbeddedAnalysis(file, query)
      return read && packAnalysis(read)
    },
    keepsAfter: async (seq, fromUs) => readKeepsAfter(file, seq, fromUs),
    caught: async query => readCaught(file, query),
    keeps: async query => readKeeps(file, query),
    keepsOf: async traceId => readKeepsOf(file, traceId),
    rings: async query => readRings(file, query),
    savedSearches: async () => {
      const rows = file.sql.selectSearches.all([]) as [Buffer, Buffer, Buffer, bigint][]
      return rows.map(([id, name, query, createdUs]) => ({
        id: id.toString(),
        name: name.toString(),
        query: query.toString(),
        createdUs: Number(createdUs),
      }))
    },
    setIndex: async settings => {
      policy = indexPolicy(settings)
      // A search that is under way ends with the index that it has.
      lookup = new FtsIndex(file, policy)
    },
    look: async () => {},
    close: async () => {
      await Promise.allSettled(reads)
      pending.close()
    },
  }
  serve(path, methods)
}
