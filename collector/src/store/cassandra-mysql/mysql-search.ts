import { compareNumber } from '../../query'
import { IdMap, IdSet } from '../../record/ids'
import { grouped } from '../chunks'
import type { IndexPolicy } from '../search/index-policy'
import { comparePlaces, I64_MAX, I64_MIN, type Place } from '../search/place'
import { EVERY_RECORD, type IndexQuery, type Places, type SpanIndex, type Term } from '../search/span-index'
import { WINDOW_BITS } from '../search/window'
import { type CompletionQuery, StoreError } from '../store'
import type { MySql, Row } from './mysql'
import { bytes, countOf, type List, ListWalk, placesOfValues, readList } from './mysql-list'
import {
  ERROR,
  EVERY,
  isValue,
  MAX_DURATION_US,
  MAX_WORD_LENGTH,
  SCOPE,
  TERM_DIGITS,
  termOf,
  termsIn,
  valueTerm,
} from './mysql-terms'
import { type Value, valuesContaining } from './mysql-value-blocks'

/**
 * Searches the index of sql/mysql/0001-blocks.sql. Every term is a list of places: a range of post's B-tree in order of time,
 * which the server walks backwards and merges over the partitions of the days (mysql-list.ts).
 *
 * A search for a part of a value first finds the values that contain it (mysql-value-blocks.ts). If these have few places, the places are
 * fetched and sorted. If they have many, walking the places of the key (or of all records, without a key) from the newest finds
 * some soon: the traces' values are in trace_terms.
 *
 * The other terms that a trace must have are looked up in trace_terms too.
 */

/** How many values' ids are fetched. */
const MAX_VALUES = 4_000
/** How many places of these values are fetched and sorted. */
const MAX_SORTED = 10_000
/** How many places are fetched at once when many are filtered out. */
const MAX_BATCH = 2_000
/** Looking up a trace costs as much as reading this many places of a list, which are stored side by side. */
const LOOKUP_PLACES = 20
/** Up to this length a list may be read completely instead of looking up each trace. */
const MAX_LISTED = 200_000
/** How many terms a list in a statement has at most: MariaDB turns longer lists into a table. */
const MAX_IN = 500
/** How many traces are looked up in one statement, and how many rows of their terms are read. Long traces may have more: then all pass. */
const MAX_LOOKED_UP = 100
const MAX_TERM_ROWS = 4_000
/** Of how many keys a value of any key is looked up. If there are more, dict is read completely: their list would be too long for a statement. */
const MAX_KEYS = 10_000
/** How many values of traces are compared at once. Traces with more may have one that matches. */
const MAX_COMPARED = 20_000
/** How long one call looks for places. */
const TURN_MS = 500
/** How many words are sorted for a completion; of more words, only some are. */
const MAX_COMPLETED = 2_000

/** One search, which caches what it finds out about its terms. */
export class MySqlSearch implements SpanIndex {
  readonly windowBits = WINDOW_BITS
  private readonly db: MySql
  private readonly policy: IndexPolicy
  private readonly values = new Map<ValueTerm, Promise<Value[] | undefined>>()
  private readonly sorted = new Map<ValueTerm, Promise<Place[] | undefined>>()
  /** How far each query has been read. */
  private readonly walks = new Map<IndexQuery, { at: Place | undefined; walk: Walk }>()
  /** Of the terms that don't drive a query. */
  private readonly filters = new Map<IndexQuery, Filter[]>()
  /** Whether values match a driver. */
  private readonly compares = new Map<ValueTerm, Map<string, boolean>>()

  constructor(db: MySql, policy: IndexPolicy) {
    this.db = db
    this.policy = policy
  }

  // The server itself aborts a statement that takes too long.
  async count(term: Term, max: number): Promise<number> {
    if (!this.isIndexed(term)) return Infinity
    const list = this.listOf(term)
    if (list !== undefined) return Math.min(max, await countOf(this.db, list))
    const sorted = await this.sortedPlaces(term as ValueTerm)
    if (sorted !== undefined) return Math.min(max, sorted.length)
    return term.kind === 'number' ? Math.min(max, await countOf(this.db, this.listOf(keyOf(term))!)) : max
  }

