import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Match, Message, SearchQuery, Store, StoreError } from '../../../collector/src/store/store'
import type { StoreConfig } from '../../../collector/src/store/store-config'
import { encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { bundledProgram } from '../../helpers/bundle'
import { ROOT } from '../../helpers/child'
import { FRAME_SPANS, spanOf, uniqueValue } from '../collector/generator'
import { cpuOf, listener, startDatabases } from '../collector/systems'

/**
 * One store, filled, and asked: `program.ts STORE FRAMES QUERIES`. Standard output has the result as JSON: for each kind of
 * question the times in ms, and how many answers were right.
 */

// The store is one file, as in a collector. From its sources, each use of an import would be a call of a getter, which takes more
// than a quarter of the time of reading a long trace.
const { openStore }: typeof import('../../../collector/src/store/open') = require(
  bundledProgram(join(ROOT, 'collector/src/store/open.ts'), 'open'),
)

const TRACES = [10, 10_000, 100_000]
/** As the pipeline's own bounds are; beyond it would be told to wait. */
const AHEAD_SPANS = 100_000

/** Every trace that has both is read, which takes long with databases: a fortieth of the questions is asked there. */
const NEVER = 'an AND that never matches'

/** The databases rest when they take less than this share of a core for so long. */
const LOOK_MS = 5_000
const REST_SHARE = 0.05
const MOST_LOOKS = 60

interface Question {
  /** What is asked, of the n-th of many; the same n gives the same question. */
  ask(store: Store, n: number): Promise<number>
}

async function main(): Promise<void> {
  const [kind, frameCount, queries] = process.argv.slice(2) as [string, string, string]
  const frames = Number(frameCount)
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  const { config, servers, stop } = await place(kind, folder)
  const store = await openStore(config)
  try {
    const from = performance.now()
    for (let frame = 0; frame < frames; frame += 10) {
      await append(
        store,
        Array.from({ length: 10 }, (_, i) => message(spansOf(frame + i))),
      )
      while (store.backlog().spans > AHEAD_SPANS) await pause(20)
    }
    const big = TRACES.map((spans, i) => ({ spans, traceId: 1_000n + BigInt(i) }))
    for (const { spans, traceId } of big) await fillTrace(store, traceId, spans)
    while (store.backlog().spans > 0) await pause(50)
    const seconds = (performance.now() - from) / 1000
    await rest(servers)

    const results: Record<string, { ms: number[]; right: number }> = {}
    const run = async (name: string, times: number, { ask }: Question) => {
      const ms: number[] = []
      let right = 0
      for (let n = 0; n < times; n++) {
        const start = performance.now()
        const found = await ask(store, n)
        ms.push(performance.now() - start)
        if (found > 0) right++
      }
      results[name] = { ms, right: right / times }
      console.error(`${name}: p50 ${quantile(ms, 0.5)} ms, p95 ${quantile(ms, 0.95)} ms, ${right} of ${times} right`)
    }
    const some = (n: number) => (n * 7_919) % frames
    for (const [name, question] of Object.entries(questions(some))) {
      const share = name === NEVER && kind !== 'embedded' ? 40 : 1
      await run(name, Math.ceil(Number(queries) / share), question)
    }
    for (const { spans, traceId } of big) {
      const ask = async () => ((await store.readTrace(traceId)).records.length === spans ? 1 : 0)
      await run(`trace of ${spans.toLocaleString('en')} spans`, spans > 10_000 ? 10 : 50, { ask })
    }
    const bytes =
      kind === 'embedded'
        ? readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
        : undefined
    process.stdout.write(
      `${JSON.stringify({ spans: frames * FRAME_SPANS, annotations: Math.round(frames * FRAME_SPANS * 1.9), seconds, bytes, results })}\n`,
    )
  } finally {
    await store.close()
    await stop()
    rmSync(folder, { recursive: true })
  }
}

function questions(some: (n: number) => number): Record<string, Question> {
  const search = (
    query: (n: number) => Omit<SearchQuery, 'limit' | 'annotations'> & Partial<SearchQuery>,
  ): Question => ({
    ask: async (store, n) => (await store.search({ annotations: [], limit: 25, ...query(n) })).traces.length,
  })
  const tag = (key: string, value: string, match: Match = 'exact') => ({ key, value, match })
  const span = (n: number) => spanOf(some(n), n % FRAME_SPANS)
  const path = (n: number) => tag('http.path', span(n).annotations!.get('http.path')!)
  const request = (n: number) => uniqueValue(some(n), 0)!
  /** One that has both. */
  const both = (n: number) => {
    for (let i = n % FRAME_SPANS; ; i = (i + 1) % FRAME_SPANS) {
      const { annotations } = spanOf(some(n), i)
      if (annotations!.has('user')) return annotations!
    }
  }
  return {
    'all, newest first': search(() => ({})),
    'name, newest first': search(n => ({ name: span(n).name! })),
    'key = value, rare': search(n => ({ annotations: [tag('request.id', request(n))] })),
    'key = value, common': search(n => ({ annotations: [path(n)] })),
    'rare AND common': search(n => ({
      annotations: [tag('request.id', request(n)), tag('http.path', spanOf(some(n), 0).annotations!.get('http.path')!)],
    })),
    'common AND name': search(n => ({ name: span(n).name!, annotations: [path(n)] })),
    'common AND common': search(n => ({
      annotations: [tag('user', both(n).get('user')!), tag('http.path', both(n).get('http.path')!)],
    })),
    'name AND longer than 90 ms': search(n => ({ name: span(n).name!, minDurationUs: 90_000 })),
    'value begins with': search(n => ({ annotations: [tag('request.id', request(n).slice(0, -1), 'prefix')] })),
    'value of a key contains': search(n => ({ annotations: [tag('request.id', request(n).slice(-6), 'contains')] })),
    'a prefix that half of all spans have': search(() => ({ annotations: [tag('request.id', 'r-0', 'prefix')] })),
    [NEVER]: {
      ask: async (store, n) => {
        const { name } = spanOf(some(n), (n + 1) % FRAME_SPANS)
        const query = { annotations: [path(n)], limit: 25, name: name! }
        // A page ends after a while, and says so. A trace that is too long to be matched is listed nevertheless, without a time of a match.
        let after: string | undefined
        do {
          const page = await store.search({ ...query, ...(after !== undefined && { after }) })
          if (page.matchedUs.some(us => us !== undefined)) return 0
          after = page.next
        } while (after !== undefined)
        return 1
      },
    },
    'completion of a value': {
      ask: async (store, n) =>
        (await store.complete({ field: 'value', key: 'request.id', prefix: request(n).slice(0, 8), limit: 10 })).length,
    },
  }
}

function spansOf(frame: number): SpanRecord[] {
  return Array.from({ length: FRAME_SPANS }, (_, i) => spanOf(frame, i))
}

function message(spans: SpanRecord[]) {
  return { body: Buffer.concat(spans.map(encodeRecord)), spans: spans.length }
}

/** As senders do: what isn't taken comes again. */
async function append(store: Store, messages: Message[]): Promise<void> {
  for (;;) {
    try {
      await store.append(messages)
      return
    } catch (error) {
      if ((error as StoreError).code !== 'MILO_STORE_BUSY') throw error
      console.error(`not taken: ${(error as StoreError).message}`)
      await pause(100)
    }
  }
}

async function fillTrace(store: Store, traceId: bigint, spans: number): Promise<void> {
  for (let at = 0; at < spans; at += FRAME_SPANS) {
    const some = spansOf(Math.floor(at / FRAME_SPANS)).slice(0, spans - at)
    await append(store, [
      message(some.map((span, i) => ({ ...span, traceId, id: BigInt(at + i + 1), parentId: at + i === 0 ? 0n : 1n }))),
    ])
    while (store.backlog().spans > AHEAD_SPANS) await pause(20)
  }
}

interface Place {
  config: StoreConfig
  /** The databases' processes. */
  servers: Record<string, number>
  stop(): Promise<unknown>
}

async function place(kind: string, folder: string): Promise<Place> {
  const embedded = { path: join(folder, 'milo.db') }
  const none = { hostname: '127.0.0.1', port: 1, username: '', password: '' }
  if (kind === 'embedded') {
    const config: StoreConfig = {
      store: 'embedded',
      embedded,
      cassandra: { ...none, local_dc: '', keyspace: '' },
      mysql: { ...none, database: '' },
    }
    return { config, servers: {}, stop: async () => {} }
  }
  const [cassandra, mysql] = await startDatabases()
  const config: StoreConfig = {
    store: 'cassandra-mysql',
    embedded,
    cassandra: { hostname: cassandra.host, port: cassandra.port, local_dc: 'datacenter1', keyspace: 'milo' },
    mysql: {
      hostname: mysql.host,
      port: mysql.port,
      database: 'milo',
      username: mysql.username,
      password: mysql.password,
    },
  }
  const servers = { Cassandra: listener(cassandra.port), MariaDB: listener(mysql.port) }
  return { config, servers, stop: () => Promise.all([cassandra.kill(), mysql.kill()]) }
}

/** Merging and compaction go on for a while after everything is found: longer after a fast filling. */
async function rest(servers: Record<string, number>): Promise<void> {
  const used = () => Object.values(cpuOf(servers)).reduce((sum, ms) => sum + ms, 0)
  for (let looks = 0, before = used(); looks < MOST_LOOKS; looks++) {
    await pause(LOOK_MS)
    const now = used()
    if (now - before < REST_SHARE * LOOK_MS) return
    before = now
  }
}

function quantile(ms: number[], q: number): string {
  return [...ms].sort((a, b) => a - b)[Math.floor(q * (ms.length - 1))]!.toFixed(1)
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

void main().then(
  () => process.exit(0),
  error => {
    console.error(error)
    process.exit(1)
  },
)
