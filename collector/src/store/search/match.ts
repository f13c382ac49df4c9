import type { SpanRecord } from 'milo/codec/span'
import { isError, recordDurationUs, spanStartUs } from '../../record/half'
import { IdMap } from '../../record/ids'
import type { Match, SearchQuery } from '../store'

/**
 * Decides on a trace's records whether it matches a search. This decision is final: an index may return too many traces, but must
 * not miss any.
 */
export function matchesTrace(records: SpanRecord[], query: SearchQuery): boolean {
  return earliestMatch(records, query) !== undefined
}

/** Returns the start of the earliest span that matches, Infinity if it has no time; undefined if none matches. */
export function earliestMatch(records: SpanRecord[], query: SearchQuery): number | undefined {
  const spans = new IdMap<SpanRecord[], bigint | undefined>()
  for (const record of records) {
    const halves = spans.get(record.id)
    if (halves === undefined) spans.set(record.id, [record])
    else halves.push(record)
  }
  let earliest: number | undefined
  for (const halves of spans.values()) {
    if (!matchesSpan(halves, query)) continue
    const startUs = spanStartUs(halves) ?? Infinity
    if (earliest === undefined || startUs < earliest) earliest = startUs
  }
  return earliest
}

/** @param halves all the records of one span */
function matchesSpan(halves: SpanRecord[], query: SearchQuery): boolean {
  const { annotations, maxDurationUs, error, fromUs, toUs } = query
  if (!halves.some(half => isHalf(half, query))) return false
  if (error !== undefined && halves.some(isError) !== error) return false
  for (const condition of annotations) if (!halves.some(half => holds(half, condition))) return false
  if (maxDurationUs !== undefined) {
    let longest = Number.NaN
    for (const half of halves) {
      const durationUs = recordDurationUs(half)
      if (durationUs !== undefined && !(durationUs <= longest)) longest = durationUs
    }
    if (!(longest <= maxDurationUs)) return false
  }
  if (fromUs !== undefined || toUs !== undefined) {
    const startUs = spanStartUs(halves)
    // A span without a time is listed at its time of receipt, which isn't in its record: the index has checked it.
    if (startUs !== undefined && (startUs < (fromUs ?? -Infinity) || startUs > (toUs ?? Infinity))) return false
  }
  return true
}

export interface HalfConditions {
  name?: string | undefined
  service?: string | undefined
  minDurationUs?: number | undefined
}

export function isHalf(record: SpanRecord, { name, service, minDurationUs }: HalfConditions): boolean {
  if (name !== undefined && record.name !== name) return false
  if (service !== undefined && record.service !== service) return false
  return minDurationUs === undefined || (recordDurationUs(record) ?? -1) >= minDurationUs
}

export interface ValueCondition {
  key?: string | undefined
  value?: string | undefined
  match: Match
}

export function holds({ annotations }: SpanRecord, { key, value, match }: ValueCondition): boolean {
  if (annotations === undefined) return false
  if (key !== undefined) {
    const found = annotations.get(key)
    return found !== undefined && (value === undefined || compares(found, value, match))
  }
  for (const found of annotations.values()) if (compares(found, value!, match)) return true
  return false
}

function compares(found: string, value: string, match: Match): boolean {
  if (match === 'exact') return found === value
  return match === 'prefix' ? found.startsWith(value) : found.includes(value)
}
