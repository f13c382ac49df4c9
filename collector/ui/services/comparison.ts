import { parseTime, printTime, type Time } from '../../src/query'
import { rangeParams, type TimeRange, windowOf, withRange } from '../range/range'

/** What the page of changes compares, as its address has it. */
export interface Comparison {
  /** Compares the time before and after it; or else the range and an earlier time. */
  moment?: Time
  span: string
  against: string
}

const DAY_US = 86_400e6

/** Earlier times to compare a range with. Without a distance it is the time directly before. */
export const COMPARISONS: Record<string, { title: string; us?: number }> = {
  before: { title: 'with the time before it' },
  day: { title: 'with a day earlier', us: DAY_US },
  week: { title: 'with a week earlier', us: 7 * DAY_US },
}

/** How much before and after a moment is compared. */
export const SPANS: Record<string, string> = {
  '10m': '10 minutes',
  '30m': '30 minutes',
  '2h': '2 hours',
  '12h': '12 hours',
  '1d': 'a day',
  '7d': 'a week',
}

export function comparisonOf(query: URLSearchParams): Comparison {
  const moment = parseTime(query.get('moment') ?? '')
  const [span, against] = [query.get('span') ?? '', query.get('against') ?? '']
  return {
    ...(moment !== undefined && { moment }),
    span: Object.hasOwn(SPANS, span) ? span : '30m',
    against: Object.hasOwn(COMPARISONS, against) ? against : 'before',
  }
}

/** The question to the API. */
export function changesUrl(range: TimeRange, { moment, span, against }: Comparison, service: string): string {
  if (moment !== undefined) return withRange('api/changes', undefined, { moment: printTime(moment), span, service })
  const earlier = rangeParams(earlierThan(range, COMPARISONS[against]!.us))
  return withRange('api/changes', range, { beforeFrom: earlier.from!, beforeTo: earlier.to!, service })
}

/** @param us how much earlier; the length of the range if it is undefined. Relative times stay relative. */
function earlierThan({ from, to = { agoUs: 0 } }: TimeRange, us: number | undefined): Required<TimeRange> {
  const window = windowOf({ from, to })
  const by = us ?? window.to - window.from
  const earlier = (time: Time): Time =>
    'agoUs' in time ? { agoUs: time.agoUs + Math.round(by) } : { atUs: Math.max(0, time.atUs - Math.round(by)) }
  if (us === undefined && 'agoUs' in from && 'agoUs' in to) {
    return { from: { agoUs: 2 * from.agoUs - to.agoUs }, to: from }
  }
  return { from: earlier(from), to: us === undefined ? from : earlier(to) }
}

/** The middle of a range, to begin with. */
export function pickedMoment(range: TimeRange): number {
  const { from, to } = windowOf(range)
  return Math.round((from + to) / 2e6) * 1e6
}