  async places(query: IndexQuery, after: Place | undefined, max: number, mayGoOn: () => void): Promise<Places> {
    const [driver, ...rest] = partsOf(query.driver)
    if (!this.isIndexed(driver!)) throw notIndexed(driver!)
    const known = this.walks.get(query)
    // What it has read beyond these places isn't read again.
    const walk = after !== undefined && known?.at === after ? known.walk : await this.walkOf(driver!, query, after)
    const filters =
      this.filters.get(query) ??
      (await this.filtersOf([...rest, ...[...query.others, ...query.ofTrace].flatMap(partsOf)]))
    this.filters.set(query, filters)
    // Places that pass the filters are usually hits, and half of `max` hits fill a page.
    const wanted = filters.length === 0 ? max : max / 2
    const deadline = performance.now() + TURN_MS
    const found: Place[] = []
    const seen = new IdSet()
    const passed = new IdSet()
    let size = max
    for (;;) {
      mayGoOn()
      const stretch = await walk(size)
      this.walks.set(query, { at: stretch.resume, walk })
      const unseen = stretch.places.filter(({ traceId }) => !seen.has(traceId) && seen.add(traceId))
      const fresh = await this.filtered(unseen, filters)
      for (const { traceId } of fresh) passed.add(traceId)
      found.push(...stretch.places.filter(({ traceId }) => passed.has(traceId)))
      if (stretch.resume === undefined || passed.size >= wanted || performance.now() > deadline) {
        return { places: found, resume: stretch.resume, of: stretch.of ?? driver }
      }
      // Fetch as many as seem necessary: the places of a long trace follow each other.
      const share = Math.max(fresh.length / size, 0.01)
      size = Math.min(Math.max(Math.ceil((wanted - passed.size) / share), max), MAX_BATCH)
    }
  }

  private isIndexed(term: Term): boolean {
    return !('key' in term) || term.key === undefined || this.policy.indexes(term.key)
  }

  /** Returns the list of a term; undefined for a part of a value and for a value of any key. */
  private listOf(term: Term): List | undefined {
    switch (term.kind) {
      case 'half':
        return halfList(term)
      case 'error':
        return listOf(ERROR)
      case 'key':
        return listOf(termOf(SCOPE.key, term.key))
      case 'value':
        if (term.key === undefined || term.match !== 'exact') return undefined
        return listOf(valueTerm(term.key, this.policy.cut(term.value)))
      case 'number':
        return undefined
    }
  }

  /** Returns the values in dict that match a term; undefined if there are too many. */
  private valuesOf(term: ValueTerm): Promise<Value[] | undefined> {
    let values = this.values.get(term)
    if (values === undefined) {
      values = this.lookUp(term)
      this.values.set(term, values)
    }
    return values
  }

  private async lookUp(term: ValueTerm): Promise<Value[] | undefined> {
    if (term.kind === 'number') return this.lookUpNumbers(term)
    const text = this.policy.cut(term.value)
    if (term.match === 'contains') {
      const scope = term.key === undefined ? undefined : termOf(SCOPE.key, term.key)
      return valuesContaining(this.db, scope, text, MAX_VALUES)
    }
    const [matches, parameters] = term.match === 'prefix' ? beginning(text) : this.condition(term)
    const rows = await this.db.read(
      `SELECT HEX(term), day FROM dict FORCE INDEX (by_text)
       WHERE ${await this.scopeOf(term)} AND ${matches} LIMIT ${MAX_VALUES + 1}`,
      parameters,
    )
    return rows.length > MAX_VALUES ? undefined : rows.map(([hex, day]) => ({ term: lower(hex), day: Number(day) }))
  }

  private async lookUpNumbers(term: NumberTerm): Promise<Value[] | undefined> {
    const scope = `scope = ${bytes(termOf(SCOPE.key, term.key))}`
    const rows = await this.db.read(
      `SELECT HEX(term), day, text FROM dict FORCE INDEX (by_text) WHERE ${scope} LIMIT ${MAX_VALUES + 1}`,
    )
    if (rows.length > MAX_VALUES) return undefined
    return rows
      .filter(([, , text]) => this.mayBe(text as string, term))
      .map(([hex, day]) => ({ term: lower(hex), day: Number(day) }))
  }

  /** Whether a value in dict compares so, or what it was before it was cut may. */
  private mayBe(text: string, term: NumberTerm): boolean {
    return text.length >= this.policy.maxValueLength || compareNumber(text, term)
  }

  /** Returns the places of a term's values, newest first; undefined if there are too many. */
  private sortedPlaces(term: ValueTerm): Promise<Place[] | undefined> {
    let places = this.sorted.get(term)
    if (places === undefined) {
      places = this.sort(term)
      this.sorted.set(term, places)
    }
    return places
  }

