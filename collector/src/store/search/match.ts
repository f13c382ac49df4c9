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
import { IdMap, IdSet } from '../../record/ids'
import type { AnnotationCondition, Match, SearchQuery } from '../store'
import { ancestorsOf, descendantsOf, isRoot, parentsOf, type SpanId, type Spans, spansOf } from './lineage'

/**
 * Decides on a trace's records whether it matches a search. This decision is final: an index may return too many traces, but must
 * not miss any.
 */
export function matchesTrace(records: SpanRecord[], query: SearchQuery): boolean {
  return matchTrace(records, linksOf(query), query) !== undefined
}

/** One span of a chain `A > B >> C`; a search without a chain has one. */
export interface Link {
  /** Where the span is below the one before; undefined for the first. */
  below: Above['at'] | undefined
  /** What the span meets: one of these. */
  alternatives: Alternative[]
}

/** Returns a query's spans from the top: the time range applies to the last one. */
export function linksOf(query: SpanQuery): Link[] {
  const links: Link[] = []
  let below: Above | undefined
  for (let span: SpanQuery | undefined = query; span !== undefined; span = below?.span) {
    const alternatives = alternativesOf(span)
    if (alternatives === undefined) throw new RangeError('a search with too many alternatives')
    below = span.above
    links.unshift({ below: below?.at, alternatives })
  }
  return links
}

/** The spans of a trace that can be a link of the chain. */
export type Level = IdMap<MetSpan, SpanId>

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
 * Returns the spans that match; undefined if none does.
 * @param at the number of a link: the last one, unless told otherwise
 */
export function matchTrace(
  records: SpanRecord[],
  links: Link[],
  range: TimeRange,
  at = links.length - 1,
): Matched | undefined {
  const spans = spansOf(records)
  const levels: Level[] = []
  for (const [i, { below, alternatives }] of links.entries()) {
    const above = levels.at(-1)
    const isBelow = above && below ? belowOf(above, below, spans) : () => true
    const level: Level = new IdMap()
    for (const [id, halves] of spans) {
      if (!isBelow(halves) || (i === links.length - 1 && !beginsWithin(halves, range))) continue
      const met: number[] = []
      for (const [number, alternative] of alternatives.entries()) if (meets(halves, alternative)) met.push(number)
      if (met.length > 0) level.set(id, { halves, met })
    }
    if (level.size === 0) return undefined
    levels.push(level)
  }
  // The last spans are below others; those above them count if they have such spans below them.
  let level = levels.at(-1)!
  for (let i = links.length - 1; i > at; i--) {
    const halves = [...level.values()].map(({ halves }) => halves)
    const above =
      links[i]!.below === 'parent'
        ? new IdSet(halves.flatMap(halves => [...parentsOf(halves)]))
        : ancestorsOf(halves, spans)
    level = new IdMap([...levels[i - 1]!].filter(([id]) => above.has(id!)))
  }
  return { spans: levels.at(-1)!, level }
}

/** Returns the start of the earliest of the spans, Infinity if none has a time. */
export function earliestOf(spans: Level): number {
  let earliest = Infinity
  for (const { halves } of spans.values()) earliest = Math.min(earliest, spanStartUs(halves) ?? Infinity)
  return earliest
}

function belowOf(above: Level, below: Above['at'], spans: Spans): (halves: SpanRecord[]) => boolean {
  if (below === 'parent') return halves => [...parentsOf(halves)].some(parent => above.has(parent))
  const halves = [...above.values()].map(({ halves }) => halves)
  const descendants = descendantsOf(halves, spans)
  return ([half]) => descendants.has(half!.id!)
}

function beginsWithin(halves: SpanRecord[], { fromUs, toUs }: TimeRange): boolean {
  if (fromUs === undefined && toUs === undefined) return true
  const startUs = spanStartUs(halves)
  // A span without a time is listed at its time of receipt, which isn't in its record: the index has checked it.
  return startUs === undefined || (startUs >= (fromUs ?? -Infinity) && startUs <= (toUs ?? Infinity))
}

/** @param halves all the records of one span */
function meets(halves: SpanRecord[], { half, literals }: Alternative): boolean {
  return halves.some(record => isHalf(record, half)) && literals.every(({ is, of }) => isMet(halves, of) === is)
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
