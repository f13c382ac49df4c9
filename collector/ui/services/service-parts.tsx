import type { DeploymentsAnswer, EdgeFigures, OperationFigures, SeriesAnswer } from '../../src/http/answers'
import { printTime } from '../../src/query'
import type { Usual } from '../../src/trace'
import { counted } from '../parts/count'
import { errorClass } from '../parts/estimate'
import { Failure, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { TimeStamp } from '../parts/time-stamp'
import type { UsualOf } from '../parts/usual'
import { searchIn, serviceHref, type TimeRange, withRange } from '../range/range'
import type { Loading } from '../shell/json'
import { EdgeTable } from './edge-table'
import { figuresColumns } from './figures-columns'
import { edgeParams, type Subject } from './subject'
import { Duration, Exemplars, Rate, Share } from './told'

/** The parts of a service's page. */

interface LoadedProps<T> {
  loading: Loading<T>
  what: string
  title: string
  children(value: T): preact.ComponentChildren
}

export function Loaded<T>({ loading, what, title, children }: LoadedProps<T>) {
  if (loading.state === 'loading') return <Waiting what={what} />
  if (loading.state === 'failed') return <Failure title={title} problem={loading.problem} retry={loading.again} />
  return <>{children(loading.value)}</>
}

interface DeploymentsProps {
  deployed: DeploymentsAnswer['deployments']
  range: TimeRange
  service: string
}

/** The marks of the charts in words, and what changed with each. */
export function Deployments({ deployed, range, service }: DeploymentsProps) {
  return (
    <p class="hint deployments">
      Versions first seen:{' '}
      {deployed.map(({ version, time }) => (
        <span key={version}>
          <strong>{version}</strong> at <TimeStamp us={time} short />,{' '}
          <a href={withRange('changes', range, { moment: printTime({ atUs: time }), service })}>what changed?</a>{' '}
        </span>
      ))}
    </p>
  )
}

export function Totals({ answer: { from, to, total }, usual }: { answer: SeriesAnswer; usual: Usual | undefined }) {
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
            <Duration us={total[key]} usualUs={usual?.[key]} />
          </dd>
        </div>
      ))}
      {total.exemplars.length > 0 && (
        <div>
          <dt>Traces</dt>
          <dd>
            <Exemplars exemplars={total.exemplars} failures={errorClass(total.errorShare)} />
          </dd>
        </div>
      )}
      <div>
        <dt>From</dt>
        <dd class="quiet">
          {counted(total.records, 'span')}
          {total.unknown > 0 &&
            (total.unknown === total.records
              ? ' with unknown sampling probability'
              : `, ${total.unknown.toLocaleString()} with unknown sampling probability`)}
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

export function Operations({
  operations,
  us,
  truncated,
  service,
  subject,
  range,
  sort,
  usualOf,
}: PartProps & { operations: OperationFigures[]; usualOf: UsualOf }) {
  if (operations.length === 0) return <p class="hint">None in this time range.</p>
  const columns: Column<OperationFigures>[] = [
    {
      key: 'operation',
      title: 'Operation',
      value: ({ name }) => name,
      show: ({ name, side }) => <a href={serviceHref(service, range, { name, side })}>{name || <em>no name</em>}</a>,
    },
    { key: 'side', title: 'Side', value: ({ side }) => side, show: ({ side }) => <span class="tag">{side}</span> },
    ...figuresColumns<OperationFigures>(us, ({ name, side }) => usualOf(service, name, side)),
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

export function Edges({
  title,
  is,
  edges,
  us,
  truncated,
  service,
  subject,
  range,
  sort,
}: PartProps & { title: string; is: 'caller' | 'callee'; edges: EdgeFigures[] }) {
  const chosen = subject.kind === 'edge' ? JSON.stringify(edgeParams(subject)) : ''
  return (
    <>
      {edges.length === 0 && <p class="hint">No calls are known in this time range.</p>}
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