  private async sort(term: ValueTerm): Promise<Place[] | undefined> {
    const values = await this.valuesOf(term)
    if (values === undefined) return undefined
    const places: Place[] = []
    for (const [day, ofDay] of grouped(values, ({ day }) => day)) {
      for (let i = 0; i < ofDay.length; i += MAX_IN) {
        const terms = ofDay.slice(i, i + MAX_IN).map(({ term }) => term)
        const some = await placesOfValues(this.db, day, terms, MAX_SORTED - places.length)
        if (some === undefined) return undefined
        for (const place of some) places.push(place)
      }
    }
    return places.sort((a, b) => comparePlaces(b, a))
  }

  private async scopeOf({ key }: TextTerm): Promise<string> {
    if (key !== undefined) return `scope = ${bytes(termOf(SCOPE.key, key))}`
    const keys = await this.db.read(
      `SELECT DISTINCT HEX(term) FROM dict WHERE scope = ${bytes(SCOPE.key)} LIMIT ${MAX_KEYS + 1}`,
    )
    if (keys.length > MAX_KEYS) return `scope > ${bytes(SCOPE.key)}`
    return keys.length === 0 ? 'FALSE' : `scope IN (${keys.map(([hex]) => bytes(hex as string))})`
  }

  /** Returns the condition for texts in dict that match, and its parameters. */
  private condition({ value, match }: TextTerm): [string, string[]] {
    const text = this.policy.cut(value)
    // UTF-8 has no character within another one, and searching bytes takes half of LIKE's time.
    if (match === 'contains') return ['LOCATE(CAST(? AS BINARY), CAST(text AS BINARY)) > 0', [text]]
    return [LIKE, [match === 'exact' ? literally(text) : `${literally(text)}%`]]
  }

  /** Returns a function that reads the driver's places after `after` step by step. */
  private async walkOf(driver: Term, query: IndexQuery, after: Place | undefined): Promise<Walk> {
    const list = this.listOf(driver)
    if (list !== undefined) {
      const walk = new ListWalk(this.db, list, query, after)
      return size => walk.next(size)
    }
    const term = driver as ValueTerm
    const sorted = await this.sortedPlaces(term)
    if (sorted !== undefined) {
      const { fromUs = I64_MIN, toUs = I64_MAX } = query
      const isAfter = (place: Place) => after === undefined || comparePlaces(place, after) < 0
      const within = sorted.filter(place => place.startUs >= fromUs && place.startUs <= toUs && isAfter(place))
      let at = 0
      return async size => {
        const places = within.slice(at, at + size)
        at += places.length
        return { places, resume: places.length < size ? undefined : places.at(-1) }
      }
    }
    const of: Term = term.key === undefined ? EVERY_RECORD : keyOf(term)
    const walk = new ListWalk(this.db, this.listOf(of)!, query, after)
    return async size => {
      const { places, resume } = await walk.next(size)
      return { places: await this.withValue(term, places), resume, of }
    }
  }

  /** Returns the places of traces that have a value that matches, or so many values that they may have one. */
  private async withValue(term: ValueTerm, places: Place[]): Promise<Place[]> {
    const key = term.key === undefined ? undefined : termOf(SCOPE.key, term.key)
    const values = await this.valuesOf(term)
    const matching = values && new Set(values.map(({ term }) => term))
    const compares = this.compares.get(term) ?? new Map<string, boolean>()
    this.compares.set(term, compares)
    const matches = (value: string) => matching?.has(value) ?? compares.get(value) !== false
    const lacking = await this.lacking(places, async rows => {
      if (matching === undefined) await this.compare(term, compares, rows, key)
      const having = new IdSet(rows.filter(row => some(valuesIn(row, key), matches)).map(({ traceId }) => traceId))
      return rows.map(({ traceId }) => traceId).filter(traceId => !having.has(traceId))
    })
    return places.filter(({ traceId }) => !lacking.has(traceId))
  }

  /** Looks up in dict whether values match, but not more than MAX_COMPARED. */
  private async compare(
    term: ValueTerm,
    compares: Map<string, boolean>,
    rows: TermRow[],
    key: string | undefined,
  ): Promise<void> {
    const fresh = new Map<string, Value>()
    for (const row of rows) {
      for (const term of valuesIn(row, key)) {
        if (fresh.size < MAX_COMPARED && !compares.has(term)) fresh.set(term, { term, day: row.day })
      }
    }
    const [condition, parameters] = term.kind === 'number' ? [] : this.condition(term)
    for (const [day, values] of grouped(fresh.values(), ({ day }) => day)) {
      for (let i = 0; i < values.length; i += MAX_IN) {
        const some = values.slice(i, i + MAX_IN).map(({ term }) => term)
        const from = `FROM dict WHERE day = ${day} AND term IN (${some.map(bytes)})`
        const matching =
          term.kind === 'number'
            ? (await this.db.read(`SELECT HEX(term), text ${from}`)).filter(([, text]) =>
                this.mayBe(text as string, term),
              )
            : await this.db.read(`SELECT HEX(term) ${from} AND ${condition}`, parameters)
        for (const value of some) compares.set(value, false)
        for (const [hex] of matching) compares.set(lower(hex), true)
      }
    }
  }

