import { EventType, type SpanEvent, type SpanRecord } from '../../../../src/codec/span'
import { IdMap } from '../seed'
import type { Match, SearchQuery } from '../store'

/**
 * Whether a trace is what a search asks for, decided on its records: the last word on every hit, so that an index need
 * only be sure to leave nothing out.
 */
export function matchesTrace(records: SpanRecord[], query: SearchQuery): boolean {
  const spans = new IdMap<SpanRecord[], bigint | undefined>()
  for (const record of records) {
    const halves = spans.get(record.id)
    if (halves === undefined) spans.set(record.id, [record])
    else halves.push(record)
  }
  for (const halves of spans.values()) if (matchesSpan(halves, query)) return true
  return false
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
    // One without a time is listed when it was received, which its record doesn't say: the index has seen to it.
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

/** A record with one of these annotations has failed. */
export const ERROR_KEYS = ['error', 'error.type']

export function isError({ annotations }: SpanRecord): boolean {
  return annotations !== undefined && ERROR_KEYS.some(key => annotations.has(key))
}

/** As trees have it: the client half's start, or that of who there is. */
function spanStartUs(halves: SpanRecord[]): number | undefined {
  let ofClient: number | undefined
  let ofAny: number | undefined
  for (const half of halves) {
    const startUs = recordStartUs(half)
    if (startUs === undefined) continue
    const start = Number(startUs)
    if (ofAny === undefined || start < ofAny) ofAny = start
    if (isClientHalf(half) && (ofClient === undefined || start < ofClient)) ofClient = start
  }
  return ofClient ?? ofAny
}

function isClientHalf({ events }: SpanRecord): boolean {
  const first = events?.find(isCall)
  return first?.eventType === EventType.CLIENT_SEND || first?.eventType === EventType.CLIENT_RECV
}

/** @see recordWindow; the same as SpanScan's startAt */
export function recordStartUs(record: SpanRecord): bigint | undefined {
  return recordWindow(record)?.firstUs
}

/** @see recordWindow */
export function recordDurationUs(record: SpanRecord): number | undefined {
  const window = recordWindow(record)
  return window && Number(window.lastUs - window.firstUs)
}

/**
 * When the record's span began and ended, in microseconds: its earliest and latest client or server event, whatever their
 * labels (the original's Python client swapped send and receive); without one those of any kind; undefined when it has no
 * time at all.
 */
function recordWindow({ events }: SpanRecord): { firstUs: bigint; lastUs: bigint } | undefined {
  let window: { firstUs: bigint; lastUs: bigint } | undefined
  let ofCall = false
  for (const event of events ?? []) {
    const { timestamp } = event
    if (timestamp === undefined) continue
    const call = isCall(event)
    if (window === undefined || (call && !ofCall)) {
      window = { firstUs: timestamp, lastUs: timestamp }
      ofCall = call
    } else if (call === ofCall) {
      if (timestamp < window.firstUs) window.firstUs = timestamp
      else if (timestamp > window.lastUs) window.lastUs = timestamp
    }
  }
  return window
}

function isCall({ eventType }: SpanEvent): boolean {
  return eventType !== undefined && eventType >= EventType.CLIENT_SEND && eventType <= EventType.SERVER_RECV
}
