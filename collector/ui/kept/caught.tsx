import type { CaughtGroup, ServiceHistories } from '../../src/http/answers'
import { whyKept } from '../parts/kept-mark'
import { Notice } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { shortLocalTime } from '../parts/time'
import { TimeStamp } from '../parts/time-stamp'
import { type TimeRange, withRange } from '../range/range'
import { traceHref } from '../shell/route'
import { keptSearch } from './kept-address'

interface Props {
  caught: CaughtGroup[]
  range: TimeRange
  sort: string
  isNarrowed: boolean
  services: ServiceHistories[]
}

const LATEST = 5

/** What was kept, by the reason and by the operation whose process kept it. */
export function Caught({ caught, range, sort, isNarrowed, services }: Props) {
  if (caught.length === 0) {
    return (
      <Notice title="Nothing was kept in this time range">
        {services.length > 0 ? (
          <p>
            Processes have histories, and nothing {isNarrowed ? 'of this kind ' : ''}made them send any. Choose another
            time range above
            {isNarrowed && (
              <>
                , or see <a href={withRange('kept', range)}>all that was kept</a>
              </>
            )}
            , or ask for the next traces of an operation.
          </p>
        ) : (
          <p>
            No process with a history asks this collector. To switch histories on, start services with{' '}
            <code>MILO_RETROACTIVE=1</code>: what fails or takes too long is then kept, whether it was sampled or not.
          </p>
        )}
      </Notice>
    )
  }
  const columns: Column<CaughtGroup>[] = [
    {
      key: 'reason',
      title: 'Reason',
      value: ({ reason }) => reason,
      show: ({ reason }) => (
        <a href={withRange('kept', range, {}, { reason })} title={`Kept because ${whyKept(reason)}`}>
          {reason}
        </a>
      ),
    },
    {
      key: 'operation',
      title: 'Kept by',
      value: ({ service, name }) => `${service} ${name}`,
      show: ({ service, name }) => (
        <a href={withRange('kept', range, {}, { service, name })}>
          {name || <em>no name</em>} <span class="part-service">{service || 'no service'}</span>
        </a>
      ),
    },
    { key: 'traces', title: 'Traces', value: ({ traces }) => traces, show: ({ traces }) => traces.toLocaleString() },
    { key: 'first', title: 'First', value: ({ first }) => first, show: ({ first }) => <TimeStamp us={first} short /> },
    { key: 'last', title: 'Last', value: ({ last }) => last, show: ({ last }) => <TimeStamp us={last} short /> },
    {
      key: 'open',
      title: 'Open',
      value: () => '',
      show: ({ reason, service, name, latest }) => (
        <span class="exemplars">
          {latest.slice(0, LATEST).map(({ traceId, time }, i) => (
            <a
              key={traceId}
              href={traceHref(traceId)}
              title={`Kept at ${shortLocalTime(time)}`}
              aria-label={`${i === 0 ? 'newest' : i + 1}: ${reason} in ${name || 'no name'}, ${shortLocalTime(time)}`}
            >
              {i === 0 ? 'newest' : i + 1}
            </a>
          ))}
          <a href={keptSearch(range, reason, service, name)} aria-label={`search: ${reason} in ${service} ${name}`}>
            search
          </a>
        </span>
      ),
    },
  ]
  return (
    <div class="kept-table">
      <SortedTable
        caption="What was caught"
        columns={columns}
        rows={caught}
        sort={sort}
        rowKey={({ reason, service, name }) => JSON.stringify([reason, service, name])}
      />
    </div>
  )
}
