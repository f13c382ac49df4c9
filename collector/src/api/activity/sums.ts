import { Counter } from '../../store/activity/counter'
import type { ActivityQuery, EdgeKey } from '../../store/activity/model'
import type { ActivityEntry } from '../../store/activity/read'
import { counterOf, edgeOf } from '../../store/activity/rows'

/** Calls `visit` with all that is stored for a query. */
export type ReadActivity = (query: ActivityQuery, visit: (entry: ActivityEntry) => void) => Promise<void>

/** Without steps: of each key one sum. */
export const WHOLE = Number.POSITIVE_INFINITY

/** How many keys are ranked. When there are more, the busier half of them stays. */
const MAX_RANKED = 100_000

export interface Sums {
  /** The busiest first. */
  counters: Map<string, Counter>
  /** How many keys there are besides. */
  leftOut: number
}

interface SumOptions {
  /** Returns under which key an entry is counted; undefined if it isn't asked for. */
  keyOf(entry: ActivityEntry): string | undefined
  /** The most keys. A counter takes some kilobytes, so it is the busiest that are added up. */
  max: number
  /** These come first. */
  prefer?: ReadonlySet<string>
  /** Returns the key under which those beyond the limit are counted; without it, they aren't. */
  otherOf?(key: string): string
}

/** Adds up the busiest keys of all that a query finds. */
export async function sumBusiest(read: ReadActivity, query: ActivityQuery, options: SumOptions): Promise<Sums> {
  const { counters, leftOut } = await sumBusiestOfAll(read, [query], options)
  return { counters: busiestFirst(counters[0]!), leftOut }
}

/**
 * Adds up the same keys for several queries, those with the most calls a second in all of them. It reads once if there are few
 * enough keys; otherwise once to see which are the busiest, and once more.
 */
export async function sumBusiestOfAll(
  read: ReadActivity,
  queries: ActivityQuery[],
  { keyOf, max, prefer, otherOf }: SumOptions,
): Promise<{ counters: Map<string, Counter>[]; leftOut: number }> {
  const ranks = new Ranks()
  const some = new Set<string>()
  let counters = queries.map(() => new Map<string, Counter>())
  const others = new Counter()
  for (const [i, query] of queries.entries()) {
    const seconds = (query.toUs - query.fromUs) / 1e6
    await read(query, entry => {
      const key = keyOf(entry)
      if (key === undefined) return
      if (some.size < max) some.add(key)
      const counter = some.has(key) ? counterOf(counters[i]!, key) : others
      const before = counter.calls
      entry.addTo(counter)
      ranks.add(key, (counter.calls - before) / seconds)
    })
  }
  if (!ranks.isWithin(max)) {
    const chosen = new Set(ranks.busiest(max, prefer))
    counters = queries.map(() => new Map())
    for (const [i, query] of queries.entries()) {
      await read(query, entry => {
        const key = keyOf(entry)
        if (key === undefined) return
        if (chosen.has(key)) entry.addTo(counterOf(counters[i]!, key))
        else if (otherOf !== undefined) entry.addTo(counterOf(counters[i]!, otherOf(key)))
      })
    }
  }
  // What corrections have taken back.
  for (const sums of counters) for (const [key, counter] of sums) if (counter.isNothing()) sums.delete(key)
  return { counters, leftOut: Math.max(0, ranks.size - max) }
}

/** Which keys have the most calls. */
export class Ranks {
  private calls = new Map<string, number>()
  private forgotten = 0

  /** How many keys there are, or were when their number was too large. */
  get size(): number {
    return this.calls.size + this.forgotten
  }

  add(key: string, calls: number): void {
    this.calls.set(key, (this.calls.get(key) ?? 0) + calls)
    if (this.calls.size <= MAX_RANKED) return
    const kept = new Map([...this.calls].sort(byCalls).slice(0, MAX_RANKED / 2))
    this.forgotten += this.calls.size - kept.size
    this.calls = kept
  }

  of(key: string): number {
    return this.calls.get(key) ?? 0
  }

  all(): [string, number][] {
    return [...this.calls]
  }

  isWithin(max: number): boolean {
    return this.size <= max
  }

  busiest(max: number, prefer?: ReadonlySet<string>): string[] {
    const first = (key: string) => (prefer?.has(key) ? 1 : 0)
    return [...this.calls]
      .sort((a, b) => first(b[0]) - first(a[0]) || byCalls(a, b))
      .slice(0, max)
      .map(([key]) => key)
  }
}

function byCalls([a, aCalls]: [string, number], [b, bCalls]: [string, number]): number {
  return bCalls - aCalls || (a < b ? -1 : 1)
}

function busiestFirst(counters: Map<string, Counter>): Map<string, Counter> {
  return new Map([...counters].sort(([a, { calls }], [b, other]) => byCalls([a, calls], [b, other.calls])))
}

/**
 * Reads the key of an edge. An edge is in the rows of its caller and of its callee: undefined for the second time. Which rows a
 * query needs: kindsOfEdges().
 * @param service whose edges are asked for; without it, all of them
 */
export function edgeIn({ kind, key }: ActivityEntry, service?: string): EdgeKey | undefined {
  if (kind === 'operations') return undefined
  const edge = edgeOf(key)
  return kind === 'callers' && edge.caller === service ? undefined : edge
}

/** The rows with all edges, or with those of a service. */
export function kindsOfEdges(service?: string): ('calls' | 'callers')[] {
  return service === undefined ? ['calls'] : ['calls', 'callers']
}
