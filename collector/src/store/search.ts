import type { Cursor, SearchPage, SearchQuery } from './store'
import { queryTerms } from './terms'

/**
 * Search over the two tables that both SQL databases have:
 *
 *     posting(term, trace_id, span_id)   primary key: all three
 *     trace_start(trace_id, start_us)    primary key: trace_id; in order by (start_us, trace_id) too
 *
 * A rare term has few postings: they are read, and their traces sorted. A frequent one has matches everywhere: traces are
 * walked from the newest on, and each is looked up, until the page is full. Neither reads more than it may.
 */
export interface IndexDatabase {
  /** Runs a SELECT of integer columns; parameters are integers too. */
  rows(sql: string, parameters: bigint[]): Promise<bigint[][]>
  /** The condition "comes after this place, newest first" in the form whose index range this database finds. */
  after(place: Cursor): { sql: string; parameters: bigint[] }
}

/** Above so many postings a term is frequent. Reading so many takes about 10 ms. */
const RARE = 5_000n
/** How many traces one query walks at most, and the whole search. */
const WALK_STEP = 2_000
const WALK_MAX = 100_000

export async function search(db: IndexDatabase, query: SearchQuery): Promise<SearchPage> {
  const terms = await byFrequency(db, queryTerms(query))
  const rarest = terms[0]
  return rarest !== undefined && rarest.count <= RARE
    ? sortFew(db, terms, query)
    : walkMany(db, terms, query.limit, query.before)
}

interface Term {
  term: bigint
  /** Its postings, counted up to just above RARE. */
  count: bigint
}

async function byFrequency(db: IndexDatabase, terms: bigint[]): Promise<Term[]> {
  const counted: Term[] = []
  for (const term of terms) {
    const sql = 'SELECT count(*) FROM (SELECT 1 FROM posting WHERE term = ? LIMIT ?) AS counted'
    const [[count]] = (await db.rows(sql, [term, RARE + 1n])) as [[bigint]]
    counted.push({ term, count })
  }
  return counted.sort((a, b) => Number(a.count - b.count))
}

async function sortFew(db: IndexDatabase, terms: Term[], { limit, before }: SearchQuery): Promise<SearchPage> {
  const [rarest, ...others] = terms
  const after = before === undefined ? undefined : db.after(before)
  const rows = await db.rows(
    `SELECT start_us, trace_id FROM trace_start
     WHERE trace_id IN (SELECT p.trace_id FROM posting p WHERE p.term = ?${others.map(onSameSpan).join('')})
     ${after === undefined ? '' : `AND ${after.sql}`}
     ORDER BY start_us DESC, trace_id DESC LIMIT ?`,
    [rarest!.term, ...others.map(({ term }) => term), ...(after?.parameters ?? []), BigInt(limit + 1)],
  )
  const traces = rows.slice(0, limit).map(cursorOf)
  return { traces, next: rows.length > limit ? traces.at(-1) : undefined }
}

async function walkMany(
  db: IndexDatabase,
  terms: Term[],
  limit: number,
  before: Cursor | undefined,
): Promise<SearchPage> {
  const [first, ...others] = terms
  const hit =
    first === undefined
      ? '1'
      : `EXISTS (SELECT 1 FROM posting p WHERE p.term = ? AND p.trace_id = t.trace_id${others.map(onSameSpan).join('')})`
  const parameters = terms.map(({ term }) => term)
  const traces: Cursor[] = []
  let place = before
  let walked = 0
  // A very frequent term fills the page in the first step: that one is kept short.
  for (let step = limit + 1; walked < WALK_MAX; step = Math.min(step * 4, WALK_STEP)) {
    const after = place === undefined ? undefined : db.after(place)
    const rows = await db.rows(
      `SELECT start_us, trace_id, ${hit} FROM trace_start t
       ${after === undefined ? '' : `WHERE ${after.sql}`}
       ORDER BY start_us DESC, trace_id DESC LIMIT ?`,
      [...parameters, ...(after?.parameters ?? []), BigInt(step)],
    )
    for (const row of rows) {
      if (row[2] === 0n) continue
      if (traces.length === limit) return { traces, next: traces.at(-1) }
      traces.push(cursorOf(row))
    }
    if (rows.length < step) return { traces }
    place = cursorOf(rows.at(-1)!)
    walked += rows.length
  }
  return { traces, next: place }
}

function onSameSpan(_: Term, i: number): string {
  const q = `q${i}`
  return ` AND EXISTS (SELECT 1 FROM posting ${q}
    WHERE ${q}.term = ? AND ${q}.trace_id = p.trace_id AND ${q}.span_id = p.span_id)`
}

function cursorOf([startUs, traceId]: bigint[]): Cursor {
  return { startUs: startUs!, traceId: traceId! }
}
