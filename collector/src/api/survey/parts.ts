import type { TimedQuery } from '../../query'
import { SEARCH_BYTES } from '../../store/search/search'
import type { SearchPage, SearchQuery, SpanSearch } from '../../store/store'
import type { Turns } from '../../turns'
import type { AskStore } from '../ask-store'
import type { Reads } from '../read-budget'

/** Searches that read from all parts of a time range rather than from its newest end. */

export type Search = (query: SearchQuery) => Promise<SearchPage>

/** A part of a time range, and how far it has been read. Both times are inclusive. */
export interface Part {
  fromUs: number
  toUs: number
  /** Undefined at the beginning, and at the end. */
  after?: string | undefined
}

/** Returns the search of a store as a reader may ask it: with its part of the budget. */
export function searchWithin({ searches }: Reads, askStore: AskStore<SpanSearch>): Search {
  return query => searches.during(SEARCH_BYTES, () => askStore(store => store.search(query)))
}

/** By default, a range has so many parts, but none is shorter than this. */
export const PARTS = 8
const MIN_PART_US = 10_000_000

/** Divides a time range into at most so many parts, the newest first, none of which is shorter than `leastUs`. */
export function partsOf(
  { fromUs, toUs }: { fromUs: number; toUs: number },
  most = PARTS,
  leastUs = MIN_PART_US,
): Part[] {
  const length = toUs - fromUs
  const count = Math.max(1, Math.min(most, Math.floor(length / leastUs)))
  const edge = (i: number) => fromUs + Math.floor((i * length) / count)
  return Array.from({ length: count }, (_, i) => ({
    fromUs: edge(i) + (i === 0 ? 0 : 1),
    toUs: edge(i + 1),
  })).reverse()
}

/**
 * Yields pages of a search from all parts by turns, until each has been read to its end.
 * @param limitOf returns how many traces a page has at most, before each round over the parts that are left; 0 to end
 */
export async function* pagesByTurns<P extends Part>(
  search: Search,
  query: TimedQuery & Pick<SearchQuery, 'clocksAgree'>,
  parts: readonly P[],
  limitOf: (left: number) => number,
  turns: Turns,
): AsyncGenerator<{ part: P; page: SearchPage }> {
  for (let left = [...parts]; left.length > 0; left = left.filter(({ after }) => after !== undefined)) {
    const limit = limitOf(left.length)
    if (limit === 0) return
    for (const part of left) {
      const { fromUs, toUs, after } = part
      const page = await search({ ...query, fromUs, toUs, limit, ...(after !== undefined && { after }) })
      part.after = page.next
      yield { part, page }
      await turns.next()
    }
  }
}
