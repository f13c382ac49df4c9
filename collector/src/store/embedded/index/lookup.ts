import { compareNumber } from '../../../query'
import { IdMap } from '../../../record/ids'
import { wordSearch } from '../../bytes'
import type { IndexPolicy } from '../../search/index-policy'
import { comparePlaces, I64_MAX, I64_MIN, type Place } from '../../search/place'
import { EVERY_RECORD, type IndexQuery, type Places, type SpanIndex, type Term } from '../../search/span-index'
import { type CompletionQuery, StoreError } from '../../store'
import type { EmbeddedFile } from '../file'
import { ColumnCache, lastBelow } from './column-cache'
import { columns, LONGEST_US, PART_ROWS } from './columns'
import { END_OF_VALUE } from './indexer'
import { SpanSet } from './span-set'
import {
  cutWord,
  ERROR,
  KEY,
  MAX_WORD_LENGTH,
  query as matchOf,
  NAME,
  SERVICE,
  token,
  VALUE,
  valueToken,
  wordOf,
} from './tokens'

/** The newest rows of a term in a part, which show how dense they are; all of them when there are fewer. */
const PROBE_ROWS = 200
/** A search reads driver places at once without a sieve when there are so few, or when one of so many fits. */
const FEW_PLACES = 60
const DENSE = 8
/** Among how many records it pays to find out, before any trace is read, which spans have all of a query's terms. */
const SIEVE_RECORDS = { atOnce: 500_000, later: 8_000_000 } as const
/** How long what was found out holds while more arrives. */
const SIEVE_MS = 1_000
const MAX_SIEVES = 40
/** What lists places gives what it has after so long. */
const PLACES_MS = 500
/** Pages of words that begin with something: with more, and more than a share of the key's, the key's records are listed instead. */
const PREFIX_PAGES = 200
const PREFIX_SHARE = 10
/** Of so many keys the pages are counted: with more, each has few. */
const PREFIX_KEYS = 100
/** Values that contain something, and keys: with more the key's records are listed instead, or all. */
const MAX_VALUES = 20_000
/** Words in one query of FTS5. */
const MATCH_WORDS = 500
/** Rows that are kept, in bytes. */
const CACHE_BYTES = 64 * 1024 * 1024

/**
 * The records of a part that a term finds, or more: as FTS5's query, as their numbers, or every one.
 * @property of the term that finds them, if it is a wider one
 */
type Source = { match: string; of?: Term } | { rows: Uint32Array } | 'all'

/** Search in the parts of the index. Nothing here waits, so that each question sees the file as it is at one moment. */
export class FtsIndex implements SpanIndex {
  private readonly file: EmbeddedFile
  private readonly policy: IndexPolicy
  private readonly columns: ColumnCache
  private readonly cache = new RowsCache()
  private readonly sieves = new Map<string, Sieve>()

  constructor(file: EmbeddedFile, policy: IndexPolicy) {
    this.file = file
    this.policy = policy
    this.columns = new ColumnCache(file)
  }

  async count(term: Term, most: number, mayGoOn: () => void): Promise<number> {
    if (this.unindexed(term) !== undefined) return Infinity
    return this.asking(parts => this.estimate(parts, term, most, mayGoOn))
  }

  async places(query: IndexQuery, after: Place | undefined, most: number, mayGoOn: () => void): Promise<Places> {
    const key = this.unindexed(query.driver)
    if (key !== undefined) {
      const message = `annotations of ${JSON.stringify(key)} aren't indexed: see index.allow and index.deny, or search for something else as well`
      throw new StoreError('MILO_NOT_INDEXED', message)
    }
    return this.asking(parts => {
      const sieved = this.sieved(parts, query, after, mayGoOn)
      if (sieved !== undefined) return this.list(parts, sieved, query, after, most)
      const sources = this.sources(parts, query.driver, mayGoOn)
      const of = [...sources.values()].map(source => (source === 'all' ? EVERY_RECORD : 'of' in source && source.of))
      const wider = of.find(term => term === EVERY_RECORD) || of.find(Boolean)
      return { ...this.list(parts, sources, query, after, most), ...(wider && { of: wider }) }
    })
  }

