import { IdMap, IdSet } from '../../record/ids'
import type { IndexPolicy } from '../search/index-policy'
import type { IndexQuery, Place, Places, SpanIndex, Term } from '../search/search'
import { type CompletionQuery, StoreError } from '../store'
import type { MySql, Row } from './mysql'
import {
  dictId,
  ERROR_MARK,
  FIRST_ID,
  kvOf,
  MAX_DURATION_US,
  MAX_WORD_LENGTH,
  SCOPE,
  TERM_DIGITS,
  wordId,
} from './mysql-index'

/**
 * Searches the index of sql/mysql/0001-tables.sql. Every term is one or more lists of places: ranges of a B-tree in order of
 * time, which the server walks backwards and merges over the partitions of the days.
 *
 *     name            by_name, name_id               key            by_key, key_id
 *     service         by_service, service_id         key = value    post, kv
 *     none of them    span_idx, ts                   error          post, kv 4
 *
 * A search for a part of a value first finds the values that contain it in dict. If these have few places, the places are
 * fetched and sorted. If they have many, walking the places of the key (or of all spans, without a key) from the newest finds
 * some soon.
 *
 * The other terms that a trace must have are looked up in trace_terms.
 */

/** How many values' ids are fetched. */
const MAX_VALUES = 4_000
/** How many places of these values are fetched and sorted. */
const MAX_SORTED = 10_000
/** How many rows of a key's list are compared at once. */
const MAX_COMPARED = 2_000
/** If a key has more than this share of all values, dict is read completely, in the order in which it is stored. */
const MAX_DICT_SHARE = 0.2
/** How many rows of a list are searched at once for what its index doesn't order; grows from the first value to the second. */
const STRETCH = [2_000, 128_000] as const
/** How many places are fetched at once when many are filtered out. */
const MAX_BATCH = 2_000
/** Looking up a trace costs as much as reading this many places of a list, which are stored side by side. */
const LOOKUP_PLACES = 20
/** Up to this length a list may be read completely instead of looking up each trace. */
const MAX_LISTED = 200_000
/** How many traces are looked up in one statement: MariaDB turns longer lists into a table. */
const MAX_IN = 500
/** How many rows of their terms are read. Long traces may have more: then all traces pass. */
const MAX_TERM_ROWS = 20_000
/** How long one call looks for places. */
const TURN_MS = 500
/** Rows are counted exactly up to here; above, the server estimates. */
const MAX_COUNTED = 1_000
/** How many words are sorted for a completion; of more words, only some are. */
const MAX_COMPLETED = 2_000

const I64_MAX = 2n ** 63n - 1n
const I64_MIN = -(2n ** 63n)

/** A range of an index, in order of time. */
interface List {
  table: 'span_idx' | 'post'
  index: 'PRIMARY' | 'by_name' | 'by_service' | 'by_key'
  /** The condition on the index's first column; empty for the whole index. */
  equals: string
  /** The condition that the index doesn't order by. */
  filter: string
}

/** One search, which caches what it finds out about its terms. */
export class MySqlSearch implements SpanIndex {
  private readonly db: MySql
  private readonly policy: IndexPolicy
  private readonly values = new Map<ValueTerm, Promise<Value[] | undefined>>()
  private readonly sorted = new Map<ValueTerm, Promise<Place[] | undefined>>()
  /** Filters of the terms that don't drive the search. */
  private readonly filtersMade = new Map<Term, Filter>()
  private keys: Promise<string[]> | undefined
  /** Whether a value matches the driver, by the value's id. */
  private readonly compares = new Map<string, boolean>()

  constructor(db: MySql, policy: IndexPolicy) {
    this.db = db
    this.policy = policy
  }

  // The server itself aborts a statement that takes too long.
  async count(term: Term, max: number): Promise<number> {
    if (!this.isIndexed(term)) return Infinity
    const list = this.listOf(term)
    if (list !== undefined) {
      return Math.min(max, await this.countOf(`${list.table} FORCE INDEX (${list.index})`, conditions(list.equals)))
    }
    const sorted = await this.sortedPlaces(term as ValueTerm)
    return sorted === undefined ? max : Math.min(max, sorted.length)
  }

