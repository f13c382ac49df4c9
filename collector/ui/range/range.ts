import { parse, parseTime, print, printDurationUs, printTime, type Query, type Time, timeUs } from '../../src/query'
import { localRange } from '../parts/time'

/**
 * The time range that all pages share, in the address: `from=-1h`, or `from=…&to=…`; within the search box's language
 * `last 1h`, or `from:… to:…`. Relative times move on with the clock, absolute ones mean the same forever.
 */
export interface TimeRange {
  from: Time
  /** Absent: until now. */
  to?: Time
}

/** A range in microseconds since the epoch. */
export interface Window {
  from: number
  to: number
}

const HOUR_US = 3600e6

export const PRESETS: { range: TimeRange; title: string }[] = [
  { range: { from: { agoUs: HOUR_US / 4 } }, title: 'Last 15 minutes' },
  { range: { from: { agoUs: HOUR_US } }, title: 'Last hour' },
  { range: { from: { agoUs: 6 * HOUR_US } }, title: 'Last 6 hours' },
  { range: { from: { agoUs: 24 * HOUR_US } }, title: 'Last 24 hours' },
  { range: { from: { agoUs: 7 * 24 * HOUR_US } }, title: 'Last 7 days' },
  { range: { from: { agoUs: 30 * 24 * HOUR_US } }, title: 'Last 30 days' },
]

export const DEFAULT_RANGE: TimeRange = { from: { agoUs: HOUR_US } }

/** Reads the range of a page's address, of searches too; undefined if the address has none. */
export function rangeOf(params: URLSearchParams): TimeRange | undefined {
  const q = params.get('q')
  const { from, to } = q === null ? readTimes(params) : parse(q).query
  if (from !== undefined) return { from, ...(to && { to }) }
  // The API, too, takes the hour before a lone end.
  return to === undefined ? undefined : { from: before(to, HOUR_US), to }
}

function readTimes(params: URLSearchParams): Pick<Query, 'from' | 'to'> {
  const [from, to] = [parseTime(params.get('from') ?? ''), parseTime(params.get('to') ?? '')]
  return { ...(from && { from }), ...(to && { to }) }
}

function before(time: Time, us: number): Time {
  return 'atUs' in time ? { atUs: Math.max(0, time.atUs - us) } : { agoUs: time.agoUs + us }
}

/** The parameters of an address, or of a request to the API. */
export function rangeParams({ from, to }: TimeRange): Record<string, string> {
  return { from: printTime(from), ...(to && { to: printTime(to) }) }
}

/**
 * Returns the address of a page, with the range and other parameters; empty ones are left out.
 * @param names these are kept where they are empty: a service, or an operation, may have no name
 */
export function withRange(
  path: string,
  range: TimeRange | undefined,
  params: Record<string, string> = {},
  names: Record<string, string> = {},
): string {
  const given = Object.entries({ ...(range && rangeParams(range)), ...params }).filter(([, value]) => value !== '')
  const all = [...given, ...Object.entries(names)]
  return all.length === 0 ? path : `${path}?${new URLSearchParams(all)}`
}

/** Returns the address of a service's page. A path can't end in `.` or `..`, which are names as well. */
export function serviceHref(
  service: string,
  range: TimeRange | undefined,
  params: Record<string, string> = {},
): string {
  if (/^\.{0,2}$/.test(service)) {
    const href = withRange('services', range, {}, params)
    return `${href}${href.includes('?') ? '&' : '?'}service=${service}`
  }
  return withRange(`services/${encodeURIComponent(service)}`, range, {}, params)
}

/** Returns the address of a search in the range, with more conditions. */
export function searchIn(range: TimeRange | undefined, conditions: Partial<Query> = {}): string {
  const q = print({ annotations: [], ...conditions, ...(range ?? {}) })
  return q === '' ? './' : `search?${new URLSearchParams({ q })}`
}

export function windowOf({ from, to }: TimeRange, nowUs = Date.now() * 1000): Window {
  return { from: timeUs(from, nowUs), to: to === undefined ? nowUs : timeUs(to, nowUs) }
}

/** Returns an absolute range of whole milliseconds. */
export function absolute({ from, to }: Window): TimeRange {
  const time = (us: number): Time => ({ atUs: Math.max(0, Math.round(us / 1000) * 1000) })
  return { from: time(from), to: time(to) }
}

/** Moves a range by its own length. @param steps -1 for earlier, 1 for later; a range never ends after now */
export function moved(range: TimeRange, steps: number, nowUs = Date.now() * 1000): TimeRange {
  const { from, to } = windowOf(range, nowUs)
  const by = Math.min(steps * (to - from), nowUs - to)
  return absolute({ from: from + by, to: to + by })
}

export function sameRange(a: TimeRange, b: TimeRange): boolean {
  return withRange('', a) === withRange('', b)
}

/** Describes a range: "Last hour", "Last 3h", "29 Nov, 14:00 – 15:30". */
export function rangeTitle(range: TimeRange, nowUs = Date.now() * 1000): string {
  const preset = PRESETS.find(preset => sameRange(preset.range, range))
  if (preset !== undefined) return preset.title
  if (range.to === undefined && 'agoUs' in range.from) return `Last ${printDurationUs(range.from.agoUs)}`
  const { from, to } = windowOf(range, nowUs)
  return localRange(from, to)
}