  /** Returns filters for the terms, except those that take long to look up: the matcher decides anyway. */
  private async filtersOf(terms: Term[]): Promise<Filter[]> {
    const filters = await Promise.all(terms.map(term => this.filterOf(term)))
    return filters.filter(filter => filter !== undefined)
  }

  private async filterOf(term: Term): Promise<Filter | undefined> {
    if (!this.isIndexed(term)) return undefined
    const having = await this.havingOf(term)
    return having && { having, list: this.listOf(term), lookups: 0 }
  }

  private async havingOf(term: Term): Promise<Filter['having'] | undefined> {
    switch (term.kind) {
      case 'half': {
        const list = halfList(term)
        return row => row.durationUs >= list.minDurationUs && (list.term === EVERY || has(row, list.term))
      }
      case 'error':
        return row => has(row, ERROR)
      case 'key': {
        const key = termOf(SCOPE.key, term.key)
        return row => has(row, key)
      }
      case 'value':
      case 'number': {
        if (term.kind === 'value' && term.key !== undefined && term.match === 'exact') {
          const value = valueTerm(term.key, this.policy.cut(term.value))
          return row => has(row, value)
        }
        const values = await this.valuesOf(term)
        if (values === undefined) return undefined
        // There may be thousands of values, but a trace has few terms.
        const matching = new Set(values.map(({ term }) => term))
        return row => some(termsIn(row.terms), term => matching.has(term))
      }
    }
  }

  private async filtered(places: Place[], filters: Filter[]): Promise<Place[]> {
    const lookedFor: Filter[] = []
    let remaining = places
    for (const filter of filters) {
      const traces = remaining.length > 0 && (await this.tracesOf(filter))
      if (traces) remaining = remaining.filter(({ traceId }) => traces.has(traceId))
      else lookedFor.push(filter)
    }
    if (lookedFor.length === 0 || remaining.length === 0) return remaining
    for (const filter of lookedFor) filter.lookups += remaining.length
    const lacking = await this.lacking(remaining, rows => {
      const traces = [...together(rows)]
      const passes = (rows: TermRow[]) => lookedFor.every(({ having }) => rows.some(having))
      return traces.filter(([, rows]) => !passes(rows)).map(([traceId]) => traceId)
    })
    return remaining.filter(({ traceId }) => !lacking.has(traceId))
  }

  /** Returns all traces that pass the filter, once looking up each has cost as much; undefined before, and if there are too many. */
  private async tracesOf(filter: Filter): Promise<IdSet | undefined> {
    const { list, lookups } = filter
    if (list === undefined || filter.traces !== undefined || lookups === 0) return filter.traces
    filter.places ??= await countOf(this.db, list)
    if (filter.places > Math.min(lookups * LOOKUP_PLACES, MAX_LISTED)) return undefined
    filter.traces = new IdSet((await readList(this.db, list)).map(({ traceId }) => traceId))
    return filter.traces
  }

  /** Returns the traces of these places of which `lacks` says so by their rows in trace_terms. */
  private async lacking(places: Place[], lacks: (rows: TermRow[]) => bigint[] | Promise<bigint[]>): Promise<IdSet> {
    const lacking = new IdSet()
    for (let i = 0; i < places.length; i += MAX_LOOKED_UP) {
      const ids = places.slice(i, i + MAX_LOOKED_UP).map(({ traceId }) => traceId)
      const rows = await this.db.read(
        `SELECT trace_id, day, duration, HEX(terms) FROM trace_terms WHERE trace_id IN (${ids}) LIMIT ${MAX_TERM_ROWS}`,
      )
      if (rows.length === MAX_TERM_ROWS) continue
      for (const traceId of await lacks(rows.map(termRow))) lacking.add(traceId)
    }
    return lacking
  }
}

type TextTerm = Extract<Term, { kind: 'value' }>
type NumberTerm = Extract<Term, { kind: 'number' }>
type ValueTerm = TextTerm | NumberTerm
type Half = Extract<Term, { kind: 'half' }>

function keyOf(term: ValueTerm): Term {
  return { kind: 'key', key: term.key! }
}

/** Returns the next places; fewer than `size` don't mean the end. */
type Walk = (size: number) => Promise<Places>