  async places(query: IndexQuery, after: Place | undefined, max: number, mayGoOn: () => void): Promise<Places> {
    const { driver, others } = query
    if (!this.isIndexed(driver)) throw notIndexed(driver)
    const next = await this.walker(driver, query)
    const filters = await this.filters(others)
    // Places that pass the filters are usually hits, and half of `max` hits fill a page.
    const wanted = filters.length === 0 ? max : max / 2
    const deadline = performance.now() + TURN_MS
    const found: Place[] = []
    const seen = new IdSet()
    let size = max
    let from = after
    for (;;) {
      mayGoOn()
      const stretch = await next(rangeOf(query, from), size, from)
      let fresh = stretch.places.filter(({ traceId }) => !seen.has(traceId) && seen.add(traceId))
      fresh = await this.filtered(fresh, filters)
      found.push(...fresh)
      if (stretch.resume === undefined || found.length >= wanted || performance.now() > deadline) {
        return { places: found, resume: stretch.resume }
      }
      from = stretch.resume
      // Fetch as many as seem necessary: the places of a long trace follow each other.
      const share = Math.max(fresh.length / size, 0.01)
      size = Math.min(Math.max(Math.ceil((wanted - found.length) / share), max), MAX_BATCH)
    }
  }

  private isIndexed(term: Term): boolean {
    return !('key' in term) || term.key === undefined || this.policy.indexes(term.key)
  }

