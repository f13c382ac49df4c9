import { hash } from 'node:crypto'
import { isError, recordDurationUs, recordStartUs } from '../../record/half'
import { IdMap } from '../../record/ids'
import { decodeRecords } from '../../record/records'
import { hash52 } from '../hash64'
import type { Entry } from '../pipeline/entry'
import type { IndexPolicy } from '../search/index-policy'
import { type MySql, stretches } from './mysql'
import { slotOf, type TracePlace } from './span-rows'

/**
 * The search index as it is written: what a record can be found by, as rows of numbers; see sql/mysql/0001-schema.sql.
 * Searching: mysql-search.ts.
 */

/** Scopes of words in dict; keys' own ids, which are values' scopes, begin at 16. */
export const SCOPE = { name: 1, service: 2, key: 3 } as const
/** The kv, and key_id, that say that a record ended in an error. */
export const ERROR_MARK = 4
export const FIRST_ID = 16
/** Above the ids of words in dict. */
const FIRST_KV = 2 ** 36
export const MAX_DURATION_US = Number.MAX_SAFE_INTEGER
export const DAY_US = 86_400_000_000n

/** How many bytes of messages are looked through in one turn. */
const PORTION_BYTES = 1024 * 1024
/** SQL of one transaction, about, so that it ends in time, whatever is in a message. */
const TRANSACTION_BYTES = 4 * 1024 * 1024
/** What a row of dict takes besides its text, and what a statement's beginning takes. */
const ROW_BYTES = 64
/** Texts whose numbers are remembered: beyond, it starts anew, which costs those that are in use a hash. */
const CACHE_TEXTS = 200_000
/** Long texts seldom come twice. */
const CACHED_LENGTH = 300
/** How many terms a row of trace_terms holds: its column has room for 571. */
const ROW_TERMS = 500
/** The length of a term there, in hex: all are below 2^52, and 7 bytes have room for 2^56. */
export const TERM_DIGITS = 14
/** The length of a name, a service or a key in dict: a TEXT takes it, whatever the characters. */
export const MAX_WORD_LENGTH = 10_000

export function wordId(text: string): number {
  const id = Number.parseInt(hash('sha256', text).slice(0, 8), 16)
  return id < FIRST_ID ? id + FIRST_ID : id
}

/** A word's id in dict, and in trace_terms. */
export function dictId(scope: number, wordId: number): number {
  return scope * 2 ** 32 + wordId
}

/** @param value cut */
export function kvOf(key: string, value: string): number {
  // With the key's length, or a key that ends where another's value begins would do as well.
  const kv = hash52(`${key.length}:${key}${value}`)
  return kv < FIRST_KV ? kv + FIRST_KV : kv
}

/** A text that dict has, or will have. */
interface Word {
  id: number
  /** The term as span_idx and post have it: the id without its scope. */
  number: number
  /** The digits of the id, as trace_terms has it. */
  hex: string
  scope: number
  text: string
  /** The day of which some committed transaction has put it there. */
  known: number
}

interface KeyWord extends Word {
  values: Map<string, Word>
}

/** What the records of a trace have, in one message. */
interface TraceTerms {
  traceId: bigint
  duration: number
  terms: Set<Word>
}

interface Statement {
  sql: string
  /** Without any, mysql2 doesn't look for their places in the SQL. */
  parameters?: unknown[]
  /** About. */
  bytes: number
}

interface Post {
  kv: number
  /** The row as SQL. */
  sql: string
}

export class MySqlIndex {
  private readonly db: MySql
  private names = new Map<string, Word>()
  private services = new Map<string, Word>()
  private keys = new Map<string, KeyWord>()
  private cached = 0
  private readonly collector: number

  /** @param collector its number, see span-rows.ts */
  constructor(db: MySql, collector: number) {
    this.db = db
    this.collector = collector
  }

