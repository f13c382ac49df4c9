import type { EarlierDependency } from '../../src/http/answers'
import { DurationText } from '../parts/duration-text'
import { type Column, SortedTable } from '../parts/sorted-table'
import { serviceHref, type TimeRange } from '../range/range'
import { rateOf, shareOf } from './model'

interface Props {
  caption: string
  edges: EarlierDependency[]
  lengthUs: number
  range: TimeRange
  sort: string
  /** A column that would say the same in every row. */
  without?: 'caller' | 'callee'
}

/** Lists calls between services. */
export function EdgeTable({ caption, edges, lengthUs, range, sort, without }: Props) {
  const service = (name: string) => <a href={serviceHref(name, range)}>{name || 'no name'}</a>
  const columns: Column<EarlierDependency>[] = [
    { key: 'caller', title: 'Caller', value: ({ from }) => from, show: ({ from }) => service(from) },
    { key: 'callee', title: 'Callee', value: ({ to }) => to, show: ({ to }) => service(to) },
    { key: 'calls', title: 'Rate', value: ({ calls }) => calls, show: ({ calls }) => rateOf(calls, lengthUs) },
    {
      key: 'failed',
      title: 'Failed',
      value: ({ errors, calls }) => (calls === 0 ? 0 : errors / calls),
      show: ({ errors, calls }) => shareOf(errors, calls),
    },
    {
      key: 'p95',
      title: 'p95',
      value: ({ p95 }) => p95 ?? Number.NaN,
      show: ({ p95 }) => <DurationText us={p95 ?? Number.NaN} />,
    },
  ]
  return (
    <SortedTable
      caption={caption}
      columns={columns.filter(({ key }) => key !== without)}
      rows={edges}
      sort={sort}
      rowKey={({ from, to }) => JSON.stringify([from, to])}
    />
  )
}
