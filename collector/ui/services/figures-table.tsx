import type { ComponentChildren } from 'preact'
import type { EarlierFigures as Figures } from '../../src/http/answers'
import { DurationText } from '../parts/duration-text'
import { type Column, SortedTable } from '../parts/sorted-table'
import { rateOf, shareOf } from './model'

interface Props<F extends Figures> {
  caption: string
  rows: F[]
  /** The title of the first column. */
  title: string
  nameOf(row: F): string
  showName(row: F): ComponentChildren
  lengthUs: number
  sort: string
  chosen?: string
}

/** Shows rates, errors and latencies of services, or of the span names of one service. */
export function FiguresTable<F extends Figures>(props: Props<F>) {
  const { caption, rows, title, nameOf, showName, lengthUs, sort, chosen } = props
  const duration = (key: 'p50' | 'p95' | 'p99', title: string): Column<F> => ({
    key,
    title,
    value: row => row[key] ?? Number.NaN,
    show: row => <DurationText us={row[key] ?? Number.NaN} />,
  })
  const columns: Column<F>[] = [
    { key: 'name', title, value: nameOf, show: showName },
    { key: 'rate', title: 'Rate', value: row => row.spans, show: row => rateOf(row.spans, lengthUs) },
    {
      key: 'errors',
      title: 'Errors',
      value: row => (row.spans === 0 ? 0 : row.errors / row.spans),
      show: row =>
        row.errors > 0 ? <span class="error-mark">{shareOf(row.errors, row.spans)}</span> : shareOf(0, row.spans),
    },
    duration('p50', 'Median'),
    duration('p95', 'p95'),
    duration('p99', 'p99'),
  ]
  return (
    <SortedTable
      caption={caption}
      columns={columns}
      rows={rows}
      sort={sort}
      rowKey={nameOf}
      rowClass={row => (nameOf(row) === chosen ? 'chosen' : undefined)}
    />
  )
}
