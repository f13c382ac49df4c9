import type { KeepRequest } from '../../src/http/answers'
import { counted } from '../parts/count'
import { type Column, SortedTable } from '../parts/sorted-table'
import { TimeStamp } from '../parts/time-stamp'
import { type TimeRange, withRange } from '../range/range'
import { traceHref } from '../shell/route'
import { keptSearch } from './kept-address'

interface Props {
  requests: KeepRequest[]
  range: TimeRange
  sort: string
}

/** What people have asked processes for. */
export function Requests({ requests, range, sort }: Props) {
  if (requests.length === 0) return <p class="hint">Nothing in this time range.</p>
  const columns: Column<KeepRequest>[] = [
    {
      key: 'what',
      title: 'Asked for',
      value: request => ('traceId' in request ? request.traceId : `${request.service} ${request.name}`),
      show: request =>
        'traceId' in request ? (
          <>
            trace{' '}
            <a href={traceHref(request.traceId)}>
              <code>{request.traceId}</code>
            </a>
          </>
        ) : (
          <>
            the next {counted(request.n, 'trace')} a process of{' '}
            <a href={withRange('kept', range, {}, { service: request.service, name: request.name })}>
              {request.name} <span class="part-service">{request.service}</span>
            </a>
          </>
        ),
    },
    { key: 'time', title: 'When', value: ({ time }) => time, show: ({ time }) => <TimeStamp us={time} short /> },
    { key: 'by', title: 'By', value: ({ by }) => by ?? '', show: ({ by }) => by ?? <em>unknown</em> },
    {
      key: 'open',
      title: 'Open',
      value: () => '',
      show: request =>
        'name' in request && (
          <a
            href={keptSearch(range, 'requested', request.service, request.name)}
            aria-label={`search: what was kept of ${request.service} ${request.name}`}
          >
            search
          </a>
        ),
    },
  ]
  return (
    <div class="kept-table">
      <SortedTable
        caption="What people asked for"
        columns={columns}
        rows={requests}
        sort={sort}
        rowKey={request => JSON.stringify(request)}
      />
    </div>
  )
}
