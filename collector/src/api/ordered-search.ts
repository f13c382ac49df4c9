import type { SearchAnswer } from '../http/answers'
import type { TimedQuery } from '../query'
import type { SearchQuery } from '../store/store'
import type { TraceSummary } from '../trace'
import type { Turns } from '../turns'
import { PARTS, type Part, pagesByTurns, partsOf, type Search } from './survey/parts'

/**
 * A search's longest traces, or those with the most errors. A store lists traces by time alone, so this reads what the search finds, as much
 * as is possible in a few seconds, in an order that finds most of the wanted ones early:
 *
 *     longest    some of every part of the range │ traces with a span longer than the shortest one of the list │ the rest
 *     errors     traces in which what is searched for failed │ the rest
 */

export type Order = 'longest' | 'errors'

const MOST_READ = 2_000
/** How many traces a page has. Pages of the longest ones are short: each raises what is searched for next. */
const PAGE = 100
const LONGEST_PAGE = 50

export async function orderedSearch(
  searchOne: Search,
  { limit, ...query }: SearchQuery,
  order: Order,
  { turns, deadlineMs }: { turns: Turns; deadlineMs: number },
): Promise<SearchAnswer> {
  const list = new Ordered(order, limit)
  let read = 0
  let cost: SearchAnswer['cost'] = 'index'
  const search: Search = async query => {
    const page = await searchOne(query)
    read += page.read
    if (page.cost !== 'index' && cost !== 'all') cost = page.cost
    return page
  }
  const giveUpAt = performance.now() + deadlineMs
  const isOver = () => list.read >= MOST_READ || performance.now() > giveUpAt
  const everything = pagesOf(search, query, Math.max(PAGE / PARTS, limit / PARTS), turns)
  let complete = false
  const readOn = async (rounds: number) => {
    for (let pages = 0; pages < rounds && !isOver() && !complete; pages++) {
      const { done, value } = await everything.next()
      if (done) complete = true
      else list.add(value)
    }
  }
  if (order === 'longest') {
    await readOn(PARTS)
    if (!complete) await findLonger(search, query, list, isOver, turns)
  } else if (query.error === undefined) {
    for await (const traces of pagesOf(search, { ...query, error: true }, PAGE, turns)) {
      list.add(traces)
      if (isOver()) break
    }
  }
  await readOn(Infinity)
  return { traces: list.traces, next: null, read, cost, ordered: { read: list.read, complete } }
}

/** Searches for spans that are longer than the list's shortest trace. This finds the long traces in which what is searched for is long. */
async function findLonger(
  search: Search,
  query: TimedQuery,
  list: Ordered,
  isOver: () => boolean,
  turns: Turns,
): Promise<void> {
  for (let again = true; again; ) {
    const least = Math.max(query.minDurationUs ?? 0, list.least + 1)
    if (least > (query.maxDurationUs ?? Infinity)) return
    again = false
    for await (const traces of pagesOf(search, { ...query, minDurationUs: least }, LONGEST_PAGE, turns)) {
      list.add(traces)
      if (isOver()) return
      again = list.least > 2 * least
      if (again) break
    }
  }
}

/** Yields what a search finds, from all parts of its time range by turns if it has one. */
async function* pagesOf(
  search: Search,
  query: TimedQuery,
  limit: number,
  turns: Turns,
): AsyncGenerator<TraceSummary[], undefined> {
  const { fromUs, toUs } = query
  const end = toUs ?? Date.now() * 1000
  const parts: Part[] =
    fromUs !== undefined && fromUs < end ? partsOf({ fromUs, toUs: end }) : [{ fromUs: fromUs ?? 0, toUs: end }]
  // A sender's clock may be ahead.
  if (toUs === undefined) parts[0]!.toUs = Number.MAX_SAFE_INTEGER
  for await (const { page } of pagesByTurns(search, query, parts, () => Math.ceil(limit), turns)) yield page.traces
  return undefined
}

/** The first traces of those that were read, in order; of equal ones the newer. */
class Ordered {
  traces: TraceSummary[] = []
  private readonly seen = new Set<string>()
  private readonly order: Order
  private readonly most: number

  constructor(order: Order, most: number) {
    this.order = order
    this.most = most
  }

  get read(): number {
    return this.seen.size
  }

  /** The measure of the last one; −1 as long as there is room for others. */
  get least(): number {
    return this.traces.length < this.most ? -1 : this.measure(this.traces.at(-1)!)
  }

  add(traces: TraceSummary[]): void {
    const fresh = traces.filter(({ traceId }) => !this.seen.has(traceId) && this.seen.add(traceId))
    this.traces = [...this.traces, ...fresh]
      .sort(
        (a, b) =>
          this.measure(b) - this.measure(a) || (b.start ?? 0) - (a.start ?? 0) || (a.traceId < b.traceId ? 1 : -1),
      )
      .slice(0, this.most)
  }

  private measure({ duration, errorCount }: TraceSummary): number {
    return this.order === 'longest' ? (duration ?? -1) : errorCount
  }
}
