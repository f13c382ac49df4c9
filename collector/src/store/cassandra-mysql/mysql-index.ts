import { Reader } from 'milo/codec/binary'
import { isErrorAt } from '../../record/half'
import { IdMap } from '../../record/ids'
import { RecordReader } from '../../record/reader'
import { scanRecords } from '../../record/records'
import { chunksBySize } from '../chunks'
import { hash52 } from '../hash64'
import type { Entry } from '../pipeline/entry'
import type { IndexPolicy } from '../search/index-policy'
import { WINDOW_BITS } from '../search/window'
import type { MySql, Row } from './mysql'
import {
  durationHex,
  KeyWord,
  MAX_DURATION_US,
  ordered,
  orderedAt,
  TERM_DIGITS,
  termsIn,
  type Word,
  Words,
} from './mysql-terms'
import { collectorNumber, slotOf, type TracePlace } from './span-rows'

/**
 * Writes the search index of sql/mysql/0001-places.sql; mysql-search.ts searches it. A trace's records usually come together and have
 * much in common, so a message makes
 *
 *     a row of trace_terms for each trace
 *     a row of post for each trace, term and window of time, with the newest start and the longest duration
 */

export const DAY_US = 86_400_000_000n

/** How many bytes of messages are indexed at once. */
const MAX_PORTION_BYTES = 1024 * 1024
/** The approximate size of a transaction's SQL, so that it ends in time whatever is in a message. */
const MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
/** The approximate size of a row of dict without its text. */
const ROW_OVERHEAD_BYTES = 64
/** How many terms a row of trace_terms has at most: its column has room for 571. */
const MAX_ROW_TERMS = 500
/** How many places of a trace are read from trace_terms at once. */
const MAX_PLACES = 500
/** How many places of all traces. */
const MAX_PLACES_AT_ONCE = 20_000

/** How many hex digits of a start, which has 16, tell its window. */
const WINDOW_DIGITS = 16 - WINDOW_BITS / 4
/** The name of a record without a name. */
const NO_NAME = '0'.repeat(TERM_DIGITS)

interface Trace {
  id: bigint
  /** The part of its places. */
  hex: string
  records: Found[]
}

/** What a record can be found by. */
interface Found {
  /** The part of its place. */
  start: string
  durationUs: number
  words: Word[]
  /** Which span it is of, in hex, for its values; empty if it has none. */
  span: string
}

/** The row of trace_terms. */
interface TraceTerms {
  /** A key's values follow the key. */
  words: Word[]
  durationUs: number
}

interface Statement {
  sql: string
  parameters?: unknown[]
  /** The approximate size. */
  bytes: number
}

/** A row of post, without the term. */
interface Post {
  place: string
  durationUs: number
  /** Instead of the duration, for a value. */
  span: string
}

