import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect } from 'preact/hooks'
import type { EarlierServicesAnswer } from '../../src/http/answers'
import { Failure, Notice, Waiting } from '../parts/notice'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, rangeParams, serviceHref, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { FiguresTable } from './figures-table'

/** Lists the services with their figures. */
export function ServicesPage({ query }: { query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const services = useJson<EarlierServicesAnswer>(`api/earlier/services?${new URLSearchParams(rangeParams(range))}`)
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
        <>
          <p class="summary">
            Rates are estimates for all calls, extrapolated from sampled traces. Errors are a share of all calls. The{' '}
            <a href={withRange('graph', range)}>graph</a> shows which service calls which.
          </p>
          {services.value.truncated && (
            <p class="hint">There are more services or names than can be shown here. These are the busiest.</p>
          )}
          <FiguresTable
            caption="Services"
            title="Service"
            rows={services.value.services}
            lengthUs={services.value.to - services.value.from}
            sort={query.get('sort') ?? ''}
            nameOf={row => row.service}
            showName={row => <a href={serviceHref(row.service, range)}>{row.service || 'no name'}</a>}
          />
        </>
      )}
    </>
  )
}