interface Filter {
  /** Whether a row of a trace has the term: with a duration, both are of one record and so in one row. */
  having(row: TermRow): boolean
  /** The term's list, if it has one. */
  list: List | undefined
  /** The approximate length of the list. */
  places?: number
  /** All traces that pass. */
  traces?: IdSet
  /** How many traces have been looked up. */
  lookups: number
}

/** A row of trace_terms. */
interface TermRow {
  traceId: bigint
  day: number
  durationUs: number
  /** In hex, one after the other. An array of them would take five times the memory. */
  terms: string
}

function termRow([traceId, day, durationUs, hex]: Row): TermRow {
  return { traceId: BigInt(traceId!), day: Number(day), durationUs: Number(durationUs), terms: lower(hex) }
}

function has({ terms }: TermRow, term: string): boolean {
  let at = terms.indexOf(term)
  while (at % TERM_DIGITS > 0) at = terms.indexOf(term, at + 1)
  return at !== -1
}

/** Yields the values among the terms of a row; of a key, with those whose key is in another row. */
function* valuesIn(row: TermRow, key: string | undefined): Generator<string> {
  let before: string | undefined
  for (const term of termsIn(row.terms)) {
    if (!isValue(term)) before = term
    else if (key === undefined || before === undefined || before === key) yield term
  }
}

function some<T>(items: Iterable<T>, matches: (item: T) => boolean): boolean {
  for (const item of items) if (matches(item)) return true
  return false
}

function together(rows: TermRow[]): Map<bigint, TermRow[]> {
  const traces = new IdMap<TermRow[]>()
  for (const row of rows) {
    const others = traces.get(row.traceId)
    if (others === undefined) traces.set(row.traceId, [row])
    else others.push(row)
  }
  return traces
}

/** @param hex as the server writes it */
function lower(hex: Row[number] | undefined): string {
  return (hex as string).toLowerCase()
}

function listOf(term: string, minDurationUs = -1): List {
  return { term, minDurationUs }
}

function halfList({ name, service, minDurationUs = -1 }: Half): List {
  const term =
    name !== undefined ? termOf(SCOPE.name, name) : service !== undefined ? termOf(SCOPE.service, service) : EVERY
  return listOf(term, Math.max(-1, Math.ceil(Math.min(minDurationUs, MAX_DURATION_US))))
}

/** Divides a term into those that have a list of their own. */
function partsOf(term: Term): Term[] {
  if (term.kind !== 'half' || term.name === undefined || term.service === undefined) return [term]
  return [
    { ...term, service: undefined },
    { ...term, name: undefined },
  ]
}

function notIndexed(term: Term): StoreError {
  const { key } = term as { key: string }
  const remedy = `collectors don't index it; remove it from index.deny, or add it to index.allow`
  return new StoreError('MILO_NOT_INDEXED', `annotation ${JSON.stringify(key)} can't be searched for: ${remedy}`)
}

/** Completes words. Words that were cut can't be searched for and are left out. */
export async function completeFromMySql(db: MySql, policy: IndexPolicy, query: CompletionQuery): Promise<string[]> {
  const { field, key, prefix, limit } = query
  const scope = field === 'value' ? termOf(SCOPE.key, key ?? '') : SCOPE[field]
  const length = field === 'value' ? policy.maxValueLength : MAX_WORD_LENGTH
  const [like, parameters] = beginning(prefix)
  const rows = await db.read(
    `SELECT MIN(text) FROM (
       SELECT DISTINCT term, text FROM dict FORCE INDEX (by_text)
       WHERE scope = ${bytes(scope)} AND ${like} AND LENGTH(CONVERT(text USING utf16)) < ${2 * length}
       LIMIT ${MAX_COMPLETED}
     ) t GROUP BY term ORDER BY CAST(MIN(text) AS BINARY) LIMIT ${limit}`,
    parameters,
  )
  return rows.map(([text]) => text as string).sort()
}

/** A comparison that, unlike =, respects trailing spaces. */
const LIKE = "text LIKE ? ESCAPE '|'"

/** How many characters of a text by_text has. */
const BY_TEXT = 24

/**
 * Returns the condition for texts with a prefix, and its parameters. For LIKE, MariaDB reads by_text only up to U+FFFF after the
 * prefix, and would miss a 😀 there: so its range is given, and hidden from LIKE.
 */
function beginning(prefix: string): [string, string[]] {
  const [from, to] = ['\0', '\u{10ffff}'].map(character => prefix + character.repeat(BY_TEXT))
  return [`text BETWEEN ? AND ? AND CONCAT(text, '') LIKE ? ESCAPE '|'`, [from!, to!, `${literally(prefix)}%`]]
}

function literally(text: string): string {
  return text.replace(/[|%_]/g, '|$&')
}
