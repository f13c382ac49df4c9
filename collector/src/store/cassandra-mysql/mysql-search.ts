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
 * The index of sql/mysql/0001-schema.sql, searched. Every term is one or more lists of places: stretches of a B-tree in the
 * order of time, which the server walks backwards and merges over the days' partitions.
 *
 *     name            by_name, name_id               key            by_key, key_id
 *     service         by_service, service_id         key = value    post, kv
 *     none of them    span_idx, ts                   error          post, kv 4
 *
 * A part of a value stands for the values that dict has of it. Where they have few places, these are sorted; where they have
 * many, they are met soon among those of the key, newest first; or of all spans, where no key is given.
 *
 * What else a trace must have is looked up in trace_terms.
 */

/** Values of which the ids are fetched. */
const MAX_VALUES = 4_000
/** Places of theirs that are fetched and sorted. */
const MAX_SORTED = 10_000
/** Rows of a key's list that are compared at once. */
const COMPARED = 2_000
/** A key with more values than this share of dict is read by reading all of it: in the order in which it lies. */
const MOST_OF_DICT = 0.2
/** A stretch of a list that is searched for what its index doesn't order, in rows; it grows up to the second. */
const STRETCH = [2_000, 128_000] as const
/** Places asked for at once, at most, where many are left out. */
const MAX_BATCH = 2_000
/** Looking up a trace costs as much as reading this many places of a list, which lie beside each other. */
const LOOKUP_PLACES = 20
/** How long a list may be that is read to its end in place of looking up each trace. */
const MAX_LISTED = 200_000
/** Traces that are looked up in one statement: MariaDB turns longer lists into a table. */
const MAX_IN = 500
/** Rows that say what these have; where there are more, of long traces, all of them pass. */
const MAX_TERM_ROWS = 20_000
/** How long to look for one call's places. */
const TURN_MS = 500
/** Counted exactly up to here; beyond, the server estimates. */
const MAX_COUNTED = 1_000
/** Words sorted for a completion; of more than that, some. */
const MAX_COMPLETED = 2_000

const I64_MAX = 2n ** 63n - 1n
const I64_MIN = -(2n ** 63n)

/** A stretch of an index, in the order of time. */
interface List {
  table: 'span_idx' | 'post'
  index: 'PRIMARY' | 'by_name' | 'by_service' | 'by_key'
  /** The value of the index's first column; empty for all of it. */
  equals: string
  /** What the index doesn't order by. */
  filter: string
}

/** One search. It remembers what it finds out about its terms. */
export class MySqlSearch implements SpanIndex {
  private readonly db: MySql
  private readonly policy: IndexPolicy
  private readonly values = new Map<ValueTerm, Promise<Value[] | undefined>>()
  private readonly sorted = new Map<ValueTerm, Promise<Place[] | undefined>>()
  /** Filters of terms that don't drive the search, with what each has found out. */
  private readonly filtersMade = new Map<Term, Filter>()
  private keys: Promise<string[]> | undefined
  /** Whether a value is one that the driver stands for. */
  private readonly compares = new Map<string, boolean>()

  constructor(db: MySql, policy: IndexPolicy) {
    this.db = db
    this.policy = policy
  }

  // Of one statement the server itself says when it takes too long.
  async count(term: Term, most: number): Promise<number> {
    if (!this.isIndexed(term)) return Infinity
    const list = this.listOf(term)
    if (list !== undefined) {
      return Math.min(most, await this.countOf(`${list.table} FORCE INDEX (${list.index})`, conditions(list.equals)))
    }
    const sorted = await this.sortedPlaces(term as ValueTerm)
    return sorted === undefined ? most : Math.min(most, sorted.length)
  }

