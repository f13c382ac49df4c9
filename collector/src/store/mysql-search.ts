import type { IndexPolicy } from './index-policy'
import type { MySql, Row } from './mysql'
import { ERROR_MARK, kvOf, MAX_DURATION_US, MAX_WORD_LENGTH, SCOPE, wordId } from './mysql-index'
import type { IndexQuery, Place, Places, SpanIndex, Term } from './search'
import { type CompletionQuery, StoreError } from './store'

/**
 * The index of sql/mysql/0002-index.sql, searched. Every term is one or more lists of places: stretches of a B-tree in the
 * order of time, which the server walks backwards and merges over the days' partitions.
 *
 *     name            by_name, name_id               key            by_key, key_id
 *     service         by_service, service_id         key = value    kv
 *     none of them    the primary key                error          kv 4
 *
 * A part of a value is looked up in dict: few values are a list each; many that are seldom are joined and sorted; many that
 * are common are met soon on the key's own list.
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
  index: 'PRIMARY' | 'by_name' | 'by_service' | 'by_key'
  /** Of the index's first column; empty for all of it. */
  equals: string
  /** What the index doesn't order by. */
  filter: string
}

/** Of one search: what it finds out about its terms it remembers. */
export class MySqlSearch implements SpanIndex {
  private readonly db: MySql
  private readonly policy: IndexPolicy
  private readonly resolved = new Map<Term, Promise<Values>>()
  /** Whether a value is one that the driver looks for. */
  private readonly tested = new Map<string, boolean>()

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
    const { ids, more } = await this.valuesOf(term)
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
      case 'key':
        return [{ ...post, index: 'by_key', equals: `key_id = ${wordId(term.key)}` }]
      case 'value': {
        if (term.key !== undefined && term.match === 'exact') {
          return [{ ...post, equals: `kv = ${kvOf(term.key, this.policy.cut(term.value))}` }]
        }
        const { ids, more } = await this.valuesOf(term)
        return more || ids.length > LISTS_MOST ? undefined : ids.map(id => ({ ...post, equals: `kv = ${id}` }))
      }
    }
  }

  /** The values in dict that a term stands for. */
  private valuesOf(term: Term): Promise<Values> {
    let values = this.resolved.get(term)
    if (values === undefined) {
      values = this.lookUp(term as ValueTerm)
      this.resolved.set(term, values)
    }
    return values
  }

  private async lookUp(term: ValueTerm): Promise<Values> {
    const rows = await this.db.read(
      `SELECT DISTINCT id FROM dict WHERE ${await this.scopeOf(term)} AND ${LIKE} LIMIT ${VALUES_MOST + 1}`,
      [this.pattern(term)],
    )
    const ids = rows.map(([id]) => String(id))
    return { ids: ids.slice(0, VALUES_MOST), more: ids.length > VALUES_MOST }
  }

  private async scopeOf({ key, match }: ValueTerm): Promise<string> {
    if (key !== undefined) return `scope = ${wordId(key)}`
    // Every key's values have their own place in by_text; for what may stand anywhere in a value there is none.
    if (match === 'contains') return 'scope >= 16'
    const rows = await this.db.read(`SELECT DISTINCT id & 0xffffffff FROM dict WHERE scope = ${SCOPE.key}`)
    return rows.length === 0 ? 'FALSE' : `scope IN (${rows.map(([id]) => id)})`
  }

  private pattern({ value, match }: ValueTerm): string {
    const text = literally(this.policy.cut(value))
    return match === 'exact' ? text : match === 'prefix' ? `${text}%` : `%${text}%`
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
    const term = driver as ValueTerm
    const { ids, more } = await this.valuesOf(term)
    if (!more) {
      const where = `kv IN (${ids})`
      const rows = await this.db.read(
        `SELECT COUNT(*) FROM (SELECT 1 FROM post FORCE INDEX (PRIMARY) WHERE ${where} LIMIT ${SORTED_MOST + 1}) t`,
      )
      if (Number(rows[0]![0]) <= SORTED_MOST) {
        const list: List = { table: 'post', index: 'PRIMARY', equals: where, filter: '' }
        return (range, size) => this.walkLists([list], range, size)
      }
      for (const id of ids) this.tested.set(id, true)
    }
    return (range, size) => this.walkValues(term, range, Math.max(size, STRETCH[0]), more)
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

  /** Newest first through all values of the key, or through all spans, and each value is tested. */
  private async walkValues(term: ValueTerm, range: Range, size: number, untested: boolean): Promise<Places> {
    let rows: Row[]
    let resume: Place | undefined
    if (term.key !== undefined) {
      const where = conditions(`key_id = ${wordId(term.key)}`, range.sql)
      rows = await this.db.read(
        `SELECT ts, trace_id, kv FROM post FORCE INDEX (by_key) WHERE ${where} ${NEWEST_FIRST} LIMIT ${size}`,
      )
      resume = rows.length < size ? undefined : placesOf(rows).at(-1)
    } else {
      const spans: List = { table: 'span_idx', index: 'PRIMARY', equals: '', filter: '' }
      const walked = await this.walkLists([spans], range, IN_MOST)
      resume = walked.resume
      rows = []
      if (walked.places.length > 0) {
        const traces = new Set(walked.places.map(({ traceId }) => traceId))
        const [newest, oldest] = [walked.places[0]!.startUs, walked.places.at(-1)!.startUs]
        rows = await this.db.read(
          `SELECT ts, trace_id, kv FROM post FORCE INDEX (by_trace)
           WHERE trace_id IN (${[...traces]}) AND ts BETWEEN ${oldest} AND ${newest} AND kv <> ${ERROR_MARK} AND ${range.sql} ${NEWEST_FIRST}`,
        )
      }
    }
    if (untested)
      await this.test(
        term,
        rows.map(([, , kv]) => String(kv)),
      )
    return { places: placesOf(rows.filter(([, , kv]) => this.tested.get(String(kv)) === true)), resume }
  }

  private async test(term: ValueTerm, kvs: string[]): Promise<void> {
    const fresh = [...new Set(kvs)].filter(kv => !this.tested.has(kv))
    for (let i = 0; i < fresh.length; i += IN_MOST) {
      const some = fresh.slice(i, i + IN_MOST)
      for (const kv of some) this.tested.set(kv, false)
      const rows = await this.db.read(`SELECT id FROM dict WHERE id IN (${some}) AND ${LIKE}`, [this.pattern(term)])
      for (const [id] of rows) this.tested.set(String(id), true)
    }
  }

  /** What a trace must have in by_trace; only what is looked up at once, since the matcher decides anyway. */
  private async filters(others: Term[]): Promise<Filter[]> {
    const filters: Filter[] = []
    for (const term of others) {
      if (!this.isIndexed(term) || term.kind === 'key') continue
      if (term.kind === 'half') {
        const { equals, filter } = halfList(term)
        filters.push({ table: 'span_idx', where: conditions(equals, filter) })
      } else {
        const lists = await this.listsOf(term)
        if (lists === undefined) {
          const { ids, more } = await this.valuesOf(term)
          if (!more) filters.push({ table: 'post', where: `kv IN (${ids})` })
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

type ValueTerm = Extract<Term, { kind: 'value' }>

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
