import { useMemo } from 'preact/hooks'
import { formatDuration, type MissingHalf } from '../../../src/trace'
import { counted } from '../../parts/count'
import { ServiceMark } from '../../parts/service-mark'
import { shortLocalTime } from '../../parts/time'
import { type Columns, FLAG, hasFlag, nameAt, serviceText, spanIdAt } from '../columns'
import { detailText, halfName, SHORT_HALVES, WHY_MISSING } from '../missing'
import { firstOf, type GroupFigures, groupEntry, groupFigures } from '../siblings'
import { siblingsOf, type Tree } from '../tree'

interface Props {
  columns: Columns
  tree: Tree
  span: number
  /** How deep the row is indented. */
  level: number
  color: number
  folded: boolean
  selected: boolean
  matches: boolean
  /** What the span lacks, of a trace that was kept after the fact. */
  missing: MissingHalf[] | undefined
  onSelect(span: number): void
  onFold(span: number): void
  onZoom(span: number): void
}

const NONE: MissingHalf[] = []

/** @param entry a span or a group (see groupEntry) */
export function rowId(columns: Columns, entry: number): string {
  return entry >= 0 ? `span-${spanIdAt(columns, entry)}` : `group-${spanIdAt(columns, firstOf(entry))}`
}

/** One span of the tree. The canvas behind draws its bar; the row and the detail contain the same information as text. */
export function Row(props: Props) {
  const {
    columns,
    tree,
    span,
    level,
    color,
    folded,
    selected,
    matches,
    missing = NONE,
    onSelect,
    onFold,
    onZoom,
  } = props
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
      aria-level={level + 1}
      aria-posinset={tree.position[span]}
      aria-setsize={siblingsOf(tree, span)}
      aria-expanded={children === 0 ? undefined : !folded}
      aria-selected={selected}
      tabIndex={-1}
      onClick={() => onSelect(span)}
      onDblClick={() => onZoom(span)}
    >
      <span class="row-name" style={{ '--depth': level }}>
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
        {hasFlag(columns, span, FLAG.orphan) && !missing.some(({ side }) => side === 'client') && (
          <span class="tag">parent missing</span>
        )}
        {missing.map(half => (
          <span
            key={half.side}
            class="tag missing"
            title={`${halfName(half)} is missing: ${detailText(half, shortLocalTime)}`}
          >
            {SHORT_HALVES[half.side]}: {WHY_MISSING[half.why]}
          </span>
        ))}
        {hasFlag(columns, span, FLAG.cycle) && <span class="tag">circular</span>}
      </span>
      <span class="lane" />
      <span class="duration">{formatDuration(Number.isNaN(duration) ? null : duration)}</span>
    </div>
  )
}

interface GroupProps {
  columns: Columns
  tree: Tree
  /** The first of the members. */
  first: number
  members: Int32Array
  level: number
  color: number
  opened: boolean
  /** Whether the keyboard is here. */
  active: boolean
  matches: boolean
  /** How many members lack something. */
  missing: number
  onOpen(first: number): void
  onZoom(entry: number): void
}

/** Siblings of the same service and name, in one row until it is opened. */
export function GroupRow(props: GroupProps) {
  const { columns, tree, first, members, level, color, opened, active, matches, missing, onOpen, onZoom } = props
  const figures = useMemo(() => groupFigures(columns, members, FLAG.error), [columns, members])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the tree around it handles keys
    <div
      id={rowId(columns, groupEntry(first))}
      class={['row group', active && 'active', matches && 'matches'].filter(Boolean).join(' ')}
      role="treeitem"
      aria-level={level + 1}
      aria-posinset={tree.position[first]}
      aria-setsize={siblingsOf(tree, first)}
      aria-expanded={opened}
      aria-selected={false}
      tabIndex={-1}
      title={groupTitle(figures)}
      onClick={() => onOpen(first)}
      onDblClick={() => onZoom(groupEntry(first))}
    >
      <span class="row-name" style={{ '--depth': level }}>
        <span class="fold" aria-hidden="true">
          {opened ? '▾' : '▸'}
        </span>
        <ServiceMark color={color === -1 ? undefined : color} />
        <span class="name">
          {figures.count.toLocaleString()} × {nameAt(columns, first) || <em>no name</em>}
        </span>
        <span class="service">{serviceText(columns, first)}</span>
        {figures.errors > 0 && <span class="error-mark">{counted(figures.errors, 'error')}</span>}
        {missing > 0 && <span class="tag missing">{missing.toLocaleString()} incomplete</span>}
      </span>
      <span class="lane" />
      <span class="duration">{figures.total === 0 ? '' : `Σ ${formatDuration(figures.total)}`}</span>
    </div>
  )
}

function groupTitle({ count, total, shortest, longest }: GroupFigures): string {
  if (longest === 0) return `${count.toLocaleString()} calls`
  const range = shortest === longest ? '' : `: ${formatDuration(shortest)} to ${formatDuration(longest)} each`
  return `${count.toLocaleString()} calls, ${formatDuration(total)} in all${range}`
}
