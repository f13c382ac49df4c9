import type { OverviewAnswer, SearchAnswer } from '../../src/http/answers'
import { counted } from '../parts/count'
import { aboutCount } from '../parts/estimate'
import { setQuery } from '../shell/address'
import type { Order } from './query-address'

const ORDERS: Record<Order, string> = { newest: 'Newest first', longest: 'Longest first', errors: 'Most errors first' }

interface Props {
  title: string
  overview: OverviewAnswer | undefined
  answer: SearchAnswer | undefined
  order: Order
  /** Whether it is switched on; undefined where the search can't have new traces on top. */
  live: boolean | undefined
  isNarrowed: boolean
  /** The address of the comparison with other traces. */
  difference: string | undefined
  /** The address of the comparison of its fast traces with its slow ones. */
  fastAndSlow: string | undefined
  onRefresh(): void
  onLive(on: boolean): void
}

/** What the results are, how many there are, and how they are shown. */
export function ResultsHead({
  title,
  overview,
  answer,
  order,
  live,
  isNarrowed,
  difference,
  fastAndSlow,
  onRefresh,
  onLive,
}: Props) {
  const ordered = answer?.ordered
  return (
    <div class="results-head">
      <div class="results-title">
        <h2>{title}</h2>
        <span class="hint" role="status">
          {overview !== undefined && matching(overview, isNarrowed)}
          {ordered !== undefined && ` ${orderedText(order, ordered)}`}
        </span>
      </div>
      <div class="bar-end">
        {difference !== undefined && (
          <a class="quiet-link" href={difference}>
            What is different?
          </a>
        )}
        {fastAndSlow !== undefined && (
          <a class="quiet-link" href={fastAndSlow}>
            Fast and slow
          </a>
        )}
        {isNarrowed && (
          <a class="quiet-link" href="search">
            All traces
          </a>
        )}
        <div class="view">
          <select
            aria-label="Order"
            value={order}
            onChange={({ currentTarget: { value } }) =>
              setQuery({ order: value === 'newest' ? null : value, before: null, live: null }, { replace: false })
            }
          >
            {Object.entries(ORDERS).map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
          <button
            type="button"
            class="live-switch"
            aria-pressed={live === true}
            disabled={live === undefined}
            title={
              live === undefined
                ? 'Needs a time range that ends now, and the newest first'
                : 'New traces appear on top every few seconds (l)'
            }
            onClick={() => onLive(!live)}
          >
            <span class="live-dot" aria-hidden="true" />
            Live
          </button>
          <button type="button" class="icon" aria-label="Search again" title="Search again (r)" onClick={onRefresh}>
            <span aria-hidden="true">↻</span>
          </button>
        </div>
      </div>
    </div>
  )
}

function matching({ matching, buckets }: OverviewAnswer, isNarrowed: boolean): string {
  const { value, low, high } = matching
  const match = isNarrowed ? ' match' : ''
  if (high === null) {
    const found = buckets.reduce((sum, { read }) => sum + read, 0)
    return `${Math.max(low ?? 0, found).toLocaleString()} or more traces${match}.`
  }
  if (value === 1 && low === 1 && high === 1) return `1 trace${isNarrowed ? ' matches' : ''}.`
  const [, number, interval = ''] = /^(.*?)( \(.*\))?$/.exec(aboutCount(matching))!
  return `${number} traces${match}${interval}.`
}

function orderedText(order: Order, { read, complete }: NonNullable<SearchAnswer['ordered']>): string {
  if (complete) return ''
  return `Below are ${order === 'longest' ? 'the longest' : 'those with the most errors'} of ${counted(read, 'trace')} that were read.`
}