export class MySqlIndex {
  private readonly db: MySql
  private readonly collector: number
  private readonly words = new Words()
  private readonly reader = new RecordReader()
  /** Numbers traces and windows of time: see Word. */
  private noted = 0

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
    const posts = new Map<Word, Post[]>()
    const terms: string[] = []
    for (const message of messages) {
      const place = `${slotOf(message.id)},${this.collector}`
      for (const trace of this.tracesOf(message, policy))
        pushTerms(terms, trace.id, this.addTrace(posts, trace), place, day)
    }
    if (posts.size === 0) return
    // Sorted by key: concurrent transactions insert in the same order, and so wait for each other instead of deadlocking.
    const sorted = [...posts].sort(([a], [b]) => (a.term < b.term ? -1 : 1))
    const words = sorted.map(([word]) => word).filter(({ known, scope }) => known !== day && scope !== '')
    const maxBytes = this.db.statementBytes
    const statements: Statement[] = []
    for (const some of chunksBySize(words, maxBytes, ({ text }) => 2 * Buffer.byteLength(text) + ROW_OVERHEAD_BYTES)) {
      const rows = some.map(({ term, scope }) => `(x'${term}',${day},x'${scope}',?)`)
      statements.push({
        sql: `INSERT IGNORE INTO dict (term, day, scope, text) VALUES ${rows}`,
        parameters: some.map(({ text }) => text),
        bytes: maxBytes,
      })
    }
    const insert = (into: string, rows: string[]) => {
      // The rows contain no strings, and are written as SQL: as parameters they would take twice as long.
      for (const some of chunksBySize(rows, maxBytes, row => row.length + 1)) {
        const sql = `${into} VALUES ${some.join(',')}`
        statements.push({ sql, bytes: sql.length })
      }
    }
    const rows: string[] = []
    for (const [{ term }, some] of sorted) {
      for (const { place, durationUs, span } of some) {
        rows.push(`(x'${term}',x'${place}${span || durationHex(durationUs)}',${day})`)
      }
    }
    insert('INSERT IGNORE INTO post (term, place, day)', rows)
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
      pushTerms(rows, traceId, { words: [], durationUs: -1 }, `${slotOf(id)},${this.collector}`, dayOf(receivedUs))
    })
    await this.db.write(`${INSERT_TERMS} VALUES ${rows.join(',')}`)
  }

  /** Returns the terms that trace_terms must have for each trace of a message. */
  termsOf(message: Entry, policy: IndexPolicy): Map<bigint, Set<string>> {
    const terms = new IdMap<Set<string>>()
    for (const { id, records } of this.tracesOf(message, policy)) {
      const words = records.flatMap(({ words }) => words).filter(word => word !== this.words.every)
      terms.set(id, new Set(words.map(({ term }) => term)))
    }
    return terms
  }

  /** Reads what each trace of a message can be found by. */
  private tracesOf({ body, start, end, receivedUs }: Entry, policy: IndexPolicy): Iterable<Trace> {
    const { reader } = this
    const text = new Reader(body)
    const received = ordered(receivedUs)
    const traces = new Map<string, Trace>()
    let trace: Trace | undefined
    let before = 0
    for (let pos = start; pos < end; ) {
      pos = reader.read(body, pos)
      const at = reader.traceIdAt
      // Most records follow others of their trace.
      if (trace === undefined || body.compare(body, before, before + 8, at, at + 8) !== 0) {
        const hex = orderedAt(body, at)
        trace = traces.get(hex)
        if (trace === undefined) {
          trace = { id: body.readBigInt64BE(at), hex, records: [] }
          traces.set(hex, trace)
        }
      }
      before = at
      trace.records.push(this.found(text, received, policy))
    }
    return traces.values()
  }

  /** Returns what the record in `reader` can be found by. */
  private found(text: Reader, received: string, policy: IndexPolicy): Found {
    const { reader, words } = this
    const { annotations, firstAt, lastAt } = reader
    const { buf } = text
    const stringAt = (at: number) => {
      text.pos = at - 4
      return text.string()
    }
    const found: Word[] = [words.every]
    const name = reader.nameAt === -1 ? undefined : words.name(stringAt(reader.nameAt))
    if (name !== undefined) found.push(name)
    if (reader.serviceAt !== -1) found.push(words.service(stringAt(reader.serviceAt)))
    for (let i = 0; i < annotations.length; i += 4) {
      const keyText = stringAt(annotations[i]!)
      if (!policy.indexes(keyText)) continue
      const key = words.key(keyText)
      found.push(key, words.value(key, keyText, policy.cut(stringAt(annotations[i + 2]!))))
    }
    if (isErrorAt(buf, reader)) found.push(words.error)
    const span =
      annotations.length === 0 ? '' : buf.toString('hex', reader.idAt, reader.idAt + 8) + (name?.term ?? NO_NAME)
    if (firstAt === -1) return { start: received, durationUs: -1, words: found, span }
    const high = buf.readInt32BE(lastAt) - buf.readInt32BE(firstAt)
    const durationUs = high * 2 ** 32 + (buf.readUInt32BE(lastAt + 4) - buf.readUInt32BE(firstAt + 4))
    return {
      start: orderedAt(buf, firstAt),
      durationUs: Math.min(durationUs, MAX_DURATION_US),
      words: found,
      span,
    }
  }

  /** Adds a trace's rows of post. */
  private addTrace(posts: Map<Word, Post[]>, { hex, records }: Trace): TraceTerms {
    const trace = ++this.noted
    let window = ''
    let ofWindow = 0
    let longest = -1
    const noted: Word[] = []
    records.sort((a, b) => (a.start < b.start ? 1 : a.start > b.start ? -1 : 0))
    for (const { start, durationUs, words, span } of records) {
      if (durationUs > longest) longest = durationUs
      if (ofWindow === 0 || !start.startsWith(window)) {
        window = start.slice(0, WINDOW_DIGITS)
        ofWindow = ++this.noted
      }
      const place = start + hex
      for (const word of words) {
        let own = posts.get(word)
        if (word.window === ofWindow) {
          const post = own!.at(-1)!
          if (durationUs > post.durationUs) post.durationUs = durationUs
          continue
        }
        word.window = ofWindow
        if (own === undefined) posts.set(word, (own = []))
        own.push({ place, durationUs, span: word.key === undefined ? '' : span })
        if (word.trace === trace || word === this.words.every) continue
        word.trace = trace
        if (word.key !== undefined) word.key.noted.push(word)
        else noted.push(word)
        if (word instanceof KeyWord) word.noted = []
      }
    }
    return {
      words: noted.flatMap(word => (word instanceof KeyWord ? [word, ...word.noted] : word)),
      durationUs: longest,
    }
  }
}

