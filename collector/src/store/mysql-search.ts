import type { IndexPolicy } from './index-policy'
import type { MySql, Row } from './mysql'
import { ERROR_MARK, FIRST_ID, kvOf, MAX_DURATION_US, MAX_WORD_LENGTH, SCOPE, wordId } from './mysql-index'
import type { IndexQuery, Place, Places, SpanIndex, Term } from './search'
import { type CompletionQuery, StoreError } from './store'

/**
 * The index of sql/mysql/0002-index.sql, searched. Every term is one or more lists of places: stretches of a B-tree in the
 * order of time, which the server walks backwards and merges over the days' partitions.
 *
 *     name            by_name, name_id               key = value    post, kv
 *     service         by_service, service_id         error          post, kv 4
 *     none of them    span_idx, ts
 *
 * A key alone, or a part of a value, stands for the values that dict has of it: few are a list each; many that are seldom are
 * sorted; many that are common are met soon among all spans, newest first.
 */

/** Lists that are merged by the server; beyond, values are joined or met. */
const LISTS_MOST = 32
/** Values of which the ids are fetched. */
const VALUES_MOST = 4_000
/** Places that are sorted for a page. */
const SORTED_MOST = 20_000
/** A stretch of a list that is searched for what its index doesn't order, in rows; it grows up to the second. */
const STRETCH = [2_000, 128_000] as const
/** Places asked for at once, where most will be left out. */
const BATCH = [200, 2_000] as const
/** Traces that are looked up in one statement: MariaDB turns longer lists into a table. */
const IN_MOST = 500
/** How long to look for one call's places. */
const TURN_MS = 500
/** Counted exactly up to here; beyond, the server estimates. */
const COUNTED_MOST = 1_000
/** Words sorted for a completion; of more than that, some. */
const COMPLETED_MOST = 20_000

const I64_MAX = 2n ** 63n - 1n
const I64_MIN = -(2n ** 63n)

/** A stretch of an index, in the order of time. */
interface List {
  table: 'span_idx' | 'post'
  index: 'PRIMARY' | 'by_name' | 'by_service'
  /** Of the index's first column; empty for all of it. */
  equals: string
  /** What the index doesn't order by. */
  filter: string
}

/** Of one search: what it finds out about its terms it remembers. */
export class MySqlSearch implements SpanIndex {
  private readonly db: MySql
  private readonly policy: IndexPolicy
  private readonly resolved = new Map<ValuesTerm, Promise<Values>>()
  /** Values that the driver's has been compared with, and those that it stands for. */
  private readonly tested = new Set<string>()
  private readonly wanted = new Set<string>()

  constructor(db: MySql, policy: IndexPolicy) {
    this.db = db
    this.policy = policy
  }

  async count(term: Term, most: number): Promise<number> {
    if (!this.isIndexed(term)) return Infinity
    const lists = await this.listsOf(term)
    if (lists !== undefined) {
      let sum = 0
      for (const list of lists) {
        sum += await this.countOf(`${list.table} FORCE INDEX (${list.index})`, conditions(list.equals))
        if (sum >= most) return most
      }
      return sum
    }
    const { ids, more } = await this.valuesOf(term as ValuesTerm)
    return more ? most : Math.min(await this.countOf('post FORCE INDEX (PRIMARY)', `kv IN (${ids})`), most)
  }

  async places(query: IndexQuery, after: Place | undefined, most: number): Promise<Places> {
    const { driver, others } = query
    if (!this.isIndexed(driver)) throw notIndexed(driver)
    const next = await this.walker(driver)
    const filters = await this.filters(others)
    const deadline = Date.now() + TURN_MS
    const found: Place[] = []
    const seen = new Set<bigint>()
    let size = filters.length === 0 ? most : Math.max(most, BATCH[0])
    let from = after
    for (;;) {
      const stretch = await next(rangeOf(query, from), size)
      let fresh = stretch.places.filter(({ traceId }) => !seen.has(traceId) && seen.add(traceId))
      for (const filter of filters) {
        if (fresh.length > 0) fresh = await this.filtered(fresh, filter)
      }
      found.push(...fresh)
      if (stretch.resume === undefined || found.length >= most || Date.now() > deadline) {
        return { places: found, resume: stretch.resume }
      }
      from = stretch.resume
      // A long trace's places come one after the other.
      size = Math.min(Math.max(size * 4, BATCH[0]), BATCH[1])
    }
  }

  private isIndexed(term: Term): boolean {
    return !('key' in term) || term.key === undefined || this.policy.indexes(term.key)
  }

  /** Undefined when they are too many. */
  private async listsOf(term: Term): Promise<List[] | undefined> {
    const post = { table: 'post', index: 'PRIMARY', filter: '' } as const
    switch (term.kind) {
      case 'half':
        return [halfList(term)]
      case 'error':
        return [{ ...post, equals: `kv = ${ERROR_MARK}` }]
      default: {
        if (term.kind === 'value' && term.key !== undefined && term.match === 'exact') {
          return [{ ...post, equals: `kv = ${kvOf(term.key, this.policy.cut(term.value))}` }]
        }
        const { ids, more } = await this.valuesOf(term)
        return more || ids.length > LISTS_MOST ? undefined : ids.map(id => ({ ...post, equals: `kv = ${id}` }))
      }
    }
  }

