import { formatDuration } from '../../../src/trace'
import { ServiceMark } from '../../parts/service-mark'
import { type Columns, FLAG, hasFlag, nameAt, serviceText, spanIdAt } from '../columns'
import { siblingsOf, type Tree } from '../tree'

interface Props {
  columns: Columns
  tree: Tree
  span: number
  color: number
  folded: boolean
  selected: boolean
  matches: boolean
  onSelect(span: number): void
  onFold(span: number): void
  onZoom(span: number): void
}

export function rowId(columns: Columns, span: number): string {
  return `span-${spanIdAt(columns, span)}`
}

/** One span of the tree. The canvas behind draws its bar; the row and the detail contain the same information as text. */
export function Row({ columns, tree, span, color, folded, selected, matches, onSelect, onFold, onZoom }: Props) {
  const duration = columns.numbers.duration[span]!
  const children = tree.childCount[span]!
  const inside = tree.end[span]! - span - 1
  const fold = (event: Event) => {
    event.stopPropagation()
    onFold(span)
  }
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the tree around it handles keys
    <div
      id={rowId(columns, span)}
      class={matches ? 'row matches' : 'row'}
      role="treeitem"
      aria-level={columns.integers.depth[span]! + 1}
      aria-posinset={tree.position[span]}
      aria-setsize={siblingsOf(tree, span)}
      aria-expanded={children === 0 ? undefined : !folded}
      aria-selected={selected}
      tabIndex={-1}
      onClick={() => onSelect(span)}
      onDblClick={() => onZoom(span)}
    >
      <span class="row-name" style={{ '--depth': columns.integers.depth[span] }}>
        {children > 0 ? (
          <span class="fold" aria-hidden="true" onClick={fold}>
            {folded ? '▸' : '▾'}
          </span>
        ) : (
          <span class="fold" />
        )}
        <ServiceMark color={color === -1 ? undefined : color} />
        <span class="name">{nameAt(columns, span) || <em>no name</em>}</span>
        <span class="service">{serviceText(columns, span)}</span>
        {folded && <span class="tag">{inside.toLocaleString()} inside</span>}
        {hasFlag(columns, span, FLAG.error) && <span class="error-mark">Error</span>}
        {hasFlag(columns, span, FLAG.orphan) && <span class="tag">parent missing</span>}
        {hasFlag(columns, span, FLAG.cycle) && <span class="tag">circular</span>}
      </span>
      <span class="lane" />
      <span class="duration">{formatDuration(Number.isNaN(duration) ? null : duration)}</span>
    </div>
  )
}
