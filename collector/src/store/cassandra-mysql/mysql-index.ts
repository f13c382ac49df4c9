import { IdMap } from '../../record/ids'
import { scanRecords } from '../../record/records'
import { Turns, takeAtOnce } from '../../turns'
import { chunksBySize, grouped } from '../chunks'
import { hash52 } from '../hash64'
import type { Entry } from '../pipeline/entry'
import type { IndexPolicy } from '../search/index-policy'
import type { MySql, Row } from './mysql'
import { Postings, type TraceTerms } from './mysql-postings'
import { termsIn, type Word, Words } from './mysql-terms'
import { valueBlocks } from './mysql-value-blocks'
import { collectorNumber, type SharedPlace, slotOf, type TracePlace } from './span-rows'

/**
 * Writes the search index of sql/mysql/0001-blocks.sql; mysql-search.ts searches it. A trace's records usually come together and have
 * much in common, so what is settled together makes
 *
 *     a row of trace_terms for each trace and second of acceptance
 *     a place for each trace, term and window of time, with the newest start and the longest duration
 *     a row of post for all places of a term and a window (mysql-blocks.ts)
 *     a row of dict for each word that is new on a day, and of value_block for a key's new values (mysql-value-blocks.ts)
 */

export const DAY_US = 86_400_000_000n

/** How many bytes of messages are indexed at once. While one portion is being written, the next one is prepared. */
const MAX_PORTION_BYTES = 3 * 1024 * 1024
/** The approximate size of a transaction's SQL, so that it ends in time whatever is in a message. */
const MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
/** The approximate size of a row of dict without its text. */
const ROW_OVERHEAD_BYTES = 64
/** How many terms a row of trace_terms has at most: its column has room for 571. */
const MAX_ROW_TERMS = 500
/** How many records are read before the clock is looked at. */
const RECORDS_BETWEEN = 32
/** How many places of traces are read from trace_terms at once, to read what is there. */
const MAX_PLACES = 500
/** How many, to look at all of them. */
const MAX_PLACES_AT_ONCE = 20_000

interface Statement {
  sql: string
  parameters?: unknown[]
  /** The approximate size. */
  bytes: number
}

/** What has to be written for messages. */
interface Prepared {
  statements: Statement[]
  /** Those that dict will have. */
  words: Word[]
}

export class MySqlIndex {
  private readonly db: MySql
  private readonly collector: number
  private readonly words = new Words()

  /** @param collector the collector's number (see collectorNumber) */
  constructor(db: MySql, collector: number) {
    this.db = db
    this.collector = collector
  }

  /** Resolves when the messages' spans can be found. Must not be called again before. */
  async add(messages: Entry[], policy: IndexPolicy): Promise<void> {
    let writing: Promise<void> = Promise.resolve()
    try {
      for (const some of chunksBySize(messages, MAX_PORTION_BYTES, ({ start, end }) => end - start)) {
        for (const [day, ofDay] of grouped(some, ({ receivedUs }) => dayOf(receivedUs))) {
          const prepared = await this.prepare(ofDay, day, policy)
          await writing
          writing = this.write(prepared, day)
          // Whoever awaits it gets its error; until then, nobody does.
          writing.catch(() => {})
        }
      }
    } finally {
      await writing
    }
  }

  private async prepare(messages: Entry[], day: number, policy: IndexPolicy): Promise<Prepared> {
    const turns = new Turns()
    const postings = new Postings(this.words)
    await turns.take(postings.read(messages, policy), RECORDS_BETWEEN)
    const terms: string[] = []
    for (const trace of postings.termsOfTraces()) {
      pushTerms(terms, trace, this.collector, day)
      if (turns.over()) await turns.next()
    }
    // Sorted by key: concurrent transactions insert in the same order, and so wait for each other instead of deadlocking.
    const placed = postings.placed.sort((a, b) => (a.term < b.term ? -1 : 1))
    const words = placed.filter(({ known, scope }) => known !== day && scope !== '')
    const maxBytes = this.db.statementBytes
    const statements: Statement[] = []
    for (const some of chunksBySize(words, maxBytes, ({ text }) => 2 * Buffer.byteLength(text) + ROW_OVERHEAD_BYTES)) {
      if (turns.over()) await turns.next()
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
    for (const word of placed) {
      if (turns.over()) await turns.next()
      for (const { place, older } of postings.blocksOf(word)) {
        rows.push(`(x'${word.term}',x'${place}',${day},x'${older}')`)
      }
    }
    insert('INSERT IGNORE INTO post (term, place, day, older)', rows)
    insert(INSERT_TERMS, terms)
    insert('INSERT IGNORE INTO value_block (scope, day, uid, texts)', [...valueBlocks(words, day)])
    return { statements, words }
  }

  private async write({ statements, words }: Prepared, day: number): Promise<void> {
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
      const trace = { id: body.readBigInt64BE(start + traceIdAt), slot: slotOf(id), words: [], durationUs: -1 }
      pushTerms(rows, trace, this.collector, dayOf(receivedUs))
    })
    await this.db.write(`${INSERT_TERMS} VALUES ${rows.join(',')}`)
  }

  /** Returns the terms that trace_terms must have for each trace of a message. */
  termsOf(message: Entry, policy: IndexPolicy): Map<bigint, Set<string>> {
    const postings = new Postings(this.words)
    takeAtOnce(postings.read([message], policy))
    const terms = new IdMap<Set<string>>()
    for (const { id, words } of postings.termsOfTraces()) terms.set(id, new Set(words.map(({ term }) => term)))
    return terms
  }
}

const INSERT_TERMS = 'INSERT IGNORE INTO trace_terms (trace_id, slot, collector, uid, day, duration, terms)'

/** Adds the rows of trace_terms for a trace, as SQL. */
function pushTerms(rows: string[], { id, slot, words, durationUs }: TraceTerms, collector: number, day: number): void {
  for (let from = 0; from === 0 || from < words.length; from += MAX_ROW_TERMS) {
    let hex = ''
    for (const { term } of words.slice(from, from + MAX_ROW_TERMS)) hex += term
    rows.push(`(${id},${slot},${collector},${uidOf(durationUs, hex)},${day},${durationUs},x'${hex}')`)
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

/**
 * Yields where in Cassandra records of traces may be, in order of acceptance. A sender that uses the same id all day makes a place each
 * second.
 * @param wanted the traces; those that are removed meanwhile aren't looked for any more
 */
export async function* placesOfTraces(db: MySql, wanted: IdMap<unknown>): AsyncGenerator<SharedPlace[]> {
  let rows: Row[] = []
  while (wanted.size > 0) {
    const [slot, collector, traceId] = rows.at(-1) ?? []
    const after =
      slot === undefined
        ? ''
        : `AND (slot > ${slot} OR (slot = ${slot} AND (collector > ${collector} OR (collector = ${collector} AND trace_id > ${traceId}))))`
    rows = await db.read(
      `SELECT DISTINCT slot, collector, trace_id FROM trace_terms WHERE trace_id IN (${[...wanted.keys()]}) ${after}
       ORDER BY slot, collector, trace_id LIMIT ${MAX_PLACES}`,
    )
    const places = grouped(rows, ([slot, collector]) => `${slot} ${collector}`)
    yield Array.from(places, ([, some]) => ({
      ...tracePlace(some[0]!),
      traceIds: some.map(([, , traceId]) => BigInt(traceId!)),
    }))
    if (rows.length < MAX_PLACES) return
  }
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
