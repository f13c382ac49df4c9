import type { ComponentChildren } from 'preact'
import { useMemo, useState } from 'preact/hooks'
import { setQuery } from '../shell/address'

export interface Column<R> {
  key: string
  title: string
  /** The value to sort by. Numbers are sorted descending and aligned to the right. */
  value(row: R): number | string
  show(row: R): ComponentChildren
}

interface Props<R> {
  caption: string
  columns: Column<R>[]
  rows: R[]
  /** The key of a column, from the address; a leading minus reverses the order. Empty for the rows' own order. */
  sort: string
  rowKey(row: R): string | number
  rowClass?(row: R): string | undefined
}

const PAGE_ROWS = 200

/** A table that is sorted by clicks on its column heads. */
export function SortedTable<R>({ caption, columns, rows, sort, rowKey, rowClass }: Props<R>) {
  const [maxRows, setMaxRows] = useState(PAGE_ROWS)
  const key = sort.replace(/^-/, '')
  const reverse = sort.startsWith('-')
  const column = columns.find(column => column.key === key)
  const sorted = useMemo(() => (column === undefined ? rows : sortBy(rows, column, reverse)), [rows, key, reverse])
  const numeric = useMemo(
    () => new Set(rows.length === 0 ? [] : columns.filter(c => typeof c.value(rows[0]!) === 'number').map(c => c.key)),
    [rows],
  )
  const direction = (other: Column<R>) =>
    other !== column ? undefined : numeric.has(key) === reverse ? 'ascending' : 'descending'
  return (
    <div class="table-box">
      <table class="table">
        <caption>{caption}</caption>
        <thead>
          <tr>
            {columns.map(other => (
              <th
                key={other.key}
                scope="col"
                class={numeric.has(other.key) ? 'number' : undefined}
                aria-sort={direction(other)}
              >
                <button
                  type="button"
                  class="sort"
                  onClick={() => setQuery({ sort: other === column && !reverse ? `-${other.key}` : other.key })}
                >
                  {other.title}
                  <span aria-hidden="true">
                    {other === column ? (direction(other) === 'ascending' ? ' ↑' : ' ↓') : ''}
                  </span>
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, maxRows).map(row => (
            <tr key={rowKey(row)} class={rowClass?.(row)}>
              {columns.map(({ key, title, value, show }) => (
                // A narrow page shows the title in front of the cell.
                <td
                  key={key}
                  class={numeric.has(key) ? 'number' : undefined}
                  title={long(value(row))}
                  data-title={title}
                >
                  {show(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > maxRows && (
        <p class="more">
          <button type="button" onClick={() => setMaxRows(maxRows + 5 * PAGE_ROWS)}>
            Show more: {maxRows.toLocaleString()} of {sorted.length.toLocaleString()}
          </button>
        </p>
      )}
    </div>
  )
}

/** Returns a tooltip for strings that may not fit into a cell. */
function long(value: number | string): string | undefined {
  return typeof value === 'string' && value.length > 20 ? value : undefined
}

function sortBy<R>(rows: R[], { value }: Column<R>, reverse: boolean): R[] {
  const sign = reverse ? -1 : 1
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)]
    // Numbers are sorted descending, with unknown values at the end.
    if (typeof x === 'number' && typeof y === 'number') {
      if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y))
      return sign * (y - x)
    }
    return sign * String(x).localeCompare(String(y))
  })
}