  async complete({ field, key, prefix, limit }: CompletionQuery): Promise<string[]> {
    const kind = { name: NAME, service: SERVICE, key: KEY, value: VALUE }[field]
    const start = field === 'value' ? valueToken(cutWord(key!), '') : kind
    const cutLength = field === 'value' ? this.policy.maxValueLength : MAX_WORD_LENGTH
    const from = field === 'value' ? valueToken(cutWord(key!), prefix) : token(kind, prefix)
    return this.asking(parts => {
      const words = new Set<string>()
      for (const part of parts) {
        let found = 0
        for (const term of this.terms(part, from)) {
          const word = wordOf(term, start)
          // What was cut would find nothing.
          if (word.length < cutLength) {
            words.add(word)
            found++
          }
          if (found === limit) break
        }
      }
      return [...words].sort().slice(0, limit)
    })
  }

  private asking<R>(ask: (parts: bigint[]) => R): R {
    return this.file.snapshot(() => {
      const parts = this.file.liveParts()
      this.columns.refresh(parts)
      return ask(parts)
    })
  }

  /** The key that keeps a term from being found. */
  private unindexed(term: Term): string | undefined {
    const key = 'key' in term ? term.key : undefined
    return key === undefined || this.policy.indexes(cutWord(key)) ? undefined : key
  }

  /** The words of a part that begin with something. From one to the next FTS5's index is asked: each may have millions of rows. */
  private *terms(part: bigint, start: string): Generator<string, void> {
    for (let from = start; ; ) {
      // As bytes: of text that isn't UTF-8, as after a flipped bit, libsql dies.
      const row = this.file.index(part).selectTerm.get([from]) as [Buffer] | undefined
      const term = row?.[0].toString()
      if (!term?.startsWith(start)) return
      yield term
      // Behind this one, and before what begins with it.
      from = `${term}\u0001`
    }
  }

  /** All keys of a part, or one more than MAX_VALUES. */
  private keys(part: bigint): string[] {
    const keys: string[] = []
    for (const term of this.terms(part, KEY)) {
      keys.push(wordOf(term, KEY))
      if (keys.length > MAX_VALUES) break
    }
    return keys
  }

  private sources(parts: bigint[], term: Term, mayGoOn: () => void): Map<bigint, Source> {
    const sources = new IdMap<Source>()
    for (const part of parts) {
      mayGoOn()
      const source = this.sourceOf(part, term, mayGoOn)
      if (source !== undefined) sources.set(part, source)
    }
    return sources
  }

  private sourceOf(part: bigint, term: Term, mayGoOn: () => void): Source | undefined {
    switch (term.kind) {
      case 'half': {
        const tokens: string[] = []
        if (term.name !== undefined) tokens.push(token(NAME, cutWord(term.name)))
        if (term.service !== undefined) tokens.push(token(SERVICE, cutWord(term.service)))
        return tokens.length === 0 ? 'all' : { match: matchOf(tokens) }
      }
      case 'error':
        return { match: matchOf([ERROR]) }
      case 'key':
        return { match: matchOf([token(KEY, cutWord(term.key))]) }
      case 'value':
        return this.sourceOfValue(part, term, mayGoOn)
      case 'number':
        return this.sourceOfNumber(part, term, mayGoOn)
    }
  }

  private sourceOfNumber(part: bigint, term: Term & { kind: 'number' }, mayGoOn: () => void): Source | undefined {
    const key = cutWord(term.key)
    const found = new Set<string>()
    for (const data of this.file.valuesOf(part, Buffer.from(key))) {
      mayGoOn()
      for (let at = 0, end = data.indexOf(END_OF_VALUE); end !== -1; end = data.indexOf(END_OF_VALUE, at)) {
        const value = data.toString('utf8', at, end)
        at = end + 1
        // What was cut may have been any number.
        if (value.length >= this.policy.maxValueLength || compareNumber(value, term)) found.add(value)
      }
      if (found.size > MAX_VALUES) return this.ofKey(key)
    }
    if (found.size === 0) return undefined
    const tokens = [...found].map(value => valueToken(key, value))
    return { rows: this.rowsOfAny(part, tokens, 'exact', mayGoOn) }
  }

