import type { SpanRecord } from 'milo/codec/span'
import type { Alternative, SpanCondition } from '../../query'
import { isError, recordStartUs } from '../../record/half'
import type { SearchCost } from '../store'
import { holds, holdsNumber, isHalf, type Level, type Link } from './match'
import { comparePlaces, type Place } from './place'
import { EVERY_RECORD, type IndexQuery, isEveryRecord, type SpanIndex, type Term } from './span-index'

/**
 * Where the index looks for a search. Of each alternative, one term drives. If there are several spans in a chain, those of one
 * of them drive: a trace that matches has a span for each. Each driver is a stream of places, and these are merged:
 *
 *     service:shop (user=42 OR status>=500)   →   shop, user=42       the rarest: user=42        ─┐
 *                                                 shop, status>=500   the rarest: status>=500    ─┴→ places, newest first
 */

/** Which terms drive; a cursor contains it. */
export interface Choice {
  /** The number of the chain's link. */
  link: number
  /** For each of its alternatives, the number of the term. */
  drivers: number[]
}

/** To find the rarest term, no more records than these are counted. */
const MAX_COUNT = 100_000
/** The time range applies to the chain's last span. The terms of another one drive nevertheless if they are so rare. */
const FEW = 1_000

/** Returns an alternative's terms, in an order that depends only on the query. */
export function termsOf({ half, literals }: Alternative): Term[] {
  const terms = literals.flatMap(({ is, of }) => (is ? (termOf(of) ?? []) : []))
  if (Object.keys(half).length > 0) terms.push(halfTerm(half))
  return terms.length === 0 ? [EVERY_RECORD] : terms
}

function termOf(condition: SpanCondition): Term | undefined {
  switch (condition.kind) {
    case 'half':
      return halfTerm(condition)
    case 'annotation': {
      const { key, value, match } = condition
      return value === undefined ? { kind: 'key', key: key! } : { kind: 'value', key, value, match }
    }
    case 'number':
      return condition
    case 'error':
      return { kind: 'error' }
    default:
      return undefined
  }
}

function halfTerm({ name, service, minDurationUs }: Alternative['half']): Term {
  return { kind: 'half', name, service, minDurationUs }
}

/** Chooses for each alternative its rarest term, and the link whose terms are the rarest together. */
export async function choose(
  index: SpanIndex,
  terms: Term[][][],
  hasRange: boolean,
  mayGoOn: () => void,
): Promise<Choice> {
  const counts = new Map<string, number>()
  const count = async (term: Term, max: number): Promise<number> => {
    const key = JSON.stringify(term)
    const known = counts.get(key)
    if (known !== undefined) return known
    mayGoOn()
    const counted = await index.count(term, max, mayGoOn)
    counts.set(key, counted)
    return counted
  }
  const last = terms.length - 1
  let best: Choice | undefined
  let least = Infinity
  for (let link = last; link >= 0; link--) {
    const drivers: number[] = []
    let sum = 0
    for (const alternative of terms[link]!) {
      let rarest = 0
      let fewest = Infinity
      // A lone term of a lone link drives whatever its count.
      for (const [i, term] of alternative.length === 1 && last === 0 ? [] : alternative.entries()) {
        const found = isEveryRecord(term) ? Infinity : await count(term, Math.min(fewest, MAX_COUNT))
        if (found < fewest) [rarest, fewest] = [i, found]
      }
      drivers.push(rarest)
      sum += fewest
    }
    const isPreferred = link === last || (sum < least && (!hasRange || sum <= FEW))
    if (isPreferred) [best, least] = [{ link, drivers }, sum]
  }
  return best!
}

interface Stream {
  readonly query: IndexQuery
  /** The numbers of the alternatives whose spans the driver finds. */
  readonly alternatives: Set<number>
  /** The term whose places the index lists. */
  of: Term
  /** Places that are older than those of another stream that aren't known yet. */
  waiting: Place[]
  /** Where to continue; undefined at the end. */
  next: { after: Place | undefined } | undefined
}

/** The places that all drivers list, newest first. */
export class Streams {
  private readonly index: SpanIndex
  private readonly streams: Stream[]
  /** Whether the search has conditions other than times. */
  private readonly isNarrowed: boolean

