import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect } from 'preact/hooks'
import type { EarlierServicesAnswer } from '../../src/http/answers'
import { Failure, Notice, Waiting } from '../parts/notice'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, rangeParams, searchIn, type TimeRange, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { FiguresTable } from './figures-table'
import { LatencyChart } from './latency-chart'

/** Shows one service: its figures over time, and its operations. */
export function ServicePage({ service, query }: { service: string; query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const services = useJson<EarlierServicesAnswer>(`api/earlier/services?${new URLSearchParams(rangeParams(range))}`)
  useEffect(() => {
    document.title = `${service} – Milo`
  }, [service])
  useShortcuts('Service', [{ keys: ['r'], does: 'reload', run: services.again }])
  return (
    <>
      <div class="page-head">
        <h1>{service || 'A service without a name'}</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      <p class="summary">
        <a href={searchIn(range, { service })}>Traces</a> ·{' '}
        <a href={searchIn(range, { service, error: true })}>Traces with errors</a> ·{' '}
        <a href={withRange('graph', range, { service })}>Its place in the graph</a>
      </p>
      {services.state === 'loading' && <Waiting what={service} />}
      {services.state === 'failed' && (
        <Failure title="The service couldn't be read" problem={services.problem} retry={services.again} />
      )}
      {services.state === 'ready' && <Detail service={service} answer={services.value} range={range} query={query} />}
    </>
  )
}

interface DetailProps {
  service: string
  answer: EarlierServicesAnswer
  range: TimeRange
  query: URLSearchParams
}

function Detail({ service, answer, range, query }: DetailProps) {
  const figures = answer.services.find(one => one.service === service)
  if (figures === undefined) {
    return (
      <Notice title="Nothing was reported in this time range">
        <p>
          Choose another time range above, or see <a href={withRange('services', range)}>all services</a>.
        </p>
      </Notice>
    )
  }
  return (
    <>
      <LatencyChart figures={figures} from={answer.from} to={answer.to} step={answer.step} />
      <FiguresTable
        caption={`Spans of ${service} by name`}
        title="Name"
        rows={figures.names}
        lengthUs={answer.to - answer.from}
        sort={query.get('sort') ?? ''}
        nameOf={row => row.name}
        showName={row => <a href={searchIn(range, { service, name: row.name })}>{row.name || 'no name'}</a>}
      />
    </>
  )
}
