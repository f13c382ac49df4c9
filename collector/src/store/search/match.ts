import type { SpanRecord } from 'milo/codec/span'
import {
  type Above,
  type Alternative,
  alternativesOf,
  compareNumber,
  type HalfConditions,
  type NumberCondition,
  type SpanCondition,
  type SpanQuery,
} from '../../query'
import { isError, recordDurationUs, spanStartUs } from '../../record/half'
import type { AnnotationCondition, Match } from '../store'
import { isRoot, type Lineage, lineageOf, reachedFrom } from './lineage'

/** One span of a chain `A > B >> C`; a search without a chain has one. */
export interface Link {
  /** Where the span is below the one before; undefined for the first. */
  below: Above['at'] | undefined
  /** What the span meets: one of these. */
  alternatives: Alternative[]
  /** The conditions of all literals, each once: many alternatives have the same ones. */
  conditions: SpanCondition[]
  /** Of each alternative, the numbers of its literals' conditions. */
  numbers: number[][]
}

/** Returns a query's spans from the top: the time range applies to the last one. */
export function linksOf(query: SpanQuery): Link[] {
  const links: Link[] = []
  let below: Above | undefined
  for (let span: SpanQuery | undefined = query; span !== undefined; span = below?.span) {
    const alternatives = alternativesOf(span)
    if (alternatives === undefined) throw new RangeError('a search with too many alternatives')
    below = span.above
    links.unshift({ below: below?.at, alternatives, ...conditionsOf(alternatives) })
  }
  return links
}

function conditionsOf(alternatives: Alternative[]): Pick<Link, 'conditions' | 'numbers'> {
  const conditions: SpanCondition[] = []
  const known = new Map<string, number>()
  const numberOf = (condition: SpanCondition): number => {
    const key = JSON.stringify(condition)
    const number = known.get(key) ?? conditions.push(condition) - 1
    known.set(key, number)
    return number
  }
  return { numbers: alternatives.map(({ literals }) => literals.map(({ of }) => numberOf(of))), conditions }
}

/** The spans of a trace that can be a link of the chain. */
export type Level = MetSpan[]

interface MetSpan {
  /** All the records of the span. */
  halves: SpanRecord[]
  /** The numbers of the alternatives that it meets. */
  met: number[]
}

interface TimeRange {
  fromUs?: number
  toUs?: number
}

export interface Matched {
  /** The spans that are the last link. */
  spans: Level
  /** The spans that are the link that was asked for, of a chain that matches. */
  level: Level
}

/**
 * Returns the spans that match; undefined if none does. This is final: an index may return too many traces, but must not miss any.
 * It yields after some spans, since a trace may have 100,000, and a search many links and alternatives.
 * @param at the number of a link: the last one, unless told otherwise
 */
export function* matchTrace(
  records: SpanRecord[],
  links: Link[],
  range: TimeRange,
  at = links.length - 1,
): Generator<void, Matched | undefined> {
  const lineage = yield* lineageOf(records)
  const { spans, parents } = lineage
  const last = links.length - 1
  // For each link, 1 for a span that can be it: a byte for each, as there may be 32 links.
  const levels: Uint8Array[] = []
  for (const [i, link] of links.entries()) {
    const above = levels.at(-1)
    const isBelow = above && link.below ? yield* belowOf(above, link.below, lineage) : () => true
    const meets = meeting(link)
    const level = new Uint8Array(spans.length)
    let isMet = false
    for (const [number, halves] of spans.entries()) {
      if (number % SPANS_AT_ONCE === 0) yield
      if (!isBelow(number) || (i === last && !beginsWithin(halves, range))) continue
      if (meets(halves, 1).length === 0) continue
      level[number] = 1
      isMet = true
    }
    if (!isMet) return undefined
    levels.push(level)
  }
  // The last spans are below others; those above them count if they have such spans below them.
  let level = levels.at(-1)!
  for (let i = last; i > at; i--) {
    const above = new Uint8Array(spans.length)
    if (links[i]!.below === 'parent') {
      for (const number of numbersOf(level)) for (const parent of parents[number]!) above[parent] = 1
    } else above.set(yield* reachedFrom(numbersOf(level), parents))
    const could = levels[i - 1]!
    for (let number = 0; number < above.length; number++) if (could[number] === 0) above[number] = 0
    yield
    level = above
  }
  const matched = yield* metOf(levels.at(-1)!, links[last]!, spans)
  return { spans: matched, level: at === last ? matched : yield* metOf(level, links[at]!, spans) }
}

