import { hash } from 'node:crypto'
import type { Connection } from 'mysql2/promise'
import { hash52 } from './hash64'
import type { IndexPolicy } from './index-policy'
import { isError, recordDurationUs, recordStartUs } from './match'
import { type MySql, rowsOf } from './mysql'
import { decodeRecords } from './records'

/**
 * The search index as it is written: what a record can be found by, as rows of numbers; see sql/mysql/0002-index.sql.
 * Searching: mysql-search.ts.
 */

/** Scopes of words in dict; keys' own ids, which are values' scopes, begin at 16. */
export const SCOPE = { name: 1, service: 2, key: 3 } as const
/** A kv and its key_id: the record ended in an error. */
export const ERROR_MARK = 4
const FIRST_ID = 16
/** Above the ids of words in dict. */
const FIRST_KV = 2 ** 36
export const MAX_DURATION_US = Number.MAX_SAFE_INTEGER
export const DAY_US = 86_400_000_000n

/** Rows of one INSERT: about 300 KB of SQL. */
const INSERT_ROWS = 4_000
/** Texts whose numbers are remembered; twice as many at most. */
const CACHE_TEXTS = 200_000
/** Long texts seldom come twice. */
const CACHED_LENGTH = 300
/** Of a name, a service or a key in dict: a TEXT takes it, whatever the characters. */
export const MAX_WORD_LENGTH = 10_000

export function wordId(text: string): number {
  const id = Number.parseInt(hash('sha256', text).slice(0, 8), 16)
  return id < FIRST_ID ? id + FIRST_ID : id
}

/** A word's id in dict: its scope times this, and its own. */
const SCOPES = 2 ** 32

/** @param value cut */
export function kvOf(key: string, value: string): number {
  return kvOfPair(pairOf(key, value))
}

/** With the key's length, or a key that ends where another's value begins would do as well. */
function pairOf(key: string, value: string): string {
  return `${key.length}:${key}${value}`
}

function kvOfPair(pair: string): number {
  const kv = hash52(pair)
  return kv < FIRST_KV ? kv + FIRST_KV : kv
}

/** Messages to be indexed, and the number that says when the first was received. */
export interface Indexed {
  id: bigint
  body: Buffer
}

/** A text that dict has, or will have. */
interface Word {
  id: number
  scope: number
  text: string
  /** The day of which some committed transaction has put it there. */
  known: number
}

interface Post {
  kv: number
  /** The other columns, as SQL. */
  rest: string
}

export class MySqlIndex {
  private readonly db: MySql
  private readonly policy: IndexPolicy
  private readonly words = new RecentMap<Word>()

  constructor(db: MySql, policy: IndexPolicy) {
    this.db = db
    this.policy = policy
  }

  /** Resolves when the messages' spans can be found. */
  async add(messages: Indexed[]): Promise<void> {
    const days = new Map<number, Indexed[]>()
    for (const message of messages) {
      const day = Number(message.id / DAY_US)
      const others = days.get(day)
      if (others === undefined) days.set(day, [message])
      else others.push(message)
    }
    for (const [day, some] of days) await this.addOfDay(some, day)
  }

