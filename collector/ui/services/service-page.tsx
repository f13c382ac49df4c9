import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect, useRef } from 'preact/hooks'
import type {
  DependenciesAnswer,
  EdgeFigures,
  OperationFigures,
  OperationsAnswer,
  SeriesAnswer,
} from '../../src/http/answers'
import type { Query } from '../../src/query'
import { counted } from '../parts/count'
import { Failure, Notice, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, searchIn, serviceHref, type TimeRange, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { type Loading, useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { EdgeTable } from './edge-table'
import { figuresColumns } from './figures-columns'
import { SeriesCharts } from './series-charts'
import { edgeParams, type Subject, seriesUrl, subjectOf, subjectTitle } from './subject'
import { Duration, Exemplars, Rate, Share } from './told'

/** Shows one service over time, its operations, who calls it and whom it calls; or one of these over time. */
export function ServicePage({ service, query }: { service: string; query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const subject = subjectOf(query)
  const series = useJson<SeriesAnswer>(seriesUrl(service, subject, range))
  const operations = useJson<OperationsAnswer>(withRange('api/operations', range, {}, { service }))
  const edges = useJson<DependenciesAnswer>(withRange('api/dependencies', range, { operations: 'true' }, { service }))
  const title = subjectTitle(service, subject)
  const top = useRef<HTMLDivElement>(null)
  useEffect(() => {
    document.title = `${title} – Milo`
  }, [title])
  const wasFirst = useRef(true)
  useEffect(() => {
    // What was chosen in a table far below shows at the top.
    if (!wasFirst.current) top.current?.scrollIntoView({ block: 'nearest' })
    wasFirst.current = false
  }, [title])
  const again = () => {
    for (const one of [series, operations, edges]) one.again()
  }
  useShortcuts('Service', [{ keys: ['r'], does: 'reload', run: again }])
  const find = (more: Partial<Query> = {}) => searchIn(range, { ...conditionsOf(service, subject), ...more })
  const sort = query.get('sort') ?? ''
  const us = (answer: { from: number; to: number }) => answer.to - answer.from
  return (
    <>
      <div class="page-head" ref={top}>
        <h1>{service || 'A service without a name'}</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      {subject.kind !== 'service' && (
        <p class="subject">
          <strong>{title}</strong> <a href={serviceHref(service, range)}>Show the whole service</a>
        </p>
      )}
      <p class="links">
        <a href={find()}>Traces</a>
        <a href={find({ error: true })}>Traces with errors</a>
        <a href={withRange('graph', range, { service })}>Its place in the graph</a>
        <a href={withRange('changes', range, { service })}>What has changed</a>
      </p>
      <Loaded loading={series} what="the figures" title="The figures couldn't be read">
        {answer =>
          answer.total.records === 0 ? (
            <Notice title="Nothing was reported in this time range">
              <p>
                Choose another time range above, or see{' '}
                {subject.kind === 'service' ? (
                  <a href={withRange('services', range)}>all services</a>
                ) : (
                  <a href={serviceHref(service, range)}>the whole service</a>
                )}
                . New spans are counted within a minute.
              </p>
            </Notice>
          ) : (
            <>
              <Totals answer={answer} />
              <SeriesCharts series={answer} range={range} service={service} />
            </>
          )
        }
      </Loaded>
      <h2>Operations</h2>
      <Loaded loading={operations} what="the operations" title="The operations couldn't be read">
        {answer => (
          <Operations
            operations={answer.operations}
            us={us(answer)}
            truncated={answer.truncated === true}
            {...{ service, subject, range, sort }}
          />
        )}
      </Loaded>
      <Loaded loading={edges} what="the calls" title="The calls to and from the service couldn't be read">
        {answer =>
          (['callee', 'caller'] as const).map(is => (
            <Edges
              key={is}
              is={is}
              edges={answer.edges.filter(edge => (is === 'callee' ? edge.to : edge.from) === service)}
              us={us(answer)}
              truncated={answer.truncated === true}
              {...{ service, subject, range, sort }}
            />
          ))
        }
      </Loaded>
    </>
  )
}

/** What a search looks for to find traces of it. */
function conditionsOf(service: string, subject: Subject): Partial<Query> {
  if (subject.kind === 'operation') return { service, ...(subject.name && { name: subject.name }) }
  if (subject.kind === 'service') return { service }
  // Half of the edge is the callee's, whose span has its operation's name; what isn't traced is known by the caller's half.
  return { service: subject.from, ...(subject.toName && { name: subject.toName }) }
}

interface LoadedProps<T> {
  loading: Loading<T>
  what: string
  title: string
  children(value: T): preact.ComponentChildren
}

function Loaded<T>({ loading, what, title, children }: LoadedProps<T>) {
  if (loading.state === 'loading') return <Waiting what={what} />
  if (loading.state === 'failed') return <Failure title={title} problem={loading.problem} retry={loading.again} />
  return <>{children(loading.value)}</>
}

function Totals({ answer: { from, to, total } }: { answer: SeriesAnswer }) {
  return (
    <dl class="totals">
      <div>
        <dt>Rate</dt>
        <dd>
          <Rate calls={total.calls} us={to - from} />
        </dd>
      </div>
      <div>
        <dt>Failed</dt>
        <dd>
          <Share share={total.errorShare} />
        </dd>
      </div>
      {(['p50', 'p95', 'p99'] as const).map(key => (
        <div key={key}>
          <dt>{key === 'p50' ? 'Median' : key}</dt>
          <dd>
            <Duration us={total[key]} />
          </dd>
        </div>
      ))}
      {total.exemplars.length > 0 && (
        <div>
          <dt>Traces</dt>
          <dd>
            <Exemplars exemplars={total.exemplars} />
          </dd>
        </div>
      )}
      <div>
        <dt>From</dt>
        <dd class="quiet">
          {counted(total.records, 'span')}
          {total.unknown > 0 && `, ${total.unknown.toLocaleString()} of unknown sampling`}
        </dd>
      </div>
    </dl>
  )
}

interface PartProps {
  us: number
  truncated: boolean
  service: string
  subject: Subject
  range: TimeRange
  sort: string
}

function Operations({
  operations,
  us,
  truncated,
  service,
  subject,
  range,
  sort,
}: PartProps & { operations: OperationFigures[] }) {
  if (operations.length === 0) return <p class="hint">None in this time range.</p>
  const columns: Column<OperationFigures>[] = [
    {
      key: 'operation',
      title: 'Operation',
      value: ({ name }) => name,
      show: ({ name, side }) => <a href={serviceHref(service, range, { name, side })}>{name || <em>no name</em>}</a>,
    },
    { key: 'side', title: 'Side', value: ({ side }) => side, show: ({ side }) => <span class="tag">{side}</span> },
    ...figuresColumns<OperationFigures>(us),
    {
      key: 'search',
      title: 'Search',
      value: () => '',
      show: ({ name }) => (
        <a href={searchIn(range, { service, ...(name && { name }) })} aria-label={`Traces with ${name || 'no name'}`}>
          Traces
        </a>
      ),
    },
  ]
  return (
    <>
      {truncated && <p class="hint">There are more operations than can be shown here. These are the busiest.</p>}
      <SortedTable
        caption={`Operations of ${service}`}
        columns={columns}
        rows={operations}
        sort={sort}
        rowKey={({ name, side }) => JSON.stringify([name, side])}
        rowClass={({ name, side }) =>
          subject.kind === 'operation' && subject.name === name && subject.side === side ? 'chosen' : undefined
        }
      />
    </>
  )
}

function Edges({
  is,
  edges,
  us,
  truncated,
  service,
  subject,
  range,
  sort,
}: PartProps & { is: 'caller' | 'callee'; edges: EdgeFigures[] }) {
  const title = is === 'callee' ? 'Who calls it' : 'Whom it calls'
  const chosen = subject.kind === 'edge' ? JSON.stringify(edgeParams(subject)) : ''
  return (
    <>
      <h2>{title}</h2>
      {edges.length === 0 && <p class="hint">Nobody in this time range, as far as is known.</p>}
      {truncated && edges.length > 0 && (
        <p class="hint">There are more calls than can be shown here. These are the most frequent.</p>
      )}
      {edges.length > 0 && (
        <EdgeTable
          caption={title}
          of={{ service, is }}
          isChosen={edge => JSON.stringify(edgeParams(edge)) === chosen}
          {...{ edges, us, range, sort }}
        />
      )}
    </>
  )
}