const SPANS_AT_ONCE = 32

function* numbersOf(level: Uint8Array): Generator<number, void> {
  for (let number = 0; number < level.length; number++) if (level[number] === 1) yield number
}

function* metOf(level: Uint8Array, link: Link, spans: Lineage['spans']): Generator<void, Level> {
  const meets = meeting(link)
  const found: Level = []
  for (const number of numbersOf(level)) {
    if (found.length % SPANS_AT_ONCE === 0) yield
    found.push({ halves: spans[number]!, met: meets(spans[number]!) })
  }
  return found
}

/** Returns the start of the earliest of the spans, Infinity if none has a time. */
export function earliestOf(spans: Level): number {
  let earliest = Infinity
  for (const { halves } of spans) earliest = Math.min(earliest, spanStartUs(halves) ?? Infinity)
  return earliest
}

function* belowOf(
  above: Uint8Array,
  below: Above['at'],
  { parents, children }: Lineage,
): Generator<void, (number: number) => boolean> {
  if (below === 'parent') return number => parents[number]!.some(parent => above[parent] === 1)
  const descendants = yield* reachedFrom(numbersOf(above), children)
  return number => descendants[number] === 1
}

function beginsWithin(halves: SpanRecord[], { fromUs, toUs }: TimeRange): boolean {
  if (fromUs === undefined && toUs === undefined) return true
  const startUs = spanStartUs(halves)
  // A span without a time is listed at its time of receipt, which isn't in its record: the index has checked it.
  return startUs === undefined || (startUs >= (fromUs ?? -Infinity) && startUs <= (toUs ?? Infinity))
}

/** Returns a function that gives the numbers of the alternatives that a span meets, of at most so many. It looks at each condition once. */
function meeting({ alternatives, conditions, numbers }: Link): (halves: SpanRecord[], most?: number) => number[] {
  const known = new Array<boolean | undefined>(conditions.length)
  return (halves, most = alternatives.length) => {
    known.fill(undefined)
    const met: number[] = []
    for (let i = 0; i < alternatives.length && met.length < most; i++) {
      const { half, literals } = alternatives[i]!
      if (!halves.some(record => isHalf(record, half))) continue
      const own = numbers[i]!
      let j = 0
      for (; j < own.length; j++) {
        const isSo = (known[own[j]!] ??= isMet(halves, conditions[own[j]!]!))
        if (isSo !== literals[j]!.is) break
      }
      if (j === own.length) met.push(i)
    }
    return met
  }
}

function isMet(halves: SpanRecord[], condition: SpanCondition): boolean {
  switch (condition.kind) {
    case 'half':
      return halves.some(half => isHalf(half, condition))
    case 'annotation':
      return halves.some(half => holds(half, condition))
    case 'number':
      return halves.some(half => holdsNumber(half, condition))
    case 'error':
      return halves.some(isError)
    case 'root':
      return isRoot(halves)
    case 'maxDuration': {
      let longest = Number.NaN
      for (const half of halves) {
        const durationUs = recordDurationUs(half)
        if (durationUs !== undefined && !(durationUs <= longest)) longest = durationUs
      }
      return longest <= condition.us
    }
  }
}

export function isHalf(record: SpanRecord, { name, service, minDurationUs }: HalfConditions): boolean {
  if (name !== undefined && record.name !== name) return false
  if (service !== undefined && record.service !== service) return false
  return minDurationUs === undefined || (recordDurationUs(record) ?? -1) >= minDurationUs
}

export function holds({ annotations }: SpanRecord, { key, value, match }: AnnotationCondition): boolean {
  if (annotations === undefined) return false
  if (key !== undefined) {
    const found = annotations.get(key)
    return found !== undefined && (value === undefined || compares(found, value, match))
  }
  for (const found of annotations.values()) if (compares(found, value!, match)) return true
  return false
}

export function holdsNumber({ annotations }: SpanRecord, condition: NumberCondition): boolean {
  const found = annotations?.get(condition.key)
  return found !== undefined && compareNumber(found, condition)
}

function compares(found: string, value: string, match: Match): boolean {
  if (match === 'exact') return found === value
  return match === 'prefix' ? found.startsWith(value) : found.includes(value)
}