const INSERT_TERMS = 'INSERT IGNORE INTO trace_terms (trace_id, slot, collector, uid, day, duration, terms)'

/** Adds the rows of trace_terms for a trace, as SQL. @param place slot and collector */
function pushTerms(
  rows: string[],
  traceId: bigint,
  { words, durationUs }: TraceTerms,
  place: string,
  day: number,
): void {
  for (let from = 0; from === 0 || from < words.length; from += MAX_ROW_TERMS) {
    let hex = ''
    for (const { term } of words.slice(from, from + MAX_ROW_TERMS)) hex += term
    rows.push(`(${traceId},${place},${uidOf(durationUs, hex)},${day},${durationUs},x'${hex}')`)
  }
}

function uidOf(durationUs: number, hex: string): number {
  return hash52(`${durationUs}:${hex}`)
}

/** Removes a trace's rows of trace_terms in a place that aren't as they were written: a good one would count as written already. */
export async function dropDamagedTerms(db: MySql, { slot, collector }: TracePlace, traceId: bigint): Promise<void> {
  const ofTrace = `trace_id = ${traceId} AND slot = ${slot} AND collector = ${collector}`
  const rows = await db.read(`SELECT uid, duration, LOWER(HEX(terms)) FROM trace_terms WHERE ${ofTrace}`)
  for (const [uid, durationUs, hex] of rows) {
    if (Number(uid) === uidOf(Number(durationUs), String(hex))) continue
    await db.write(`DELETE FROM trace_terms WHERE ${ofTrace} AND uid = ${uid}`)
  }
}

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
    yield rows.map(tracePlace)
  } while (rows.length === MAX_PLACES)
}

/** Yields the places of all traces, each as often as traces have it. */
export async function* allPlaces(db: MySql): AsyncGenerator<TracePlace> {
  let rows: Row[] = []
  do {
    const [slot, collector, traceId] = rows.at(-1) ?? []
    const after =
      slot === undefined
        ? 'TRUE'
        : `trace_id >= ${traceId} AND (trace_id > ${traceId} OR slot > ${slot} OR (slot = ${slot} AND collector > ${collector}))`
    rows = await db.read(
      `SELECT DISTINCT slot, collector, trace_id FROM trace_terms WHERE ${after}
       ORDER BY trace_id, slot, collector LIMIT ${MAX_PLACES_AT_ONCE}`,
    )
    yield* rows.map(tracePlace)
  } while (rows.length === MAX_PLACES_AT_ONCE)
}

function tracePlace([slot, collector]: Row): TracePlace {
  return { slot: BigInt(slot!), collector: Number(collector) }
}

/** Returns the terms of traces in one place; traces without any row there are left out. */
export async function termsAt(
  db: MySql,
  { slot, collector }: TracePlace,
  traceIds: bigint[],
): Promise<Map<bigint, Set<string>>> {
  const found = new IdMap<Set<string>>()
  for (let i = 0; i < traceIds.length; i += MAX_PLACES) {
    const ids = traceIds.slice(i, i + MAX_PLACES)
    const rows = await db.read(
      `SELECT trace_id, LOWER(HEX(terms)) FROM trace_terms
       WHERE trace_id IN (${ids}) AND slot = ${slot} AND collector = ${collector}`,
    )
    for (const [id, hex] of rows) {
      const traceId = BigInt(id!)
      const terms = found.get(traceId) ?? new Set()
      found.set(traceId, terms)
      for (const term of termsIn(String(hex))) terms.add(term)
    }
  }
  return found
}

/** Returns how far the journal of each collector is settled, by the collectors' numbers. */
export async function checkpoints(db: MySql): Promise<Map<number, bigint>> {
  const rows = await db.read('SELECT collector, seq FROM checkpoint')
  return new Map(rows.map(([collector, seq]) => [collectorNumber(String(collector)), BigInt(seq!)]))
}

export function dayOf(us: bigint): number {
  return Math.max(0, Number(us / DAY_US))
}
