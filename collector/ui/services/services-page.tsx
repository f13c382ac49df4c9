import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect } from 'preact/hooks'
import type { ServiceFigures, ServicesAnswer, UsualAnswer } from '../../src/http/answers'
import { Failure, Notice, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { Sparkline } from '../parts/sparkline'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, serviceHref, type TimeRange, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { figuresColumns } from './figures-columns'

/** Lists the services with their figures. */
export function ServicesPage({ query }: { query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const services = useJson<ServicesAnswer>(withRange('api/services', range))
  useEffect(() => {
    document.title = 'Services – Milo'
  }, [])
  useShortcuts('Services', [{ keys: ['r'], does: 'reload', run: services.again }])
  return (
    <>
      <div class="page-head">
        <h1>Services</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      {services.state === 'loading' && <Waiting what="services" />}
      {services.state === 'failed' && (
        <Failure title="The services couldn't be read" problem={services.problem} retry={services.again} />
      )}
      {services.state === 'ready' && services.value.services.length === 0 && (
        <Notice title="Nothing was reported in this time range">
          <p>
            Choose another time range above, or <a href="search">see the newest traces</a>. New spans are counted within
            a minute.
          </p>
        </Notice>
      )}
      {services.state === 'ready' && services.value.services.length > 0 && (
        <List answer={services.value} range={range} sort={query.get('sort') ?? ''} />
      )}
    </>
  )
}

function List({ answer, range, sort }: { answer: ServicesAnswer; range: TimeRange; sort: string }) {
  const { from, to, step, services, truncated } = answer
  const usual = useJson<UsualAnswer>('api/usual')
  const usualOf = new Map(usual.state === 'ready' ? usual.value.services.map(one => [one.service, one]) : [])
  const line = (title: string, what: string, get: (point: ServiceFigures['series'][number]) => number | null) =>
    ({
      key: title,
      title,
      value: () => '',
      show: ({ service, series }) => (
        <Sparkline
          points={series.map(point => ({ time: point.time, value: get(point) }))}
          from={from}
          to={to}
          step={step}
          what={`${what} of ${service.slice(0, 200)} over time`}
        />
      ),
    }) satisfies Column<ServiceFigures>
  const columns: Column<ServiceFigures>[] = [
    {
      key: 'service',
      title: 'Service',
      value: ({ service }) => service,
      show: ({ service }) => <a href={serviceHref(service, range)}>{service || 'no name'}</a>,
    },
    ...figuresColumns<ServiceFigures>(to - from, ({ service }) => usualOf.get(service)),
    line('Rate over time', 'Rate', ({ time, calls }) => {
      const length = Math.min(to, time + step) - Math.max(from, time)
      return length > 0 ? calls.value / length : null
    }),
    line('p95 over time', 'p95', ({ p95 }) => p95?.value ?? null),
  ]
  return (
    <>
      <p class="summary">
        Rates are estimates for all calls, extrapolated from sampled traces: ± or + and − say how far off they may be by
        chance. See also <a href={withRange('graph', range)}>which service calls which</a> and{' '}
        <a href={withRange('changes', range)}>what has changed</a>.
      </p>
      {truncated && <p class="hint">There are more services than can be shown here. These are the busiest.</p>}
      <SortedTable caption="Services" columns={columns} rows={services} sort={sort} rowKey={({ service }) => service} />
    </>
  )
}