  /** Resolves when the messages' spans can be found. */
  async add(messages: Entry[], policy: IndexPolicy): Promise<void> {
    // In portions: what a large call brings at once must not hold up everything else.
    for (const some of stretches(messages, PORTION_BYTES, ({ start, end }) => end - start)) {
      for (let from = 0; from < some.length; ) {
        const day = dayOf(some[from]!.receivedUs)
        let to = from + 1
        while (to < some.length && dayOf(some[to]!.receivedUs) === day) to++
        await this.addOfDay(some.slice(from, to), day, policy)
        from = to
      }
    }
  }

  private async addOfDay(messages: Entry[], day: number, policy: IndexPolicy): Promise<void> {
    const spans: string[] = []
    const posts: Post[] = []
    const terms: string[] = []
    const fresh = new Set<Word>()
    const noted = <W extends Word>(word: W, has: Set<Word>): W => {
      if (word.known !== day) fresh.add(word)
      has.add(word)
      return word
    }
    for (const { id, receivedUs, body, start, end } of messages) {
      const place = `${slotOf(id)},${this.collector}`
      const traces = new IdMap<TraceTerms>()
      let trace: TraceTerms | undefined
      for (const record of decodeRecords(body.subarray(start, end))) {
        const { name, service, annotations } = record
        if (trace?.traceId !== record.traceId) {
          trace = traces.get(record.traceId) ?? { traceId: record.traceId, duration: -1, terms: new Set() }
          traces.set(record.traceId, trace)
        }
        const { terms: has } = trace
        const at = `${recordStartUs(record) ?? receivedUs},${record.traceId},${record.id},${day}`
        const nameId = name === undefined ? 0 : noted(this.word(this.names, SCOPE.name, name), has).number
        const serviceId =
          service === undefined ? 0 : noted(this.word(this.services, SCOPE.service, service), has).number
        const duration = Math.min(recordDurationUs(record) ?? -1, MAX_DURATION_US)
        spans.push(`(${at},${nameId},${serviceId},${duration})`)
        if (duration > trace.duration) trace.duration = duration
        if (annotations === undefined) continue
        for (const [key, value] of annotations) {
          if (!policy.indexes(key)) continue
          const keyWord = this.key(key)
          const { number: kv } = noted(this.value(keyWord, key, policy.cut(value)), has)
          posts.push({ kv, sql: `(${kv},${at},${noted(keyWord, has).number})` })
        }
        if (isError(record)) {
          posts.push({ kv: ERROR_MARK, sql: `(${ERROR_MARK},${at},${ERROR_MARK})` })
          has.add(ERROR)
        }
      }
      for (const trace of traces.values()) pushTerms(terms, trace, place, day)
    }
    if (spans.length === 0) return
    // In the order of the keys: whoever else inserts comes by the same way, and waits instead of meeting head-on.
    posts.sort((a, b) => a.kv - b.kv)
    const words = [...fresh].sort((a, b) => a.id - b.id)
    const most = this.db.statementBytes
    const statements: Statement[] = []
    for (const some of stretches(words, most, ({ text }) => 2 * Buffer.byteLength(text) + ROW_BYTES)) {
      const rows = some.map(({ id, scope, text }) => [id, day, scope, text])
      statements.push({
        sql: 'INSERT IGNORE INTO dict (id, day, scope, text) VALUES ?',
        parameters: [rows],
        bytes: most,
      })
    }
    const insert = (into: string, rows: string[]) => {
      // Rows as SQL, of nothing but numbers: as parameters they would cost twice as much.
      for (const some of stretches(rows, most, row => row.length + 1)) {
        const sql = `${into} VALUES ${some.join(',')}`
        statements.push({ sql, bytes: sql.length })
      }
    }
    insert('INSERT IGNORE INTO span_idx (ts, trace_id, span_id, day, name_id, service_id, duration)', spans)
    insert(
      'INSERT IGNORE INTO post (kv, ts, trace_id, span_id, day, key_id)',
      posts.map(({ sql }) => sql),
    )
    insert(INSERT_TERMS, terms)
    for (const some of stretches(statements, TRANSACTION_BYTES, ({ bytes }) => bytes)) {
      await this.db.transact(async connection => {
        for (const { sql, parameters } of some) await connection.query(sql, parameters)
      })
    }
    for (const word of words) word.known = day
  }

