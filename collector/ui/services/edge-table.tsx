import type { EdgeFigures } from '../../src/http/answers'
import { type Column, SortedTable } from '../parts/sorted-table'
import { serviceHref, type TimeRange } from '../range/range'
import { figuresColumns } from './figures-columns'
import { edgeParams } from './subject'

interface Props {
  caption: string
  edges: EdgeFigures[]
  /** The length of the time that the figures are about. */
  us: number
  range: TimeRange
  sort: string
  /** The service on whose page the table is: it is the caller or the callee of all edges. */
  of?: { service: string; is: 'caller' | 'callee' }
  /** Whether an edge's series is shown. */
  isChosen?(edge: EdgeFigures): boolean
}

/** Lists calls between services, or between their operations. */
export function EdgeTable({ caption, edges, us, range, sort, of, isChosen }: Props) {
  const withOperations = edges.some(({ fromName, toName }) => fromName !== undefined || toName !== undefined)
  const page = (edge: EdgeFigures) => of?.service ?? edge.to
  const service = (key: 'caller' | 'callee', title: string, get: (edge: EdgeFigures) => string) => ({
    key,
    title,
    value: get,
    show: (edge: EdgeFigures) => <a href={serviceHref(get(edge), range)}>{get(edge) || 'no name'}</a>,
  })
  const operation = (key: string, title: string, get: (edge: EdgeFigures) => string | undefined) => ({
    key,
    title,
    value: (edge: EdgeFigures) => get(edge) ?? '',
    show: (edge: EdgeFigures) => get(edge) || <em>unknown</em>,
  })
  const columns: Column<EdgeFigures>[] = [
    service('caller', 'Caller', ({ from }) => from),
    ...(withOperations ? [operation('in', 'In its operation', ({ fromName }) => fromName)] : []),
    service('callee', 'Callee', ({ to }) => to),
    ...(withOperations ? [operation('operation', 'Calls', ({ toName }) => toName)] : []),
    ...figuresColumns<EdgeFigures>(us),
    {
      key: 'series',
      title: 'Over time',
      value: () => '',
      show: edge => (
        <a
          href={serviceHref(page(edge), range, edgeParams(edge))}
          aria-label={`Chart of calls from ${edge.from} ${edge.fromName ?? ''} to ${edge.to} ${edge.toName ?? ''}`}
          aria-current={isChosen?.(edge) ? 'true' : undefined}
        >
          Chart
        </a>
      ),
    },
  ]
  return (
    <div class="edges">
      <SortedTable
        caption={caption}
        columns={columns.filter(({ key }) => key !== of?.is)}
        rows={edges}
        sort={sort}
        rowKey={({ from, fromName, to, toName }) => JSON.stringify([from, fromName, to, toName])}
        rowClass={edge => (isChosen?.(edge) ? 'chosen' : undefined)}
      />
    </div>
  )
}
