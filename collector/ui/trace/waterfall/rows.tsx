import { memo } from '../../shell/memo'
import type { Columns } from '../columns'
import type { Tree } from '../tree'
import { Row } from './row'

interface Props {
  columns: Columns
  tree: Tree
  /** The spans to show. */
  spans: Int32Array
  selected: number
  folded: ReadonlySet<number>
  matching: ReadonlySet<number>
  colorOf(span: number): number
  onSelect(span: number): void
  onFold(span: number): void
  onZoom(span: number): void
}

/** The visible rows. They don't change while the view is zoomed or panned. */
export const Rows = memo(function Rows({ spans, selected, folded, matching, colorOf, ...rest }: Props) {
  return (
    <>
      {Array.from(spans, span => (
        <Row
          key={span}
          span={span}
          color={colorOf(span)}
          folded={folded.has(span)}
          selected={span === selected}
          matches={matching.has(span)}
          {...rest}
        />
      ))}
    </>
  )
})
