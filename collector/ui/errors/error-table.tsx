import type { ErrorGroup, ErrorsAnswer } from '../../src/http/answers'
import { tellCount } from '../parts/estimate'
import { type Column, SortedTable } from '../parts/sorted-table'
import { Sparkline } from '../parts/sparkline'
import { shortLocalTime } from '../parts/time'
import { TimeStamp } from '../parts/time-stamp'
import { searchIn, serviceHref, type TimeRange } from '../range/range'
import { traceHref } from '../shell/route'

/** A row for each kind of error, the most frequent first. */
export function ErrorTable({ answer, range, sort }: { answer: ErrorsAnswer; range: TimeRange; sort: string }) {
  const { from, to, step, groups } = answer
  const columns: Column<ErrorGroup>[] = [
    {
      key: 'error',
      title: 'Error',
      value: group => said(group),
      show: group => <What group={group} />,
    },
    {
      key: 'where',
      title: 'Arose in',
      value: ({ service, operation }) => `${service ?? ''} ${operation}`,
      show: ({ service, operation, through }) => (
        <>
          {service === null ? <em>unknown</em> : <a href={serviceHref(service, range)}>{service || 'no name'}</a>}
          {' · '}
          {operation || <em>no name</em>}
          {through.length > 0 && (
            <span class="rose" title="These failed because of it">
              <span aria-hidden="true">↑ </span>
              made {listed(through)} fail
            </span>
          )}
        </>
      ),
    },
    {
      key: 'count',
      title: 'Count',
      value: ({ count }) => count.value,
      show: ({ count }) => {
        const { text, margin, between } = tellCount(count)
        return (
          <span class="told" title={between || undefined}>
            {text}
            {margin !== '' && <span class="margin"> {margin}</span>}
          </span>
        )
      },
    },
    {
      key: 'trend',
      title: 'Trend',
      value: () => '',
      show: group => (
        <Sparkline
          points={trendOf(group, answer)}
          {...{ from, to, step }}
          what={`${said(group).slice(0, 100)} over time`}
        />
      ),
    },
    {
      key: 'first',
      title: 'First seen',
      value: ({ first }) => first,
      show: ({ first }) => <TimeStamp us={first} short />,
    },
    {
      key: 'last',
      title: 'Last seen',
      value: ({ last }) => last,
      show: ({ last }) => <TimeStamp us={last} short />,
    },
    {
      key: 'traces',
      title: 'Traces',
      value: () => '',
      show: group => <Traces group={group} range={range} />,
    },
  ]
  return (
    <div class="error-table">
      <SortedTable caption="Kinds of errors" columns={columns} rows={groups} sort={sort} rowKey={({ id }) => id} />
    </div>
  )
}

/** What can be sorted and read aloud. */
function said({ type, message }: ErrorGroup): string {
  return [type, message].filter(Boolean).join(': ') || 'without a message'
}

function What({ group: { type, message, example, traces } }: { group: ErrorGroup }) {
  const newest = traces[0]
  const text = (
    <>
      {type !== null && <strong>{type}</strong>} <span>{message}</span>
      {type === null && message === null && <em>without a message</em>}
    </>
  )
  return newest === undefined ? (
    <span title={example}>{text}</span>
  ) : (
    <a
      class="error-what"
      href={traceHref(newest.traceId, newest.spanId)}
      title={`${example}\nOpens the newest at the failed span`}
    >
      {text}
    </a>
  )
}

function Traces({ group: { service, operation, traces, type }, range }: { group: ErrorGroup; range: TimeRange }) {
  return (
    <span class="exemplars">
      {traces.map(({ traceId, spanId, start }, i) => (
        <a
          key={traceId + spanId}
          href={traceHref(traceId, spanId)}
          title={`Of ${shortLocalTime(start)}`}
          aria-label={`${i === 0 ? 'newest' : i + 1}: ${type ?? 'error'} in ${operation}, ${shortLocalTime(start)}`}
        >
          {i === 0 ? 'newest' : i + 1}
        </a>
      ))}
      <a
        href={searchIn(range, { error: true, ...(service && { service }), ...(operation && { name: operation }) })}
        aria-label={`search: traces that failed in ${service ?? ''} ${operation}`}
      >
        search
      </a>
    </span>
  )
}

/** Steps without failures had none. */
function trendOf({ trend }: ErrorGroup, { from, to, step }: ErrorsAnswer): { time: number; value: number | null }[] {
  if (trend.length === 0) return []
  const counts = new Map(trend.map(({ time, count }) => [time, count]))
  // The steps are those of the trend, whichever time they begin at.
  const first = trend[0]!.time - Math.ceil((trend[0]!.time - from) / step) * step
  const points: { time: number; value: number | null }[] = []
  for (let time = first; time < to && points.length < 1000; time += step) {
    if (time + step > from) points.push({ time, value: counts.get(time) ?? 0 })
  }
  return points
}

function listed(services: string[]): string {
  return services.length <= 3
    ? services.join(', ')
    : `${services.slice(0, 3).join(', ')} and ${services.length - 3} more`
}