  /** Every record with the key, for a term that finds only some of them. */
  private ofKey(key: string): Source {
    return { match: matchOf([token(KEY, key)]), of: { kind: 'key', key } }
  }

  private sourceOfValue(
    part: bigint,
    { key, value, match }: Term & { kind: 'value' },
    mayGoOn: () => void,
  ): Source | undefined {
    const word = this.policy.cut(value)
    if (key !== undefined && match === 'exact') return { match: matchOf([valueToken(cutWord(key), word)]) }
    const keys = key !== undefined ? [cutWord(key)] : this.keys(part)
    if (keys.length > MAX_VALUES) return 'all'
    const inFull = key === undefined ? 'all' : this.ofKey(keys[0]!)
    if (match === 'contains') {
      const tokens: string[] = []
      for (const key of keys) {
        mayGoOn()
        for (const value of this.valuesWith(part, key, Buffer.from(word))) tokens.push(valueToken(key, value))
        if (tokens.length > MAX_VALUES) return inFull
      }
      return tokens.length === 0 ? undefined : { rows: this.rowsOfAny(part, tokens, 'exact', mayGoOn) }
    }
    const tokens = keys.map(key => valueToken(key, word))
    if (tokens.length === 0) return undefined
    const isBroad = (token: string, i: number) => this.isBroad(part, token, valueToken(keys[i]!, ''))
    if (match === 'prefix' && tokens.length <= PREFIX_KEYS && tokens.some(isBroad)) return inFull
    return { rows: this.rowsOfAny(part, tokens, match, mayGoOn) }
  }

  /** Whether so much of a key begins with something that it's quicker to read traces than to put all its records in order. */
  private isBroad(part: bigint, start: string, key: string): boolean {
    const pages = this.file.index(part).pagesOf(start)
    return pages > PREFIX_PAGES && pages * PREFIX_SHARE > this.file.index(part).pagesOf(key)
  }

  /** The distinct values of a key that contain something. */
  private valuesWith(part: bigint, key: string, word: Buffer): Set<string> {
    const found = new Set<string>()
    let isIn: ReturnType<typeof wordSearch> | undefined
    for (const data of this.file.valuesOf(part, Buffer.from(key))) {
      isIn ??= wordSearch(word, data)
      if (!isIn(data)) continue
      for (let at = data.indexOf(word); at !== -1; ) {
        const end = data.indexOf(END_OF_VALUE, at)
        // Its last byte isn't as it was written.
        if (end === -1) break
        found.add(data.toString('utf8', at === 0 ? 0 : data.lastIndexOf(END_OF_VALUE, at - 1) + 1, end))
        if (found.size > MAX_VALUES) return found
        at = data.indexOf(word, end + 1)
        if (end + 1 >= data.length) break
      }
    }
    return found
  }

  private rowsOfAny(part: bigint, tokens: string[], match: 'exact' | 'prefix', mayGoOn: () => void): Uint32Array {
    const lists: Uint32Array[] = []
    for (let i = 0; i < tokens.length; i += MATCH_WORDS) {
      mayGoOn()
      lists.push(this.rowsOf(part, matchOf(tokens.slice(i, i + MATCH_WORDS), { match, join: 'OR' })))
    }
    return union(lists)
  }

  private rowsOf(part: bigint, match: string): Uint32Array {
    const end = this.columns.end(part)
    return this.cache.get(`${part} ${match}`, end, from => {
      const [rows] = this.file.index(part).selectRows.get([match, BigInt(from), PART_ROWS]) as [string | null]
      return rows === null ? new Uint32Array(0) : numbersOf(rows)
    })
  }

  private inFull(part: bigint, source: Source): Uint32Array {
    if (source === 'all') return Uint32Array.from({ length: this.columns.end(part) - 1 }, (_, i) => i + 1)
    return 'rows' in source ? source.rows : this.rowsOf(part, source.match)
  }