  /** The values in dict that a term stands for. */
  private valuesOf(term: ValuesTerm): Promise<Values> {
    let values = this.resolved.get(term)
    if (values === undefined) {
      values = this.lookUp(term)
      this.resolved.set(term, values)
    }
    return values
  }

  private async lookUp(term: ValuesTerm): Promise<Values> {
    const { sql, parameters } = this.comparison(term)
    const where = conditions(await this.scopeOf(term), sql)
    const rows = await this.db.read(`SELECT DISTINCT id FROM dict WHERE ${where} LIMIT ${VALUES_MOST + 1}`, parameters)
    const ids = rows.map(([id]) => String(id))
    return { ids: ids.slice(0, VALUES_MOST), more: ids.length > VALUES_MOST }
  }

  private async scopeOf(term: ValuesTerm): Promise<string> {
    if (term.key !== undefined) return `scope = ${wordId(term.key)}`
    // Every key's values have their own place in by_text; for what may stand anywhere in a value there is none.
    if (term.kind === 'value' && term.match === 'contains') return `scope >= ${FIRST_ID}`
    const rows = await this.db.read(`SELECT DISTINCT id & 0xffffffff FROM dict WHERE scope = ${SCOPE.key}`)
    return rows.length === 0 ? 'FALSE' : `scope IN (${rows.map(([id]) => id)})`
  }

  private comparison(term: ValuesTerm): { sql: string; parameters: string[] } {
    if (term.kind === 'key') return { sql: '', parameters: [] }
    const text = literally(this.policy.cut(term.value))
    const pattern = term.match === 'exact' ? text : term.match === 'prefix' ? `${text}%` : `%${text}%`
    return { sql: LIKE, parameters: [pattern] }
  }

  /** What gives the driver's places, a stretch at a time. */
  private async walker(driver: Term): Promise<(range: Range, size: number) => Promise<Places>> {
    const lists = await this.listsOf(driver)
    if (lists?.length === 0) return async () => ({ places: [], resume: undefined })
    if (lists?.every(({ filter }) => filter === '')) {
      return (range, size) => this.walkLists(lists, range, size)
    }
    if (lists !== undefined) {
      let stretch: number = STRETCH[0]
      return (range, size) => {
        const walked = this.walkFiltered(lists[0]!, range, size, stretch)
        stretch = Math.min(stretch * 4, STRETCH[1])
        return walked
      }
    }
    const term = driver as ValuesTerm
    const { ids, more } = await this.valuesOf(term)
    if (more) return range => this.walkValues(range, kvs => this.test(term, kvs))
    const where = `kv IN (${ids})`
    const [row] = await this.db.read(
      `SELECT COUNT(*) FROM (SELECT 1 FROM post FORCE INDEX (PRIMARY) WHERE ${where} LIMIT ${SORTED_MOST + 1}) t`,
    )
    if (Number(row![0]) <= SORTED_MOST) {
      const list: List = { table: 'post', index: 'PRIMARY', equals: where, filter: '' }
      return (range, size) => this.walkLists([list], range, size)
    }
    const wanted = new Set(ids)
    return range => this.walkValues(range, async () => wanted)
  }

  private async walkLists(lists: List[], range: Range, size: number): Promise<Places> {
    const one = (list: List) =>
      `SELECT ts, trace_id FROM ${list.table} FORCE INDEX (${list.index}) WHERE ${conditions(list.equals, list.filter, range.sql)} ${NEWEST_FIRST} LIMIT ${size}`
    const sql =
      lists.length === 1
        ? one(lists[0]!)
        : `${lists.map(list => `(${one(list)})`).join(' UNION ALL ')} ${NEWEST_FIRST} LIMIT ${size}`
    const places = placesOf(await this.db.read(sql))
    return { places, resume: places.length < size ? undefined : places.at(-1) }
  }

  /** Only so far into the list, whose next rows may all be wrong. */
  private async walkFiltered(list: List, range: Range, size: number, stretch: number): Promise<Places> {
    const from = `FROM ${list.table} FORCE INDEX (${list.index})`
    const base = conditions(list.equals, range.sql)
    const [end] = placesOf(
      await this.db.read(`SELECT ts, trace_id ${from} WHERE ${base} ${NEWEST_FIRST} LIMIT 1 OFFSET ${stretch}`),
    )
    const within =
      end === undefined ? '' : `(ts > ${end.startUs} OR ts = ${end.startUs} AND trace_id >= ${end.traceId})`
    const where = conditions(base, list.filter, within)
    const places = placesOf(
      await this.db.read(`SELECT ts, trace_id ${from} WHERE ${where} ${NEWEST_FIRST} LIMIT ${size}`),
    )
    return { places, resume: places.length < size ? end : places.at(-1) }
  }