  private async addOfDay(messages: Indexed[], day: number): Promise<void> {
    const spans: string[] = []
    const posts: Post[] = []
    const fresh = new Set<Word>()
    const idOf = (word: Word) => {
      if (word.known !== day) fresh.add(word)
      return word.id
    }
    for (const { id, body } of messages) {
      for (const record of decodeRecords(body)) {
        const { name, service, annotations } = record
        const place = `${recordStartUs(record) ?? id},${record.traceId},${record.id},${day}`
        const nameId = name === undefined ? 0 : idOf(this.word(SCOPE.name, name)) % SCOPES
        const serviceId = service === undefined ? 0 : idOf(this.word(SCOPE.service, service)) % SCOPES
        const duration = Math.min(recordDurationUs(record) ?? -1, MAX_DURATION_US)
        spans.push(`(${place},${nameId},${serviceId},${duration})`)
        if (annotations === undefined) continue
        for (const [key, value] of annotations) {
          if (!this.policy.indexes(key)) continue
          const keyId = idOf(this.word(SCOPE.key, key)) % SCOPES
          posts.push({ kv: idOf(this.value(key, keyId, value)), rest: `,${place},${keyId})` })
        }
        if (isError(record)) posts.push({ kv: ERROR_MARK, rest: `,${place},${ERROR_MARK})` })
      }
    }
    if (spans.length === 0) return
    // In the same order everywhere: who inserts the same comes by the same way, and waits instead of meeting head-on.
    spans.sort()
    posts.sort((a, b) => a.kv - b.kv || (a.rest < b.rest ? -1 : 1))
    const words = [...fresh].sort((a, b) => a.id - b.id)
    await this.db.transact(async connection => {
      for (let i = 0; i < words.length; i += INSERT_ROWS) {
        const rows = words.slice(i, i + INSERT_ROWS).map(({ id, scope, text }) => [id, day, scope, text])
        await connection.query('INSERT IGNORE INTO dict (id, day, scope, text) VALUES ?', [rows])
      }
      const spanColumns = 'span_idx (ts, trace_id, span_id, day, name_id, service_id, duration)'
      await insert(connection, spanColumns, spans)
      const postColumns = 'post (kv, ts, trace_id, span_id, day, key_id)'
      await insert(
        connection,
        postColumns,
        posts.map(({ kv, rest }) => `(${kv}${rest}`),
      )
    })
    for (const word of words) word.known = day
  }

  private word(scope: number, text: string): Word {
    const key = `${scope}.${text}`
    return this.words.get(key) ?? this.keep(key, scope * SCOPES + wordId(text), scope, text)
  }

  private value(key: string, keyId: number, value: string): Word {
    const text = this.policy.cut(value)
    const pair = pairOf(key, text)
    return this.words.get(pair) ?? this.keep(pair, kvOfPair(pair), keyId, text)
  }

  private keep(key: string, id: number, scope: number, text: string): Word {
    const word = { id, scope, text: text.slice(0, MAX_WORD_LENGTH), known: -1 }
    if (key.length <= CACHED_LENGTH) this.words.set(key, word)
    return word
  }
}

/** @param rows as SQL, of nothing but numbers: as parameters they would cost twice as much */
async function insert(connection: Connection, columns: string, rows: string[]): Promise<void> {
  for (let i = 0; i < rows.length; i += INSERT_ROWS) {
    await connection.query(`INSERT IGNORE INTO ${columns} VALUES ${rows.slice(i, i + INSERT_ROWS).join(',')}`)
  }
}

/** A map that forgets what hasn't been asked for lately: when one generation is full, the one before goes. */
class RecentMap<V> {
  private young = new Map<string, V>()
  private old = new Map<string, V>()

  get(key: string): V | undefined {
    const value = this.young.get(key)
    if (value !== undefined) return value
    const older = this.old.get(key)
    if (older !== undefined) this.set(key, older)
    return older
  }

  set(key: string, value: V): void {
    if (this.young.size >= CACHE_TEXTS) {
      this.old = this.young
      this.young = new Map()
    }
    this.young.set(key, value)
  }
}

/** How far a collector's journal is settled; undefined when that isn't known. */
export async function readCheckpoint(db: MySql, collector: string): Promise<bigint | undefined> {
  const [row] = await db.read('SELECT seq FROM checkpoint WHERE collector = ?', [collector])
  return row === undefined ? undefined : BigInt(row[0]!)
}

export async function writeCheckpoint(db: MySql, collector: string, seq: bigint): Promise<void> {
  await db.write(
    'INSERT INTO checkpoint (collector, seq) VALUES (?, ?) ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))',
    [collector, seq],
  )
}

/**
 * Adds to the lengths of traces, for every collector to know.
 * @returns how long they were before
 */
export function lengthenTraces(db: MySql, traces: Map<bigint, number>): Promise<Map<bigint, number>> {
  const sorted = [...traces].sort(([a], [b]) => (a < b ? -1 : 1))
  const day = Math.floor(Date.now() / 86_400_000)
  return db.transact(async connection => {
    const before = new Map<bigint, number>()
    for (const [traceId, spans] of sorted) {
      await connection.query(
        `INSERT INTO long_trace (trace_id, spans, day) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE spans = spans + VALUES(spans), day = VALUES(day)`,
        [traceId, spans, day],
      )
      const [row] = await rowsOf(connection, 'SELECT spans FROM long_trace WHERE trace_id = ?', [traceId])
      before.set(traceId, Number(row![0]) - spans)
    }
    return before
  })
}
