import type { Exemplar, Figures } from '../../src/http/answers'
import type { Usual } from '../../src/trace'
import { errorClass } from '../parts/estimate'
import type { Column } from '../parts/sorted-table'
import { Duration, Exemplars, Rate, Share } from './told'

/**
 * The columns that all tables of figures share.
 * @param us the time that the figures are about
 * @param usualOf returns what is usual for a row
 */
export function figuresColumns<F extends Figures & { exemplars: Exemplar[] }>(
  us: number,
  usualOf: (row: F) => Usual | undefined = () => undefined,
): Column<F>[] {
  const duration = (key: 'p50' | 'p95' | 'p99', title: string): Column<F> => ({
    key,
    title,
    value: row => row[key]?.value ?? Number.NaN,
    show: row => <Duration us={row[key]} usualUs={usualOf(row)?.[key]} />,
  })
  return [
    { key: 'rate', title: 'Rate', value: row => row.calls.value, show: row => <Rate calls={row.calls} us={us} /> },
    {
      key: 'failed',
      title: 'Failed',
      value: row => row.errorShare?.value ?? Number.NaN,
      show: row => <Share share={row.errorShare} />,
    },
    duration('p50', 'Median'),
    duration('p95', 'p95'),
    duration('p99', 'p99'),
    {
      key: 'traces',
      title: 'Traces',
      value: row => row.exemplars.map(({ kind }) => kind).join(' '),
      show: row => <Exemplars exemplars={row.exemplars} failures={errorClass(row.errorShare)} />,
    },
  ]
}