  /** The newest rows of a part, PROBE_ROWS at most, and about how many there are. */
  private probe(part: bigint, source: Source, from = 1): { rows: number[]; count: number } {
    const end = this.columns.end(part)
    if (source === 'all') {
      const rows = Array.from({ length: Math.min(PROBE_ROWS, end - from) }, (_, i) => end - 1 - i)
      return { rows, count: end - from }
    }
    if ('rows' in source) return { rows: [...source.rows.slice(-PROBE_ROWS)].reverse(), count: source.rows.length }
    const rows = this.file.index(part).newest(source.match, from, end, PROBE_ROWS)
    if (rows.length < PROBE_ROWS) return { rows, count: rows.length }
    return { rows, count: Math.ceil((rows.length * end) / (end - rows.at(-1)!)) }
  }

  private estimate(parts: bigint[], term: Term, most: number, mayGoOn: () => void): number {
    let count = 0
    for (const part of parts.toReversed()) {
      if (count >= most) break
      mayGoOn()
      const source = this.sourceOf(part, term, mayGoOn)
      if (source !== undefined) count += this.probe(part, source).count
    }
    return count
  }

  /**
   * The driver's records whose spans have all of the other terms, on whichever half, and whose traces have those of the trace;
   * undefined when traces are read sooner than that is found out. Terms that are common, but seldom together, would otherwise mean
   * to read thousands of traces.
   */
  private sieved(
    parts: bigint[],
    { driver, others, ofTrace }: IndexQuery,
    after: Place | undefined,
    mayGoOn: () => void,
  ): Map<bigint, Source> | undefined {
    const isKnown = (term: Term) => {
      if (this.unindexed(term) !== undefined) return false
      // A record with the value may be on a key that isn't indexed.
      if (term.kind === 'value' && term.key === undefined && !this.policy.indexesAll) return false
      return term.kind !== 'half' || term.name !== undefined || term.service !== undefined
    }
    const ofSpan = others.filter(isKnown)
    const elsewhere = ofTrace.filter(isKnown)
    if (ofSpan.length + elsewhere.length === 0) return undefined
    // Without the time range, which a sieve doesn't depend on: "the last hour" is another one with every search.
    const key = JSON.stringify([driver, ofSpan, elsewhere])
    const ends = parts.map(part => `${part} ${this.columns.end(part)}`).join()
    const made = this.sieves.get(key)
    if (made !== undefined) {
      const holds = made.ends === ends || (after !== undefined && performance.now() < made.madeMs + SIEVE_MS)
      if (holds && (made.sources !== undefined || after === undefined || made.later)) return made.sources
    }
    const sources = this.sieve(
      parts,
      [driver, ...ofSpan],
      elsewhere,
      after === undefined ? SIEVE_RECORDS.atOnce : SIEVE_RECORDS.later,
      mayGoOn,
    )
    this.sieves.delete(key)
    this.sieves.set(key, { ends, madeMs: performance.now(), later: after !== undefined, sources })
    if (this.sieves.size > MAX_SIEVES) this.sieves.delete(this.sieves.keys().next().value!)
    return sources
  }

  private sieve(
    parts: bigint[],
    terms: Term[],
    ofTrace: Term[],
    most: number,
    mayGoOn: () => void,
  ): Map<bigint, Source> | undefined {
    const sources = [...terms, ...ofTrace].map(term => this.sources(parts, term, mayGoOn))
    let records = 0
    for (const [i, ofTerm] of sources.entries()) {
      for (const [part, source] of ofTerm) records += this.probe(part, source).count
      if (i === 0 && records <= FEW_PLACES) return undefined
    }
    const ofSpan = sources.slice(0, terms.length)
    if (records > most || (ofTrace.length === 0 && this.isDense(parts, ofSpan))) return undefined
    const { spanHigh, spanLow, traceHigh, traceLow } = columns
    const spans = this.common(ofSpan, spanHigh, spanLow, mayGoOn)
    const traces = this.common(sources.slice(terms.length), traceHigh, traceLow, mayGoOn)
    if (spans!.size === 0 || traces?.size === 0) return new Map()
    const sieved = new IdMap<Source>()
    for (const [part, source] of sources[0]!) {
      const rows: number[] = []
      this.columns.each(part, this.inFull(part, source), (row, buf, at) => {
        if (!spans!.has(spanHigh(buf, at), spanLow(buf, at))) return
        if (traces === undefined || traces.has(traceHigh(buf, at), traceLow(buf, at))) rows.push(row)
      })
      if (rows.length > 0) sieved.set(part, { rows: Uint32Array.from(rows) })
    }
    return sieved
  }