  async places(query: IndexQuery, after: Place | undefined, most: number, mayGoOn: () => void): Promise<Places> {
    const { driver, others } = query
    if (!this.isIndexed(driver)) throw notIndexed(driver)
    const next = await this.walker(driver, query)
    const filters = await this.filters(others)
    // What passes the filters are hits, as a rule, of which half as many as were asked for make a page.
    const wanted = filters.length === 0 ? most : most / 2
    const deadline = performance.now() + TURN_MS
    const found: Place[] = []
    const seen = new IdSet()
    let size = most
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
      // As many as it seems to take; a long trace's places come one after the other.
      const share = Math.max(fresh.length / size, 0.01)
      size = Math.min(Math.max(Math.ceil((wanted - found.length) / share), most), MAX_BATCH)
    }
  }

  private isIndexed(term: Term): boolean {
    return !('key' in term) || term.key === undefined || this.policy.indexes(term.key)
  }

  /** Undefined for a part of a value, and for a value of any key. */
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

  /** The values in dict that a term stands for; undefined when they are too many. */
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
      // by_text has only the beginnings: every row would be fetched from where it lies.
      if (ofScope > MOST_OF_DICT * all) index = 'PRIMARY'
    }
    const rows = await this.db.read(
      `SELECT id, day FROM dict FORCE INDEX (${index}) WHERE ${scope} AND ${LIKE} LIMIT ${MAX_VALUES + 1}`,
      [this.pattern(term)],
    )
    return rows.length > MAX_VALUES ? undefined : rows.map(([id, day]) => ({ id: String(id), day: Number(day) }))
  }

  /** The places of a term's values, newest first; undefined when there are too many. */
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
    // A value's rows of a day are all in that day's partition.
    for (const [day, ids] of byDay(values)) {
      for (let i = 0; i < ids.length; i += MAX_IN) {
        const left = MAX_SORTED - places.length
        const rows = await this.db.read(
          `SELECT ts, trace_id FROM post FORCE INDEX (PRIMARY) WHERE day = ${day} AND kv IN (${ids.slice(i, i + MAX_IN)}) LIMIT ${left + 1}`,
        )
        if (rows.length > left) return undefined
        places.push(...placesOf(rows))
      }
    }
    return places.sort((a, b) => (isBehind(a, b) ? 1 : isBehind(b, a) ? -1 : 0))
  }

  private async scopeOf({ key, match }: ValueTerm): Promise<string> {
    if (key !== undefined) return `scope = ${wordId(key)}`
    // Every key's values have their own place in by_text; for what may stand anywhere in a value there is none.
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

  /** What gives the driver's places, a stretch at a time. */
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

  /** Only so far into the list, whose next rows may all be wrong. */
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

  /** Newest first through all values of the key, which are compared. */
  private async walkKey(term: ValueTerm, key: string, range: string): Promise<Places> {
    const where = conditions(`key_id = ${wordId(key)}`, range)
    const rows = await this.db.read(
      `SELECT ts, trace_id, kv, day FROM post FORCE INDEX (by_key) WHERE ${where} ${NEWEST_FIRST} LIMIT ${COMPARED}`,
    )
    const places = placesOf(await this.compared(term, rows))
    return { places, resume: rows.length < COMPARED ? undefined : placesOf(rows).at(-1) }
  }

  /** Newest first through all spans; what all keys have in their time is compared. */
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

  /** @param rows kv in the third column, day in the fourth */
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

  /** What a trace must have; only what is looked up at once, since the matcher decides anyway. */
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
        // Of these there may be thousands, and a trace has few.
        const ids = new Set(values.map(({ id }) => Number(id)))
        return ({ terms }) => [...terms].some(id => ids.has(id))
      }
    }
  }

  private async filtered(places: Place[], filters: Filter[]): Promise<Place[]> {
    const lookedFor: Filter[] = []
    let left = places
    for (const filter of filters) {
      const traces = left.length > 0 && (await this.tracesOf(filter))
      if (traces) left = left.filter(({ traceId }) => traces.has(traceId))
      else lookedFor.push(filter)
    }
    if (lookedFor.length === 0 || left.length === 0) return left
    for (const filter of lookedFor) filter.lookups += left.length
    const lacking = await this.lacking(left, lookedFor)
    return left.filter(({ traceId }) => !lacking.has(traceId))
  }

  /** All that have it, once to look up each has become as dear; undefined until then, and when they are too many. */
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

  /** Traces that lack something, as far as trace_terms tells. */
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

/** @param from behind which; the range has it too */
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
  /** Where it is one. */
  list: List | undefined
  /** How long the list is, about. */
  places?: number
  /** All traces that have it. */
  traces?: IdSet
  /** Traces looked up so far. */
  lookups: number
}

/** What a trace has, of all its records. */
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

/** Places that may be listed, as SQL. */
function rangeOf({ fromUs, toUs }: IndexQuery, after: Place | undefined): string {
  const sql = [`ts >= ${clamped(fromUs ?? I64_MIN)}`]
  if (toUs !== undefined) sql.push(`ts <= ${clamped(toUs)}`)
  // MySQL finds no range of an index in (ts, trace_id) < (?, ?).
  if (after !== undefined) sql.push(`(ts < ${after.startUs} OR ts = ${after.startUs} AND trace_id < ${after.traceId})`)
  return sql.join(' AND ')
}

/** Places no further down, as SQL. */
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
  const remedy = `collectors leave it out of the index; take it off index.deny, or put it on index.allow`
  return new StoreError('MILO_NOT_INDEXED', `annotation ${JSON.stringify(key)} can't be searched for: ${remedy}`)
}

/** Words that can be searched for: those that are cut can't. */
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

/** A comparison that, unlike =, tells spaces at the end. */
const LIKE = "text LIKE ? ESCAPE '|'"

function literally(text: string): string {
  return text.replace(/[|%_]/g, '|$&')
}
