import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect } from 'preact/hooks'
import type {
  EarlierDependenciesAnswer as DependenciesAnswer,
  EarlierServiceFigures as ServiceFigures,
  EarlierServicesAnswer as ServicesAnswer,
} from '../../src/http/answers'
import { parseTime, print, type Query } from '../../src/query'
import { Failure, Notice, Waiting } from '../parts/notice'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { searchHref } from '../shell/route'
import { useShortcuts } from '../shell/shortcuts'
import { DependencyGraph } from './dependency-graph'
import { FiguresTable } from './figures-table'
import { LatencyChart } from './latency-chart'

const RANGES = { '15m': '15 minutes', '1h': 'hour', '6h': '6 hours', '24h': '24 hours' } as const

/** Shows the services, their figures and the calls between them, with links into searches. */
export function ServicesPage({ query }: { query: URLSearchParams }) {
  const asked = query.get('last') ?? '1h'
  const last = Object.hasOwn(RANGES, asked) ? (asked as keyof typeof RANGES) : '1h'
  const services = useJson<ServicesAnswer>(`api/services?from=-${last}`)
  const dependencies = useJson<DependenciesAnswer>(`api/dependencies?from=-${last}`)
  const chosen = query.get('service') ?? ''
  useEffect(() => {
    document.title = `${chosen || 'Services'} – Milo`
  }, [chosen])
  const again = () => {
    services.again()
    dependencies.again()
  }
  useShortcuts('Services', [{ keys: ['r'], does: 'reload', run: again }])
  const choose = (service: string) => setQuery({ service: service === chosen ? null : service }, { replace: false })
  return (
    <>
      <div class="results-head">
        <h1>Services</h1>
        <fieldset class="choices" aria-label="Time range">
          {(Object.keys(RANGES) as (keyof typeof RANGES)[]).map(range => (
            <button type="button" key={range} aria-pressed={range === last} onClick={() => setQuery({ last: range })}>
              Last {RANGES[range]}
            </button>
          ))}
        </fieldset>
      </div>
      {services.state === 'loading' && <Waiting what="services" />}
      {services.state === 'failed' && (
        <Failure title="The services couldn't be read" problem={services.problem} retry={again} />
      )}
      {services.state === 'ready' && services.value.services.length === 0 && (
        <Notice title={`Nothing was reported in the last ${RANGES[last]}`}>
          <p>
            Choose a longer time range above, or <a href="search">see the newest traces</a>. New spans are counted
            within a minute.
          </p>
        </Notice>
      )}
      {services.state === 'ready' && services.value.services.length > 0 && (
        <Report answer={services.value} last={last} chosen={chosen} sort={query.get('sort') ?? ''} onChoose={choose} />
      )}
      {dependencies.state === 'failed' && services.state === 'ready' && (
        <Failure
          title="The calls between services couldn't be loaded"
          problem={dependencies.problem}
          retry={dependencies.again}
        />
      )}
      {dependencies.state === 'ready' && dependencies.value.edges.length > 0 && services.state === 'ready' && (
        <>
          <h2>Calls between services</h2>
          {dependencies.value.truncated && (
            <p class="hint">
              There are more pairs of services than can be shown here. These are the{' '}
              {dependencies.value.edges.length.toLocaleString()} with the most calls.
            </p>
          )}
          <DependencyGraph
            edges={dependencies.value.edges}
            lengthUs={services.value.to - services.value.from}
            chosen={chosen}
            onChoose={choose}
          />
        </>
      )}
    </>
  )
}

interface ReportProps {
  answer: ServicesAnswer
  last: string
  chosen: string
  sort: string
  onChoose(service: string): void
}

function Report({ answer, last, chosen, sort, onChoose }: ReportProps) {
  const lengthUs = answer.to - answer.from
  const detail = answer.services.find(({ service }) => service === chosen)
  return (
    <>
      <p class="summary">
        Rates are estimates for all calls, extrapolated from sampled traces. Errors are a share of all calls.
      </p>
      {answer.truncated && (
        <p class="hint">There are more services or names than can be shown here. These are the busiest.</p>
      )}
      <FiguresTable
        caption="Services"
        title="Service"
        rows={answer.services}
        lengthUs={lengthUs}
        sort={sort}
        chosen={chosen}
        nameOf={row => row.service}
        showName={row => (
          <button
            type="button"
            class="link"
            aria-pressed={row.service === chosen}
            onClick={() => onChoose(row.service)}
          >
            {row.service}
          </button>
        )}
      />
      {detail && <Detail figures={detail} answer={answer} last={last} sort={sort} />}
    </>
  )
}

interface DetailProps {
  figures: ServiceFigures
  answer: ServicesAnswer
  last: string
  sort: string
}

function Detail({ figures, answer, last, sort }: DetailProps) {
  const { service } = figures
  const from = parseTime(`-${last}`)
  const find = (more: Partial<Query>) =>
    searchHref({ q: print({ service, annotations: [], ...more, ...(from === undefined ? {} : { from }) }) })
  return (
    <section class="service-detail" aria-label={service}>
      <div class="results-head">
        <h2>{service}</h2>
        <p>
          <a href={find({})}>Traces</a> · <a href={find({ error: true })}>Traces with errors</a>
        </p>
      </div>
      <LatencyChart figures={figures} from={answer.from} to={answer.to} step={answer.step} />
      <FiguresTable
        caption={`Spans of ${service} by name`}
        title="Name"
        rows={figures.names}
        lengthUs={answer.to - answer.from}
        sort={sort}
        nameOf={row => row.name}
        showName={row => <a href={find({ name: row.name })}>{row.name || 'no name'}</a>}
      />
    </section>
  )
}
