import type { ServiceHistories } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { type Column, SortedTable } from '../parts/sorted-table'
import { TimeStamp } from '../parts/time-stamp'
import { serviceHref, type TimeRange, withRange } from '../range/range'

interface Props {
  services: ServiceHistories[]
  range: TimeRange
  sort: string
}

/** Which services have processes with histories now, and how far back those go. */
export function Histories({ services, range, sort }: Props) {
  if (services.length === 0) {
    return <p class="hint">None asks this collector now, or another one on the same databases.</p>
  }
  const columns: Column<ServiceHistories>[] = [
    {
      key: 'service',
      title: 'Service',
      value: ({ service }) => service,
      show: ({ service }) => <a href={serviceHref(service, range)}>{service || <em>no name</em>}</a>,
    },
    {
      key: 'processes',
      title: 'Processes',
      value: ({ processes }) => processes,
      show: ({ processes }) => processes.toLocaleString(),
    },
    {
      key: 'shortest',
      title: 'Shortest history',
      value: ({ shortest }) => shortest,
      show: ({ shortest }) => formatDuration(shortest),
    },
    {
      key: 'longest',
      title: 'Longest history',
      value: ({ longest }) => longest,
      show: ({ longest }) => formatDuration(longest),
    },
    { key: 'asOf', title: 'As of', value: ({ asOf }) => asOf, show: ({ asOf }) => <TimeStamp us={asOf} short /> },
    {
      key: 'open',
      title: 'Open',
      value: () => '',
      show: ({ service }) => (
        <a href={withRange('kept', range, {}, { service })} aria-label={`what it kept: ${service}`}>
          what it kept
        </a>
      ),
    },
  ]
  return (
    <SortedTable
      caption="Services with histories"
      columns={columns}
      rows={services}
      sort={sort}
      rowKey={({ service }) => service}
    />
  )
}
