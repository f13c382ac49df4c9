import { hash } from 'node:crypto'
import { isError, recordDurationUs, recordStartUs } from '../../record/half'
import { IdMap } from '../../record/ids'
import { decodeRecords, scanRecords } from '../../record/records'
import { chunksBySize } from '../chunks'
import { hash52 } from '../hash64'
import type { Entry } from '../pipeline/entry'
import type { IndexPolicy } from '../search/index-policy'
import type { MySql, Row } from './mysql'
import { slotOf, type TracePlace } from './span-rows'

/**
 * Writes the search index: the terms of each record, as rows of numbers (sql/mysql/0001-tables.sql). mysql-search.ts searches it.
 */

/** Scopes of words in dict. The scope of a value is the id of its key; those ids begin at 16. */
export const SCOPE = { name: 1, service: 2, key: 3 } as const
/** The kv and key_id of records that ended in an error. */
export const ERROR_MARK = 4
export const FIRST_ID = 16
/** Above all ids of words in dict. */
const FIRST_KV = 2 ** 36
export const MAX_DURATION_US = Number.MAX_SAFE_INTEGER
export const DAY_US = 86_400_000_000n

/** How many bytes of messages are indexed at once. */
const MAX_PORTION_BYTES = 1024 * 1024
/** The approximate size of a transaction's SQL, so that it ends in time whatever is in a message. */
const MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
/** The approximate size of a row of dict without its text. */
const ROW_OVERHEAD_BYTES = 64
/** How many words are cached. Above it, the cache starts anew, and each word in use is hashed once more. */
const MAX_CACHED_WORDS = 200_000
/** Longer words aren't cached: they rarely occur twice. */
const MAX_CACHED_LENGTH = 300
/** How many terms a row of trace_terms has at most: its column has room for 571. */
const MAX_ROW_TERMS = 500
/** How many places of a trace are read from trace_terms at once. */
const MAX_PLACES = 500
/** The hex digits of a term in trace_terms: terms are below 2^52, and 7 bytes have room for 2^56. */
export const TERM_DIGITS = 14
/** The maximal length of a name, service or key in dict: it fits into a TEXT whatever the characters. */
export const MAX_WORD_LENGTH = 10_000

export function wordId(text: string): number {
  const id = Number.parseInt(hash('sha256', text).slice(0, 8), 16)
  return id < FIRST_ID ? id + FIRST_ID : id
}

/** Returns a word's id in dict and in trace_terms. */
export function dictId(scope: number, wordId: number): number {
  return scope * 2 ** 32 + wordId
}

/** Returns the number of a key with a value. @param value already cut to the indexed length */
export function kvOf(key: string, value: string): number {
  // The key's length is hashed too: otherwise, key and value could be divided elsewhere with the same result.
  const kv = hash52(`${key.length}:${key}${value}`)
  return kv < FIRST_KV ? kv + FIRST_KV : kv
}

/** A word that dict contains or will contain. */
interface Word {
  id: number
  /** The number in span_idx and post: the id without its scope. */
  number: number
  /** The id in trace_terms, in hex. */
  hex: string
  scope: number
  text: string
  /** The last day for which a committed transaction has written the word. */
  known: number
}

interface KeyWord extends Word {
  values: Map<string, Word>
}

/** The terms of a trace's records in one message. */
interface TraceTerms {
  traceId: bigint
  duration: number
  terms: Set<Word>
}

interface Statement {
  sql: string
  /** Left out if there are none: then mysql2 doesn't scan the SQL for placeholders. */
  parameters?: unknown[]
  /** The approximate size. */
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

  /** @param collector the collector's number (see collectorNumber) */
  constructor(db: MySql, collector: number) {
    this.db = db
    this.collector = collector
  }

