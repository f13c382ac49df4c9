import type { DifferenceAnswer, Feature } from '../../../src/http/answers'
import {
  MAX_CONDITIONS,
  nearestTime,
  parse,
  parseDurationUs,
  parseTime,
  print,
  printDurationUs,
  printTime,
  type Query,
  type Time,
  timeUs,
} from '../../../src/query'
import type { TraceSummary } from '../../../src/trace'
import { type AskedSearch, apiQuery, readAsked } from '../query-address'

/**
 * A comparison in the page's address. The parameters are those of the API: the search (`q`, or a parameter for each field), what a
 * span of the selected traces has (`select.q`), and what the selected traces are as a whole (`trace.min_duration` and the like).
 */
export interface AskedDifference {
  base: AskedSearch
  /** What is selected, in the search box's language. */
  select: string
  trace: TraceSelection
  order: 'score' | 'lift'
}

export interface TraceSelection {
  minDurationUs?: number
  maxDurationUs?: number
  from?: Time
  to?: Time
  error?: boolean
}

/** A box that was drawn in the plot, in microseconds. */
export interface Box {
  times: [number, number]
  durations: [number, number]
}

export function readDifference(params: URLSearchParams): AskedDifference {
  const get = (name: string) => params.get(name) ?? ''
  const selected = new URLSearchParams()
  for (const [name, value] of params)
    if (name.startsWith('select.')) selected.append(name.slice('select.'.length), value)
  const trace: TraceSelection = {}
  const [min, max] = ['min', 'max'].map(which => parseDurationUs(get(`trace.${which}_duration`), true))
  if (min !== undefined) trace.minDurationUs = min
  if (max !== undefined) trace.maxDurationUs = max
  for (const which of ['from', 'to'] as const) {
    const time = parseTime(get(`trace.${which}`))
    if (time !== undefined) trace[which] = time
  }
  if (get('trace.error') !== '') trace.error = get('trace.error') === 'true'
  return {
    base: readAsked(params),
    select: readAsked(selected).text,
    trace,
    order: get('order') === 'lift' ? 'lift' : 'score',
  }
}

/** Returns the API's address; undefined if nothing is selected. */
export function differenceApi(params: URLSearchParams): string | undefined {
  const query = apiQuery(params)
  const names = [...new URLSearchParams(query).keys()]
  return names.some(name => /^(select|trace)\./.test(name)) ? `api/difference?${query}` : undefined
}

export function differenceAddress(q: string, select: string, trace: TraceSelection): string {
  const { minDurationUs, maxDurationUs, from, to, error } = trace
  const params = new URLSearchParams()
  const put = (name: string, value: string | undefined) => {
    if (value !== undefined && value !== '') params.set(name, value)
  }
  put('q', q)
  put('select.q', select)
  put('trace.min_duration', minDurationUs === undefined ? undefined : printDurationUs(minDurationUs))
  put('trace.max_duration', maxDurationUs === undefined ? undefined : printDurationUs(maxDurationUs))
  put('trace.from', from && printTime(from))
  put('trace.to', to && printTime(to))
  put('trace.error', error === undefined ? undefined : String(error))
  return params.size === 0 ? 'difference' : `difference?${params}`
}

/**
 * Returns where the comparison of a search's results is. With a box, its traces are selected from the search's. Without one, the
 * traces that meet the search are selected from those of the same service, name and time range.
 * @param traces the results that the page shows: where the search has no time range, theirs is taken
 */
export function differenceOf(
  { query }: AskedSearch,
  traces: TraceSummary[],
  box?: Box,
  nowUs = Date.now() * 1000,
): string {
  const { from, to, ...all } = query
  const { name, service, ...others } = all
  // A span below another keeps its name and service: they may be its only conditions.
  const isBelow = all.above !== undefined
  const conditions = isBelow ? all : others
  const range = rangeOf(traces)
  const at = (time: Time | undefined, otherwise: number | undefined): Time | undefined => {
    // A link must mean the same tomorrow.
    const atUs = time === undefined ? otherwise : timeUs(time, nowUs)
    return atUs === undefined ? undefined : nearestTime(atUs)
  }
  const [since, until] = [at(from, range?.[0]), at(to, from === undefined ? range?.[1] : nowUs)]
  const base: Query = {
    ...(name !== undefined && !isBelow && { name }),
    ...(service !== undefined && !isBelow && { service }),
    ...(since && { from: since }),
    ...(until && { to: until }),
    annotations: [],
  }
  if (box === undefined) return differenceAddress(print(base), print(conditions), {})
  const [first, last] = box.times
  const [min, max] = box.durations
  return differenceAddress(print({ ...base, ...conditions }), '', {
    from: nearestTime(first),
    to: nearestTime(last),
    // The plot draws what took no time at a microsecond.
    ...(min > 1 && { minDurationUs: min }),
    maxDurationUs: max,
  })
}

/** Returns the times from the first start to the last end. */
function rangeOf(traces: TraceSummary[]): [number, number] | undefined {
  const timed = traces.filter(({ start }) => start !== null)
  if (timed.length === 0) return undefined
  const starts = timed.map(({ start }) => Math.floor(start!))
  const ends = timed.map(({ start, duration }) => Math.ceil(start! + (duration ?? 0)) + 1)
  return [starts.reduce((a, b) => Math.min(a, b)), ends.reduce((a, b) => Math.max(a, b))]
}

/**
 * Returns the search with a feature as one more condition. What the feature contradicts is left out of it: a span has one service
 * and one name.
 * @returns undefined if no search can ask for the feature
 */
export function searchWith(base: Query, feature: Feature, { from, to }: DifferenceAnswer): Query | undefined {
  const { kind, key, value, cut } = feature
  const service = feature.service ?? undefined
  const name = feature.name ?? undefined
  const contradicts =
    (service !== undefined && base.service !== undefined && base.service !== service) ||
    (name !== undefined && base.name !== undefined && base.name !== name)
  const query: Query = contradicts ? { annotations: [] } : { ...base, annotations: [...base.annotations] }
  query.from = { atUs: from }
  query.to = { atUs: to }
  if (service !== undefined) query.service = service
  if (name !== undefined) query.name = name
  if (kind === 'error') query.error = true
  if (key !== null) {
    query.annotations.push(value === null ? { key, match: 'exact' } : { key, value, match: cut ? 'prefix' : 'exact' })
  }
  // Of a name, a service or a key there is the beginning alone.
  const isExact = !cut || (value !== null && value.length > (key ?? '').length)
  return isExact && query.annotations.length <= MAX_CONDITIONS && parse(print(query)).problems.length === 0
    ? query
    : undefined
}