  constructor(
    index: SpanIndex,
    { terms, links }: { terms: Term[][][]; links: Link[] },
    { link, drivers }: Choice,
    range: Pick<IndexQuery, 'fromUs' | 'toUs'>,
    after: Place | undefined,
  ) {
    this.index = index
    const isLast = link === links.length - 1
    const { fromUs, toUs } = isLast ? range : { fromUs: undefined, toUs: undefined }
    // Those of other spans that every match has.
    const ofTrace = terms
      .filter((_, i) => i !== link)
      .flatMap(alternatives => (alternatives.length === 1 ? alternatives[0]! : []))
      .filter(term => !isEveryRecord(term))
    const streams = new Map<string, Stream>()
    const all = terms[link]!
    const needsAll = all.some((terms, i) => isEveryRecord(terms[drivers[i]!]!))
    for (const [i, own] of all.entries()) {
      const driver = needsAll ? EVERY_RECORD : own[drivers[i]!]!
      const others = needsAll ? [] : own.filter((_, term) => term !== drivers[i])
      const key = JSON.stringify([driver, others])
      const query = { driver, others, ofTrace, fromUs, toUs }
      const stream = streams.get(key) ?? { query, alternatives: new Set(), of: driver, waiting: [], next: { after } }
      stream.alternatives.add(i)
      streams.set(key, stream)
    }
    this.streams = [...streams.values()]
    this.isNarrowed = links.length > 1 || links[0]!.alternatives.some(hasConditions)
  }

  /** Reads on. @returns places after those that were returned before, and where to continue; undefined at the end */
  async read(max: number, mayGoOn: () => void): Promise<{ places: Place[]; resume: Place | undefined }> {
    const newest = this.floor()
    for (const stream of this.streams) {
      const { next } = stream
      // One that has been read further down can wait.
      if (next === undefined || (next.after && newest && comparePlaces(next.after, newest) < 0)) continue
      const { places, resume, of } = await this.index.places(stream.query, next.after, max, mayGoOn)
      if (of !== undefined) stream.of = of
      stream.next = resume && { after: resume }
      stream.waiting = stream.waiting.length === 0 ? places : stream.waiting.concat(places)
    }
    const floor = this.floor()
    const ready: Place[] = []
    for (const stream of this.streams) {
      const count = floor === undefined ? -1 : stream.waiting.findIndex(place => comparePlaces(place, floor) < 0)
      ready.push(...(count === -1 ? stream.waiting : stream.waiting.slice(0, count)))
      stream.waiting = count === -1 ? [] : stream.waiting.slice(count)
    }
    if (this.streams.length > 1) ready.sort((a, b) => comparePlaces(b, a))
    return { places: ready, resume: floor }
  }

  /** Yields the places of these spans' records that drivers list, as far as the records have times. */
  *placesOf(level: Level): Generator<Place, void> {
    for (const { query, alternatives } of this.streams) {
      for (const { halves, met } of level) {
        if (!met.some(number => alternatives.has(number))) continue
        for (const half of halves) {
          const place = placeWithin(half, query.driver, query)
          if (place !== undefined) yield place
        }
      }
    }
  }

  /** Yields the places of a trace's records that have a driver, if the trace has the other terms. */
  *listedOf(records: SpanRecord[]): Generator<Place, void> {
    for (const { of, query } of this.streams) {
      const terms = [...query.others, ...query.ofTrace]
      if (!terms.every(term => records.some(record => hasTerm(record, term)))) continue
      for (const record of records) {
        const place = placeWithin(record, of, query)
        if (place !== undefined) yield place
      }
    }
  }

  /** What finding the places costs: 'all' if every trace is read, 'key' if every trace with an annotation is. */
  cost(): SearchCost {
    const terms = this.streams.map(({ of }) => of)
    if (this.isNarrowed && terms.some(isEveryRecord)) return 'all'
    return this.streams.some(({ of, query }) => of.kind === 'key' && query.driver.kind !== 'key') ? 'key' : 'index'
  }

  /** The newest place from which a stream continues: what is older isn't complete. */
  private floor(): Place | undefined {
    let newest: Place | undefined
    for (const { next } of this.streams) {
      if (next?.after !== undefined && (newest === undefined || comparePlaces(next.after, newest) > 0))
        newest = next.after
    }
    return newest
  }
}

function hasConditions({ half, literals }: Alternative): boolean {
  return literals.length > 0 || Object.keys(half).length > 0
}

function placeWithin(record: SpanRecord, term: Term, { fromUs, toUs }: IndexQuery): Place | undefined {
  if (!hasTerm(record, term)) return undefined
  const startUs = recordStartUs(record)
  if (startUs === undefined) return undefined
  if ((fromUs !== undefined && startUs < fromUs) || (toUs !== undefined && startUs > toUs)) return undefined
  return { startUs, traceId: record.traceId! }
}

function hasTerm(record: SpanRecord, term: Term): boolean {
  switch (term.kind) {
    case 'half':
      return isHalf(record, term)
    case 'error':
      return isError(record)
    case 'key':
      return record.annotations?.has(term.key) === true
    case 'value':
      return holds(record, term)
    case 'number':
      return holdsNumber(record, term)
  }
}