  /** Returns the list of a term; undefined for a part of a value and for a value of any key. */
  private listOf(term: Term): List | undefined {
    const post = { table: 'post', index: 'PRIMARY', filter: '' } as const
    switch (term.kind) {
      case 'half':
        return halfList(term)
      case 'error':
        return { ...post, equals: `kv = ${ERROR_MARK}` }
      case 'key':
        return { ...post, index: 'by_key', equals: `key_id = ${wordId(term.key)}` }
      case 'value':
        if (term.key === undefined || term.match !== 'exact') return undefined
        return { ...post, equals: `kv = ${kvOf(term.key, this.policy.cut(term.value))}` }
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
    const scope = await this.scopeOf(term)
    let index = 'by_text'
    if (term.match === 'contains') {
      const [all, ofScope] = [
        await this.db.estimate('SELECT 1 FROM dict'),
        await this.db.estimate(`SELECT 1 FROM dict FORCE INDEX (by_text) WHERE ${scope}`),
      ]
      // by_text contains only the beginnings of values, so every row would be fetched from elsewhere.
      if (ofScope > MAX_DICT_SHARE * all) index = 'PRIMARY'
    }
    const rows = await this.db.read(
      `SELECT id, day FROM dict FORCE INDEX (${index}) WHERE ${scope} AND ${LIKE} LIMIT ${MAX_VALUES + 1}`,
      [this.pattern(term)],
    )
    return rows.length > MAX_VALUES ? undefined : rows.map(([id, day]) => ({ id: String(id), day: Number(day) }))
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
    // All rows of a value's day are in that day's partition.
    for (const [day, ids] of byDay(values)) {
      for (let i = 0; i < ids.length; i += MAX_IN) {
        const room = MAX_SORTED - places.length
        const rows = await this.db.read(
          `SELECT ts, trace_id FROM post FORCE INDEX (PRIMARY) WHERE day = ${day} AND kv IN (${ids.slice(i, i + MAX_IN)}) LIMIT ${room + 1}`,
        )
        if (rows.length > room) return undefined
        places.push(...placesOf(rows))
      }
    }
    return places.sort((a, b) => (isBehind(a, b) ? 1 : isBehind(b, a) ? -1 : 0))
  }

  private async scopeOf({ key, match }: ValueTerm): Promise<string> {
    if (key !== undefined) return `scope = ${wordId(key)}`
    // by_text is ordered by key, which doesn't help for a part that may be anywhere in a value.
    if (match === 'contains') return `scope >= ${FIRST_ID}`
    const ids = await this.keyIds()
    return ids.length === 0 ? 'FALSE' : `scope IN (${ids})`
  }

  private keyIds(): Promise<string[]> {
    this.keys ??= this.db
      .read(`SELECT DISTINCT id & 0xffffffff FROM dict WHERE scope = ${SCOPE.key}`)
      .then(rows => rows.map(([id]) => String(id)))
    return this.keys
  }

  private pattern({ value, match }: ValueTerm): string {
    const text = literally(this.policy.cut(value))
    return match === 'exact' ? text : match === 'prefix' ? `${text}%` : `%${text}%`
  }

  /** Returns a function that reads the driver's places step by step. */
  private async walker(driver: Term, { fromUs, toUs }: IndexQuery): Promise<Walk> {
    const list = this.listOf(driver)
    if (list?.filter === '') return (range, size) => this.walkList(list, range, size)
    if (list !== undefined) {
      let stretch: number = STRETCH[0]
      return (range, size) => {
        const walked = this.walkFiltered(list, range, size, stretch)
        stretch = Math.min(stretch * 4, STRETCH[1])
        return walked
      }
    }
    const term = driver as ValueTerm
    const sorted = await this.sortedPlaces(term)
    if (sorted !== undefined) {
      const within = sorted.filter(({ startUs }) => startUs >= (fromUs ?? I64_MIN) && startUs <= (toUs ?? I64_MAX))
      return async (_range, size, from) => {
        const start = from === undefined ? 0 : within.findIndex(place => isBehind(place, from))
        const places = start === -1 ? [] : within.slice(start, start + size)
        return { places, resume: places.length < size ? undefined : places.at(-1) }
      }
    }
    return range => (term.key === undefined ? this.walkSpans(term, range) : this.walkKey(term, term.key, range))
  }

  private async walkList({ table, index, equals }: List, range: string, size: number): Promise<Places> {
    const where = conditions(equals, range)
    const places = placesOf(
      await this.db.read(
        `SELECT ts, trace_id FROM ${table} FORCE INDEX (${index}) WHERE ${where} ${NEWEST_FIRST} LIMIT ${size}`,
      ),
    )
    return { places, resume: places.length < size ? undefined : places.at(-1) }
  }

  /** Reads only a limited part of the list, since none of the next rows may match. */
  private async walkFiltered(list: List, range: string, size: number, stretch: number): Promise<Places> {
    const from = `FROM ${list.table} FORCE INDEX (${list.index})`
    const base = conditions(list.equals, range)
    const [end] = placesOf(
      await this.db.read(`SELECT ts, trace_id ${from} WHERE ${base} ${NEWEST_FIRST} LIMIT 1 OFFSET ${stretch}`),
    )
    const where = conditions(base, list.filter, downTo(end))
    const places = placesOf(
      await this.db.read(`SELECT ts, trace_id ${from} WHERE ${where} ${NEWEST_FIRST} LIMIT ${size}`),
    )
    return { places, resume: places.length < size ? end : places.at(-1) }
  }

  /** Walks all values of the key, newest first, and compares them. */
  private async walkKey(term: ValueTerm, key: string, range: string): Promise<Places> {
    const where = conditions(`key_id = ${wordId(key)}`, range)
    const rows = await this.db.read(
      `SELECT ts, trace_id, kv, day FROM post FORCE INDEX (by_key) WHERE ${where} ${NEWEST_FIRST} LIMIT ${MAX_COMPARED}`,
    )
    const places = placesOf(await this.compared(term, rows))
    return { places, resume: rows.length < MAX_COMPARED ? undefined : placesOf(rows).at(-1) }
  }

  /** Walks all spans, newest first, and compares the values of all keys in their time range. */
  private async walkSpans(term: ValueTerm, range: string): Promise<Places> {
    const spans: List = { table: 'span_idx', index: 'PRIMARY', equals: '', filter: '' }
    const { places, resume } = await this.walkList(spans, range, MAX_IN)
    const keys = await this.keyIds()
    if (places.length === 0 || keys.length === 0) return { places: [], resume: undefined }
    const newest = `ts <= ${places[0]!.startUs}`
    const rows = await this.db.read(
      `SELECT ts, trace_id, kv, day FROM post FORCE INDEX (by_key)
       WHERE key_id IN (${keys}) AND ${conditions(newest, range, downTo(places.at(-1)))} ${NEWEST_FIRST}`,
    )
    return { places: placesOf(await this.compared(term, rows)), resume }
  }

  /** Returns the rows whose values match. @param rows kv in the third column, day in the fourth */
  private async compared(term: ValueTerm, rows: Row[]): Promise<Row[]> {
    const values = await this.valuesOf(term)
    if (values !== undefined) for (const { id } of values) this.compares.set(id, true)
    else {
      const fresh = rows
        .map(([, , kv, day]) => ({ id: String(kv), day: Number(day) }))
        .filter(({ id }) => !this.compares.has(id))
      for (const [day, ids] of byDay(fresh)) {
        const distinct = [...new Set(ids)]
        for (let i = 0; i < distinct.length; i += MAX_IN) {
          const some = distinct.slice(i, i + MAX_IN)
          for (const id of some) this.compares.set(id, false)
          const good = await this.db.read(`SELECT id FROM dict WHERE day = ${day} AND id IN (${some}) AND ${LIKE}`, [
            this.pattern(term),
          ])
          for (const [id] of good) this.compares.set(String(id), true)
        }
      }
    }
    return rows.filter(([, , kv]) => this.compares.get(String(kv)) === true)
  }

  /** Returns filters for the other terms, except those that take long to look up: the matcher decides anyway. */
  private async filters(others: Term[]): Promise<Filter[]> {
    const filters: Filter[] = []
    for (const term of others) {
      const filter = this.filtersMade.get(term) ?? (await this.filterOf(term))
      if (filter === undefined) continue
      this.filtersMade.set(term, filter)
      filters.push(filter)
    }
    return filters
  }

  private async filterOf(term: Term): Promise<Filter | undefined> {
    if (!this.isIndexed(term)) return undefined
    const having = await this.havingOf(term)
    return having && { having, list: this.listOf(term), lookups: 0 }
  }

  private async havingOf(term: Term): Promise<Filter['having'] | undefined> {
    switch (term.kind) {
      case 'half': {
        const { name, service, minDurationUs } = term
        const all: number[] = []
        if (name !== undefined) all.push(dictId(SCOPE.name, wordId(name)))
        if (service !== undefined) all.push(dictId(SCOPE.service, wordId(service)))
        return ({ terms, duration }) =>
          !(duration < Math.min(minDurationUs ?? -1, MAX_DURATION_US)) && all.every(id => terms.has(id))
      }
      case 'error':
        return ({ terms }) => terms.has(ERROR_MARK)
      case 'key': {
        const id = dictId(SCOPE.key, wordId(term.key))
        return ({ terms }) => terms.has(id)
      }
      case 'value': {
        if (term.key !== undefined && term.match === 'exact') {
          const kv = kvOf(term.key, this.policy.cut(term.value))
          return ({ terms }) => terms.has(kv)
        }
        const values = await this.valuesOf(term)
        if (values === undefined) return undefined
        // There may be thousands of values, but a trace has few terms.
        const ids = new Set(values.map(({ id }) => Number(id)))
        return ({ terms }) => [...terms].some(id => ids.has(id))
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
    const lacking = await this.lacking(remaining, lookedFor)
    return remaining.filter(({ traceId }) => !lacking.has(traceId))
  }

  /** Returns all traces that pass the filter, once looking up each has cost as much; undefined before, and if there are too many. */
  private async tracesOf(filter: Filter): Promise<IdSet | undefined> {
    const { list, lookups } = filter
    if (list === undefined || filter.traces !== undefined || lookups === 0) return filter.traces
    const from = `${list.table} FORCE INDEX (${list.index})`
    filter.places ??= await this.countOf(from, conditions(list.equals))
    if (filter.places > Math.min(lookups * LOOKUP_PLACES, MAX_LISTED)) return undefined
    const rows = await this.db.read(`SELECT trace_id FROM ${from} WHERE ${conditions(list.equals, list.filter)}`)
    filter.traces = new IdSet(rows.map(([traceId]) => BigInt(traceId!)))
    return filter.traces
  }

  /** Returns the traces that certainly lack a term, according to trace_terms. */
  private async lacking(places: Place[], filters: Filter[]): Promise<IdSet> {
    const lacking = new IdSet()
    for (let i = 0; i < places.length; i += MAX_IN) {
      const ids = places.slice(i, i + MAX_IN).map(({ traceId }) => traceId)
      const rows = await this.db.read(
        `SELECT trace_id, duration, HEX(terms) FROM trace_terms WHERE trace_id IN (${ids}) LIMIT ${MAX_TERM_ROWS}`,
      )
      if (rows.length === MAX_TERM_ROWS) continue
      for (const [traceId, trace] of tracesIn(rows)) {
        if (!filters.every(({ having }) => having(trace))) lacking.add(traceId)
      }
    }
    return lacking
  }

  private async countOf(table: string, where: string): Promise<number> {
    const counted = await this.db.read(
      `SELECT COUNT(*) FROM (SELECT 1 FROM ${table} WHERE ${where} LIMIT ${MAX_COUNTED}) t`,
    )
    const count = Number(counted[0]![0])
    return count < MAX_COUNTED
      ? count
      : Math.max(count, await this.db.estimate(`SELECT 1 FROM ${table} WHERE ${where}`))
  }
}

type ValueTerm = Extract<Term, { kind: 'value' }>

/** A row of dict. */
interface Value {
  id: string
  day: number
}

/** @param from the place to continue after; `range` contains this condition too */
type Walk = (range: string, size: number, from: Place | undefined) => Promise<Places>

function byDay(values: Value[]): Map<number, string[]> {
  const days = new Map<number, string[]>()
  for (const { id, day } of values) {
    const ids = days.get(day)
    if (ids === undefined) days.set(day, [id])
    else ids.push(id)
  }
  return days
}

interface Filter {
  having(trace: TraceTerms): boolean
  /** The term's list, if it has one. */
  list: List | undefined
  /** The approximate length of the list. */
  places?: number
  /** All traces that pass. */
  traces?: IdSet
  /** How many traces have been looked up. */
  lookups: number
}

/** The terms of all records of a trace. */
interface TraceTerms {
  duration: number
  terms: Set<number>
}

/** @param rows trace_id, duration, terms in hex */
function tracesIn(rows: Row[]): Map<bigint, TraceTerms> {
  const traces = new IdMap<TraceTerms>()
  for (const [id, duration, hex] of rows) {
    const traceId = BigInt(id!)
    const trace = traces.get(traceId) ?? { duration: -1, terms: new Set() }
    traces.set(traceId, trace)
    trace.duration = Math.max(trace.duration, Number(duration))
    const terms = hex as string
    for (let at = 0; at < terms.length; at += TERM_DIGITS) {
      trace.terms.add(Number.parseInt(terms.slice(at, at + TERM_DIGITS), 16))
    }
  }
  return traces
}

const NEWEST_FIRST = 'ORDER BY ts DESC, trace_id DESC'

/** Returns the condition for places that may be listed, as SQL. */
function rangeOf({ fromUs, toUs }: IndexQuery, after: Place | undefined): string {
  const sql = [`ts >= ${clamped(fromUs ?? I64_MIN)}`]
  if (toUs !== undefined) sql.push(`ts <= ${clamped(toUs)}`)
  // MySQL doesn't use an index range for (ts, trace_id) < (?, ?).
  if (after !== undefined) sql.push(`(ts < ${after.startUs} OR ts = ${after.startUs} AND trace_id < ${after.traceId})`)
  return sql.join(' AND ')
}

/** Returns the condition for places not after this one, as SQL. */
function downTo(place: Place | undefined): string {
  if (place === undefined) return ''
  return `ts >= ${place.startUs} AND (ts > ${place.startUs} OR trace_id >= ${place.traceId})`
}

function clamped(us: bigint): bigint {
  return us < I64_MIN ? I64_MIN : us > I64_MAX ? I64_MAX : us
}

function halfList({ name, service, minDurationUs }: Extract<Term, { kind: 'half' }>): List {
  const ofName = name === undefined ? '' : `name_id = ${wordId(name)}`
  const ofService = service === undefined ? '' : `service_id = ${wordId(service)}`
  const least = minDurationUs === undefined ? Number.NaN : Math.ceil(Math.min(minDurationUs, MAX_DURATION_US))
  const long = least > -1 ? `duration >= ${least}` : ''
  const table = 'span_idx'
  if (name !== undefined) return { table, index: 'by_name', equals: ofName, filter: conditions(ofService, long) }
  if (service !== undefined) return { table, index: 'by_service', equals: ofService, filter: long }
  return { table, index: 'PRIMARY', equals: '', filter: long }
}

function conditions(...sql: string[]): string {
  return sql.filter(part => part !== '').join(' AND ') || 'TRUE'
}

function isBehind({ startUs, traceId }: Place, other: Place): boolean {
  return startUs < other.startUs || (startUs === other.startUs && traceId < other.traceId)
}

function placesOf(rows: Row[]): Place[] {
  return rows.map(([ts, traceId]) => ({ startUs: BigInt(ts!), traceId: BigInt(traceId!) }))
}

function notIndexed(term: Term): StoreError {
  const { key } = term as { key: string }
  const remedy = `collectors don't index it; remove it from index.deny, or add it to index.allow`
  return new StoreError('MILO_NOT_INDEXED', `annotation ${JSON.stringify(key)} can't be searched for: ${remedy}`)
}

/** Completes words. Words that were cut can't be searched for and are left out. */
export async function completeFromMySql(db: MySql, policy: IndexPolicy, query: CompletionQuery): Promise<string[]> {
  const { field, key, prefix, limit } = query
  const scope = field === 'value' ? wordId(key ?? '') : SCOPE[field]
  const length = field === 'value' ? policy.maxValueLength : MAX_WORD_LENGTH
  const rows = await db.read(
    `SELECT MIN(text) FROM (
       SELECT DISTINCT id, text FROM dict FORCE INDEX (by_text)
       WHERE scope = ${scope} AND ${LIKE} AND CHAR_LENGTH(text) < ${length}
       LIMIT ${MAX_COMPLETED}
     ) t GROUP BY id ORDER BY CAST(MIN(text) AS BINARY) LIMIT ${limit}`,
    [`${literally(prefix)}%`],
  )
  return rows.map(([text]) => text as string).sort()
}

/** A comparison that, unlike =, respects trailing spaces. */
const LIKE = "text LIKE ? ESCAPE '|'"

function literally(text: string): string {
  return text.replace(/[|%_]/g, '|$&')
}