  /** Resolves when the messages' spans can be found. */
  async add(messages: Entry[], policy: IndexPolicy): Promise<void> {
    // In portions, so that a large call doesn't block everything else.
    for (const some of chunksBySize(messages, MAX_PORTION_BYTES, ({ start, end }) => end - start)) {
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
    // Sorted by key: concurrent transactions insert in the same order, and so wait for each other instead of deadlocking.
    posts.sort((a, b) => a.kv - b.kv)
    const words = [...fresh].sort((a, b) => a.id - b.id)
    const maxBytes = this.db.statementBytes
    const statements: Statement[] = []
    for (const some of chunksBySize(words, maxBytes, ({ text }) => 2 * Buffer.byteLength(text) + ROW_OVERHEAD_BYTES)) {
      const rows = some.map(({ id, scope, text }) => [id, day, scope, text])
      statements.push({
        sql: 'INSERT IGNORE INTO dict (id, day, scope, text) VALUES ?',
        parameters: [rows],
        bytes: maxBytes,
      })
    }
    const insert = (into: string, rows: string[]) => {
      // The rows contain only numbers, and are written as SQL: as parameters they would take twice as long.
      for (const some of chunksBySize(rows, maxBytes, row => row.length + 1)) {
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
    for (const some of chunksBySize(statements, MAX_TRANSACTION_BYTES, ({ bytes }) => bytes)) {
      await this.db.transact(async connection => {
        for (const { sql, parameters } of some) await connection.query(sql, parameters)
      })
    }
    for (const word of words) word.known = day
  }

  /** Writes only where the trace of a single record is, so that it is found by its id although nothing else is indexed. */
  async addPlace({ id, receivedUs, body, start, end }: Entry): Promise<void> {
    const rows: string[] = []
    // The record isn't decoded: that may be why it can't be indexed.
    scanRecords(body.subarray(start, end), (_start, _end, { traceIdAt }) => {
      const traceId = body.readBigInt64BE(start + traceIdAt)
      pushTerms(rows, { traceId, duration: -1, terms: new Set() }, `${slotOf(id)},${this.collector}`, dayOf(receivedUs))
    })
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
    if (text.length > MAX_CACHED_LENGTH) return word
    if (++this.cached > MAX_CACHED_WORDS) {
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

/** Adds the rows of trace_terms for a trace, as SQL. @param place slot and collector */
function pushTerms(rows: string[], { traceId, duration, terms }: TraceTerms, place: string, day: number): void {
  const all = [...terms]
  for (let from = 0; from === 0 || from < all.length; from += MAX_ROW_TERMS) {
    let hex = ''
    for (const word of all.slice(from, from + MAX_ROW_TERMS)) hex += word.hex
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

/** The term of errors, which isn't in dict. */
const ERROR = newWord(ERROR_MARK, ERROR_MARK, 0, '')

/** Reads how far a collector's journal is settled; undefined if that isn't known. */
export async function readCheckpoint(db: MySql, collector: string): Promise<bigint | undefined> {
  const [row] = await db.read('SELECT seq FROM checkpoint WHERE collector = ?', [collector])
  return row === undefined ? undefined : BigInt(row[0]!)
}

/** Yields where in Cassandra a trace's records may be, in order of acceptance. */
export async function* placesOfTrace(db: MySql, traceId: bigint): AsyncGenerator<TracePlace[]> {
  // A sender that uses the same id all day makes a place each second.
  let rows: Row[] = []
  do {
    const [slot, collector] = rows.at(-1) ?? []
    const after = slot === undefined ? '' : `AND (slot > ${slot} OR (slot = ${slot} AND collector > ${collector}))`
    rows = await db.read(
      `SELECT DISTINCT slot, collector FROM trace_terms WHERE trace_id = ? ${after}
       ORDER BY slot, collector LIMIT ${MAX_PLACES}`,
      [traceId],
    )
    yield rows.map(([slot, collector]) => ({ slot: BigInt(slot!), collector: Number(collector) }))
  } while (rows.length === MAX_PLACES)
}

export function dayOf(us: bigint): number {
  return Math.max(0, Number(us / DAY_US))
}