  /** Says where an entry's traces are, though nothing else of it is indexed: so they are found by their ids. */
  async addPlaces({ id, receivedUs, body, start, end }: Entry): Promise<void> {
    const rows: string[] = []
    for (const { traceId } of decodeRecords(body.subarray(start, end))) {
      pushTerms(rows, { traceId, duration: -1, terms: new Set() }, `${slotOf(id)},${this.collector}`, dayOf(receivedUs))
    }
    await this.db.write(`${INSERT_TERMS} VALUES ${rows.join(',')}`)
  }

  private word(words: Map<string, Word>, scope: number, text: string): Word {
    return words.get(text) ?? this.keep(words, text, scopeWord(scope, text))
  }

  private key(text: string): KeyWord {
    const known = this.keys.get(text)
    if (known !== undefined) return known
    return this.keep(this.keys, text, { ...scopeWord(SCOPE.key, text), values: new Map() })
  }

  private value({ number, values }: KeyWord, key: string, text: string): Word {
    const known = values.get(text)
    if (known !== undefined) return known
    const kv = kvOf(key, text)
    return this.keep(values, text, newWord(kv, kv, number, text))
  }

  private keep<W extends Word>(words: Map<string, W>, text: string, word: W): W {
    if (text.length > CACHED_LENGTH) return word
    if (++this.cached > CACHE_TEXTS) {
      this.names = new Map()
      this.services = new Map()
      this.keys = new Map()
      this.cached = 0
    } else {
      words.set(text, word)
    }
    return word
  }
}

const INSERT_TERMS = 'INSERT IGNORE INTO trace_terms (trace_id, slot, collector, uid, day, duration, terms)'

/** Rows, as SQL, that say what a trace has. @param place slot and collector */
function pushTerms(rows: string[], { traceId, duration, terms }: TraceTerms, place: string, day: number): void {
  const all = [...terms]
  for (let from = 0; from === 0 || from < all.length; from += ROW_TERMS) {
    let hex = ''
    for (const word of all.slice(from, from + ROW_TERMS)) hex += word.hex
    rows.push(`(${traceId},${place},${hash52(`${duration}:${hex}`)},${day},${duration},x'${hex}')`)
  }
}

function scopeWord(scope: number, text: string): Word {
  const number = wordId(text)
  return newWord(dictId(scope, number), number, scope, text)
}

function newWord(id: number, number: number, scope: number, text: string): Word {
  const hex = id.toString(16).padStart(TERM_DIGITS, '0')
  return { id, number, hex, scope, text: text.slice(0, MAX_WORD_LENGTH), known: -1 }
}

/** What dict has no text of. */
const ERROR = newWord(ERROR_MARK, ERROR_MARK, 0, '')

/** How far a collector's journal is settled; undefined when that isn't known. */
export async function readCheckpoint(db: MySql, collector: string): Promise<bigint | undefined> {
  const [row] = await db.read('SELECT seq FROM checkpoint WHERE collector = ?', [collector])
  return row === undefined ? undefined : BigInt(row[0]!)
}

/** Where in Cassandra a trace's records may be, in the order of their acceptance. */
export async function placesOfTrace(db: MySql, traceId: bigint): Promise<TracePlace[]> {
  const rows = await db.read('SELECT DISTINCT slot, collector FROM trace_terms WHERE trace_id = ? ORDER BY slot', [
    traceId,
  ])
  return rows.map(([slot, collector]) => ({ slot: BigInt(slot!), collector: Number(collector) }))
}

export function dayOf(us: bigint): number {
  return Math.max(0, Number(us / DAY_US))
}