  /** What has a record of each term: spans, or traces; undefined without terms. */
  private common(
    terms: Map<bigint, Source>[],
    highOf: (buf: Buffer, at: number) => number,
    lowOf: (buf: Buffer, at: number) => number,
    mayGoOn: () => void,
  ): SpanSet | undefined {
    let kept: SpanSet | undefined
    for (const ofTerm of terms) {
      const found = new SpanSet()
      for (const [part, source] of ofTerm) {
        mayGoOn()
        this.columns.each(part, this.inFull(part, source), (_, buf, at) => {
          const high = highOf(buf, at)
          const low = lowOf(buf, at)
          if (kept === undefined || kept.has(high, low)) found.add(high, low)
        })
      }
      kept = found
      if (kept.size === 0) break
    }
    return kept
  }

  /** Whether many of the driver's newest records have the other terms themselves. */
  private isDense(parts: bigint[], [driver, ...others]: Map<bigint, Source>[]): boolean {
    for (const part of parts.toReversed()) {
      const source = driver!.get(part)
      if (source === undefined || source === 'all' || 'rows' in source) continue
      const { rows } = this.probe(part, source)
      if (rows.length === 0) continue
      const matches = [source.match]
      for (const other of others) {
        const source = other.get(part)
        if (source === undefined) return false
        if (source !== 'all' && 'match' in source) matches.push(source.match)
        else if (source !== 'all') return false
      }
      const both = this.file
        .index(part)
        .newest(matches.map(match => `(${match})`).join(' AND '), rows.at(-1)!, rows[0]!, PROBE_ROWS)
      return both.length * DENSE >= rows.length
    }
    return false
  }

  /**
   * Places in their order. Numbers only tell about when records started, so chunks are opened by the latest of their starts:
   * a place that is later than all that the closed ones can have is in its order.
   */
  private list(
    parts: bigint[],
    sources: Map<bigint, Source>,
    { driver, fromUs, toUs }: IndexQuery,
    after: Place | undefined,
    limit: number,
  ): Places {
    const endMs = performance.now() + PLACES_MS
    const minDurationUs = Math.min(driver.kind === 'half' ? (driver.minDurationUs ?? 0) : 0, LONGEST_US)
    let ready: Place[] = []
    const add = (part: bigint, rows: Iterable<number>) => {
      this.columns.each(part, rows, (_, buf, at) => {
        const startUs = columns.startUs(buf, at)
        if ((fromUs !== undefined && startUs < fromUs) || (toUs !== undefined && startUs > toUs)) return
        if (minDurationUs > 0 && !columns.lasts(buf, at, minDurationUs)) return
        const place = { startUs, traceId: columns.traceId(buf, at) }
        if (after === undefined || comparePlaces(place, after) < 0) ready.push(place)
      })
    }
    const dense = new IdMap<Source>()
    let density = 1
    for (const part of parts) {
      const source = sources.get(part)
      if (source === undefined) continue
      const { rows, count } = this.probe(part, source)
      if (rows.length < PROBE_ROWS) add(part, rows)
      else {
        dense.set(part, source)
        density = count / this.columns.end(part)
      }
    }
    const seen = new Set<string>()
    const places: Place[] = []
    let last: Place | undefined
    const chunks = dense.size === 0 ? undefined : this.chunksBefore(toUs, after)
    let next = chunks?.next()
    for (let windowRows = limit / density; ; windowRows *= 2) {
      const ranges: { part: bigint; from: number; to: number }[] = []
      for (let rows = 0; next?.done === false && rows < windowRows; next = chunks!.next()) {
        const { part, first, end, lastUs, longestUs } = next.value
        if (fromUs !== undefined && lastUs < fromUs) {
          next = undefined
          break
        }
        if (!dense.has(part) || longestUs < minDurationUs) continue
        ranges.push({ part, from: first, to: end })
        rows += end - first
      }
      for (const { part, from, to } of merged(ranges)) add(part, this.rowsIn(part, dense.get(part)!, from, to))
      const boundUs = next?.done === false ? next.value.lastUs : undefined
      ready.sort((a, b) => comparePlaces(b, a))
      let done = 0
      for (const place of ready) {
        if (boundUs !== undefined && place.startUs <= boundUs) break
        done++
        const id = String(place.traceId)
        if (!seen.has(id) && seen.size === limit) return { places, resume: last }
        seen.add(id)
        // Also of a trace that has one: that may not be where the trace is shown.
        places.push(place)
        last = place
      }
      if (boundUs === undefined) return { places, resume: undefined }
      ready = ready.slice(done)
      if (performance.now() > endMs) return { places, resume: { startUs: boundUs + 1n, traceId: I64_MIN } }
    }
  }

