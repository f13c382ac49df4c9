import { memo } from '../../shell/memo'
import type { Columns } from '../columns'
import type { MissingAt } from '../missing'
import { firstOf, type Groups } from '../siblings'
import type { Tree } from '../tree'
import { GroupRow, Row } from './row'

interface Props {
  columns: Columns
  tree: Tree
  groups: Groups
  /** The rows to show: spans and groups (see groupEntry). */
  entries: Int32Array
  levels: Int32Array
  selected: number
  /** The group at which the keyboard is, by its first member; −1 if it is at a span. */
  atGroup: number
  folded: ReadonlySet<number>
  opened: ReadonlySet<number>
  matching: ReadonlySet<number>
  missing: MissingAt
  colorOf(span: number): number
  onSelect(span: number): void
  onFold(span: number): void
  onOpen(first: number): void
  onZoom(entry: number): void
}

/** The visible rows. They don't change while the view is zoomed or panned. */
export const Rows = memo(function Rows(props: Props) {
  const { columns, tree, groups, entries, levels, selected, atGroup, folded, opened, matching, missing, colorOf } =
    props
  const { onSelect, onFold, onOpen, onZoom } = props
  return (
    <>
      {Array.from(entries, (entry, i) => {
        const span = entry >= 0 ? entry : firstOf(entry)
        const common = { columns, tree, level: levels[i]!, color: colorOf(span), onZoom }
        if (entry >= 0) {
          return (
            <Row
              key={entry}
              span={span}
              folded={folded.has(span)}
              selected={span === selected}
              matches={matching.has(span)}
              missing={missing.get(span)}
              onSelect={onSelect}
              onFold={onFold}
              {...common}
            />
          )
        }
        const members = groups.members.get(span)!
        const isOpen = opened.has(span)
        return (
          <GroupRow
            key={entry}
            first={span}
            members={members}
            opened={isOpen}
            active={span === atGroup}
            missing={missing.size === 0 ? 0 : members.reduce((sum, member) => sum + Number(missing.has(member)), 0)}
            matches={!isOpen && matching.size > 0 && members.some(member => matching.has(member))}
            onOpen={onOpen}
            {...common}
          />
        )
      })}
    </>
  )
})