  /**
   * Newest first through all spans, and all they have is tested.
   * @param test says which of the values are wanted; may give others too
   */
  private async walkValues(range: Range, test: (kvs: Set<string>) => Promise<Set<string>>): Promise<Places> {
    const spans: List = { table: 'span_idx', index: 'PRIMARY', equals: '', filter: '' }
    const { places, resume } = await this.walkLists([spans], range, IN_MOST)
    if (places.length === 0) return { places, resume }
    const traces = new Set(places.map(({ traceId }) => traceId))
    const [newest, oldest] = [places[0]!.startUs, places.at(-1)!.startUs]
    const rows = await this.db.read(
      `SELECT ts, trace_id, kv FROM post FORCE INDEX (by_trace)
       WHERE trace_id IN (${[...traces]}) AND ts BETWEEN ${oldest} AND ${newest} AND ${range.sql} ${NEWEST_FIRST}`,
    )
    const wanted = await test(new Set(rows.map(([, , kv]) => String(kv))))
    const found = placesOf(rows.filter(([, , kv]) => wanted.has(String(kv))))
    // Further down than the spans go, the next stretch looks again.
    return { places: resume === undefined ? found : found.filter(place => !isBehind(place, resume)), resume }
  }

  private async test(term: ValuesTerm, kvs: Set<string>): Promise<Set<string>> {
    const { sql, parameters } = this.comparison(term)
    const fresh = [...kvs].filter(kv => !this.tested.has(kv))
    for (let i = 0; i < fresh.length; i += IN_MOST) {
      const some = fresh.slice(i, i + IN_MOST)
      const where = conditions(`id IN (${some})`, term.key === undefined ? '' : await this.scopeOf(term), sql)
      const rows = await this.db.read(`SELECT id FROM dict WHERE ${where}`, parameters)
      const wanted = new Set(rows.map(([id]) => String(id)))
      for (const kv of some) {
        this.tested.add(kv)
        if (wanted.has(kv)) this.wanted.add(kv)
      }
    }
    return this.wanted
  }

  /** What a trace must have in by_trace; only what is looked up at once, since the matcher decides anyway. */
  private async filters(others: Term[]): Promise<Filter[]> {
    const filters: Filter[] = []
    for (const term of others) {
      if (!this.isIndexed(term)) continue
      if (term.kind === 'half') {
        const { equals, filter } = halfList(term)
        filters.push({ table: 'span_idx', where: conditions(equals, filter) })
      } else {
        const lists = await this.listsOf(term)
        if (lists === undefined) {
          const { ids, more } = await this.valuesOf(term as ValuesTerm)
          // With a sum, so that the index isn't looked up for each trace with each value.
          if (!more) filters.push({ table: 'post', where: `kv + 0 IN (${ids})` })
        } else if (lists.length === 0) {
          filters.push({ table: 'post', where: 'FALSE' })
        } else {
          filters.push({ table: 'post', where: `(${lists.map(({ equals }) => equals).join(' OR ')})` })
        }
      }
    }
    return filters
  }

  private async filtered(places: Place[], { table, where }: Filter): Promise<Place[]> {
    const having = new Set<bigint>()
    for (let i = 0; i < places.length; i += IN_MOST) {
      const ids = places.slice(i, i + IN_MOST).map(({ traceId }) => traceId)
      const rows = await this.db.read(
        `SELECT DISTINCT trace_id FROM ${table} FORCE INDEX (by_trace) WHERE trace_id IN (${ids}) AND ${where}`,
      )
      for (const [traceId] of rows) having.add(BigInt(traceId!))
    }
    return places.filter(({ traceId }) => having.has(traceId))
  }

  private async countOf(table: string, where: string): Promise<number> {
    const counted = await this.db.read(
      `SELECT COUNT(*) FROM (SELECT 1 FROM ${table} WHERE ${where} LIMIT ${COUNTED_MOST}) t`,
    )
    const count = Number(counted[0]![0])
    return count < COUNTED_MOST
      ? count
      : Math.max(count, await this.db.estimate(`SELECT 1 FROM ${table} WHERE ${where}`))
  }
}

type ValuesTerm = Extract<Term, { kind: 'key' | 'value' }>

interface Values {
  ids: string[]
  /** Whether there are more, or too many to be sorted. */
  more: boolean
}

interface Filter {
  table: 'span_idx' | 'post'
  where: string
}

/** Places that may be listed, as SQL. */
interface Range {
  sql: string
}

const NEWEST_FIRST = 'ORDER BY ts DESC, trace_id DESC'

function rangeOf({ fromUs, toUs }: IndexQuery, after: Place | undefined): Range {
  const sql = [`ts >= ${clamped(fromUs ?? I64_MIN)}`]
  if (toUs !== undefined) sql.push(`ts <= ${clamped(toUs)}`)
  // MySQL finds no range of an index in (ts, trace_id) < (?, ?).
  if (after !== undefined) sql.push(`(ts < ${after.startUs} OR ts = ${after.startUs} AND trace_id < ${after.traceId})`)
  return { sql: sql.join(' AND ') }
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
       SELECT id, text FROM dict FORCE INDEX (by_text)
       WHERE scope = ${scope} AND ${LIKE} AND CHAR_LENGTH(text) < ${length}
       LIMIT ${COMPLETED_MOST}
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