  private *chunksBefore(toUs: bigint | undefined, after: Place | undefined) {
    let beforeUs = toUs ?? I64_MAX
    if (after !== undefined && after.startUs < beforeUs) beforeUs = after.startUs
    for (const [id, rows, lastUs, longestUs] of this.file.chunksBefore(beforeUs)) {
      const part = id / PART_ROWS
      const first = Number(id % PART_ROWS)
      yield { part, first, end: first + Number(rows), lastUs, longestUs: Number(longestUs) }
    }
  }

  private rowsIn(part: bigint, source: Source, from: number, to: number): Iterable<number> {
    if (source === 'all') return Array.from({ length: to - from }, (_, i) => from + i)
    if ('match' in source) return this.file.index(part).newest(source.match, from, to - 1, to - from)
    return source.rows.subarray(lastBelow(source.rows, from) + 1, lastBelow(source.rows, to) + 1)
  }
}

interface Sieve {
  /** Up to where the parts were read. */
  ends: string
  madeMs: number
  /** Whether it was allowed to look at more. */
  later: boolean
  sources: Map<bigint, Source> | undefined
}

/** Ranges that follow each other as one. */
function merged(ranges: { part: bigint; from: number; to: number }[]) {
  ranges.sort((a, b) => Number(a.part - b.part) || a.from - b.from)
  const result: typeof ranges = []
  for (const range of ranges) {
    const before = result.at(-1)
    if (before?.part === range.part && before.to === range.from) before.to = range.to
    else result.push(range)
  }
  return result
}

/** Rows of queries, as far as they were read. Rows are only ever added, behind the others. */
class RowsCache {
  private readonly lists = new Map<string, { rows: Uint32Array; end: number }>()
  private bytes = 0

  get(key: string, end: number, read: (from: number) => Uint32Array): Uint32Array {
    let list = this.lists.get(key)
    if (list !== undefined) {
      this.lists.delete(key)
      this.bytes -= sizeOf(key, list.rows)
    }
    if (list === undefined || list.end < end)
      list = { rows: union([list?.rows ?? new Uint32Array(0), read(list?.end ?? 1)]), end }
    this.lists.set(key, list)
    this.bytes += sizeOf(key, list.rows)
    for (const [oldest, { rows }] of this.lists) {
      if (this.bytes <= CACHE_BYTES) break
      this.lists.delete(oldest)
      this.bytes -= sizeOf(oldest, rows)
    }
    return list.rows
  }
}

/** How much memory they take, with the entry. */
function sizeOf(key: string, rows: Uint32Array): number {
  return rows.byteLength + 2 * key.length + 200
}

/** Numbers between commas. */
function numbersOf(text: string): Uint32Array {
  const numbers = new Uint32Array(Math.ceil(text.length / 2))
  let count = 0
  let number = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x2c) {
      numbers[count++] = number
      number = 0
    } else number = number * 10 + code - 0x30
  }
  numbers[count++] = number
  return numbers.slice(0, count)
}

function union(lists: Uint32Array[]): Uint32Array {
  const some = lists.filter(list => list.length > 0)
  if (some.length === 1) return some[0]!
  const all = new Uint32Array(some.reduce((sum, list) => sum + list.length, 0))
  let at = 0
  let ascending = true
  for (const list of some) {
    if (at > 0 && list[0]! <= all[at - 1]!) ascending = false
    all.set(list, at)
    at += list.length
  }
  if (ascending) return all
  all.sort()
  return all.filter((row, i) => i === 0 || row !== all[i - 1])
}
