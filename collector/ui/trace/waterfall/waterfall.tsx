import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { setQuery } from '../../shell/address'
import { useShortcuts } from '../../shell/shortcuts'
import { type Columns, FLAG } from '../columns'
import { criticalPath } from '../critical-path'
import type { Errors } from '../errors'
import type { LoadedTrace } from '../load-trace'
import type { MissingAt } from '../missing'
import { firstOf, groupEntry, groupFigures, groupSiblings, listRows, NO_GROUPS, type RowList } from '../siblings'
import { ancestorsOf, type Tree } from '../tree'
import { Axis } from './axis'
import { Bars } from './bars'
import { Legend } from './legend'
import { Minimap } from './minimap'
import { rowId } from './row'
import { Rows } from './rows'
import { SearchWithin, useSearchWithin } from './search-within'
import { fit, isWhole, pan, ticks, type View, zoom } from './view'
import { useVisibleRows } from './visible-rows'
import { useWheelAndDrag } from './wheel'

interface Props {
  trace: LoadedTrace
  errors: Errors
  missing: MissingAt
  query: URLSearchParams
  /** Index of the selected span, or −1. */
  selected: number
  colorOf(span: number): number
  onSelect(span: number): void
}

/**
 * Shows the trace as a tree with bars over a common time axis. For assistive technology it is one tree control: Tab focuses it,
 * and the arrow keys move the selection. The address holds the view, the switches and the search.
 */
export function Waterfall({ trace, errors, missing, query, selected, colorOf, onSelect }: Props) {
  const { columns, tree, head, complete } = trace
  const list = useRef<HTMLDivElement>(null)
  const [folded, setFolded] = useState<ReadonlySet<number>>(new Set())
  const [opened, setOpened] = useState<ReadonlySet<number>>(new Set())
  const [atGroup, setAtGroup] = useState(-1)
  const grouped = !query.has('apart')
  const alike = useMemo(() => groupSiblings(columns, tree), [tree])
  const groups = grouped ? alike : NO_GROUPS
  const shown = useMemo(() => listRows(tree, groups, folded, opened), [tree, groups, folded, opened])
  const window = useVisibleRows(list, shown.entries.length)
  const entries = useMemo(() => shown.entries.slice(window.from, window.to), [shown, window.from, window.to])
  const levels = useMemo(() => shown.levels.slice(window.from, window.to), [shown, window.from, window.to])
  const skewed = useMemo(() => columns.flags.subarray(0, columns.count).some(f => (f & FLAG.skewed) !== 0), [tree])
  const raw = skewed && query.has('reported')
  const withPath = !query.has('nopath')
  const critical = useMemo(
    () => (complete && withPath ? criticalPath(columns, tree) : null),
    [tree, complete, withPath],
  )

  const extent = useMemo(() => extentOf(columns, head.duration ?? 0, raw), [tree, raw])
  const view = viewIn(query, extent)
  const show = useCallback(
    (next: View) => {
      const whole = isWhole(next, extent)
      setQuery({ from: whole ? null : next.from.toFixed(1), to: whole ? null : next.to.toFixed(1) })
    },
    [extent],
  )
  useWheelAndDrag(list, view, extent, show)

  const { reveal } = window
  const row = selected === -1 ? -1 : shown.rowOf[selected]!
  const inGroup = selected === -1 || groups.of.length === 0 ? -1 : groups.of[selected]!
  /** The span that is to be scrolled to once it has a row. Folding a span doesn't scroll. */
  const sought = useRef(-1)
  // With the rows, and not a moment later: a key that was pressed between would be undone.
  useLayoutEffect(() => {
    sought.current = selected
    if (selected === -1) return
    setAtGroup(-1)
    const above = ancestorsOf(tree, selected)
    setFolded(old => without(old, above))
    if (groups.of.length > 0)
      setOpened(old =>
        withAll(
          old,
          [...above, selected].map(span => groups.of[span]!),
        ),
      )
    // While a trace arrives, a group may close around the selected span.
  }, [selected, inGroup])
  useEffect(() => {
    if (row === -1 || sought.current !== selected) return
    sought.current = -1
    reveal(row)
  }, [row, selected, reveal])

  const search = useSearchWithin(trace, query.get('find') ?? '', selected, onSelect)
  const fold = useCallback((span: number) => setFolded(old => toggled(old, span)), [])
  const open = useCallback((first: number) => {
    setOpened(old => toggled(old, first))
    setAtGroup(first)
  }, [])
  const toggle = useCallback(
    (span: number) => {
      setAtGroup(-1)
      onSelect(span === selected ? -1 : span)
    },
    [onSelect, selected],
  )
  const zoomTo = useCallback(
    (entry: number) => {
      const { from, to } =
        entry >= 0 ? timesOf(columns, entry, raw) : groupFigures(columns, alike.members.get(firstOf(entry))!, 0)
      if (from <= to) show(fit({ from: from - (to - from) * 0.05, to: to + (to - from) * 0.05 }, extent))
    },
    [columns, alike, raw, extent, show],
  )
  const foldAll = () => {
    const parents = new Set<number>()
    for (let i = 0; i < columns.count; i++)
      if (tree.childCount[i]! > 0 && columns.integers.depth[i]! > 0) parents.add(i)
    setFolded(parents)
  }
  const middle = (view.from + view.to) / 2
  useShortcuts('Waterfall', [
    { keys: ['w', '+'], does: 'zoom in', run: () => show(zoom(view, extent, middle, 0.6)) },
    { keys: ['s', '-'], does: 'zoom out', run: () => show(zoom(view, extent, middle, 1 / 0.6)) },
    { keys: ['a'], does: 'pan to earlier times', run: () => show(pan(view, extent, -0.2)) },
    { keys: ['d'], does: 'pan to later times', run: () => show(pan(view, extent, 0.2)) },
    { keys: ['0'], does: 'show the whole trace', run: () => show(extent) },
    { keys: ['z'], does: 'zoom to the selected span', run: () => selected !== -1 && zoomTo(selected) },
    { keys: ['p'], does: 'show or hide the critical path', run: () => setQuery({ nopath: withPath ? '1' : null }) },
    {
      keys: ['g'],
      does: 'show calls that are alike in one row, or apart',
      run: () => setQuery({ apart: grouped ? '1' : null }),
    },
  ])
  useShortcuts('Waterfall, when the tree has the focus', [
    { keys: ['ArrowUp', 'ArrowDown'], does: 'previous / next span' },
    { keys: ['ArrowRight'], does: 'unfold, or go to the first child' },
    { keys: ['ArrowLeft'], does: 'fold, or go to the parent' },
    { keys: ['Home', 'End'], does: 'first / last span' },
    { keys: ['Escape'], does: 'close the span’s details' },
  ])

  const at = grouped && groups.members.has(atGroup) ? groupEntry(atGroup) : selected
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const move = moveOf(event.key, shown, { tree, of: groups.of, folded, opened }, at, selected)
    if (move === undefined) return
    event.preventDefault()
    event.stopPropagation()
    if ('fold' in move) fold(move.fold)
    if ('open' in move) open(move.open)
    if (!('to' in move)) return
    // The address knows spans alone: while the keyboard is at a group, the span that was selected stays so.
    setAtGroup(move.to < -1 ? firstOf(move.to) : -1)
    if (move.to < -1) reveal(rowAt(shown, move.to))
    else onSelect(move.to)
  }
  const active = entries.includes(at) && at !== -1 ? rowId(columns, at) : undefined
  return (
    <div class="waterfall">
      <div class="tools">
        <SearchWithin search={search} />
        <div class="switches">
          <label title="What the trace's duration was spent on (p)">
            <input type="checkbox" checked={withPath} onChange={() => setQuery({ nopath: withPath ? '1' : null })} />{' '}
            Critical path
          </label>
          {skewed && (
            <label title="Times as the hosts' clocks reported them, before they were corrected">
              <input type="checkbox" checked={raw} onChange={() => setQuery({ reported: raw ? null : '1' })} /> Clocks
              as reported
            </label>
          )}
          {alike.members.size > 0 && (
            <label title="Siblings of the same service and name in one row (g)">
              <input type="checkbox" checked={grouped} onChange={() => setQuery({ apart: grouped ? '1' : null })} />{' '}
              Group calls that are alike
            </label>
          )}
          <button type="button" class="small" onClick={folded.size > 0 ? () => setFolded(new Set()) : foldAll}>
            {folded.size > 0 ? 'Unfold all' : 'Fold all'}
          </button>
          <button type="button" class="small" disabled={isWhole(view, extent)} onClick={() => show(extent)}>
            Whole trace
          </button>
        </div>
      </div>
      <div class="pinned">
        <Minimap
          columns={columns}
          count={columns.count}
          extent={extent}
          view={view}
          raw={raw}
          arose={errors.arose}
          colorOf={colorOf}
          onChoose={show}
        />
        <Axis view={view} onChoose={chosen => show(fit(chosen, extent))} />
      </div>
      <div
        class="rows"
        ref={list}
        role="tree"
        aria-label="Spans"
        tabIndex={0}
        aria-activedescendant={active}
        onKeyDown={onKeyDown}
        style={{ height: `${shown.entries.length * window.rowHeight}px` }}
      >
        <div
          class="rows-window"
          role="presentation"
          style={{ transform: `translateY(${window.from * window.rowHeight}px)` }}
        >
          <Bars
            columns={columns}
            rows={entries}
            groups={groups}
            rowHeight={window.rowHeight}
            view={view}
            raw={raw}
            colorOf={colorOf}
            critical={critical}
            ticks={useMemo(() => ticks(view, 6), [view.from, view.to])}
          />
          <Rows
            columns={columns}
            tree={tree}
            groups={groups}
            entries={entries}
            levels={levels}
            selected={selected}
            atGroup={at < -1 ? atGroup : -1}
            folded={folded}
            opened={opened}
            matching={search.matching}
            missing={missing}
            colorOf={colorOf}
            onSelect={toggle}
            onFold={fold}
            onOpen={open}
            onZoom={zoomTo}
          />
        </div>
      </div>
      <Legend skewed={skewed} grouped={groups.members.size > 0} />
    </div>
  )
}

/** Returns the whole time range. With raw times, spans may lie before the trace's start or after its end. */
function extentOf({ count, numbers }: Columns, duration: number, raw: boolean): View {
  const extent = { from: 0, to: Math.max(1, duration) }
  if (!raw) return extent
  for (let i = 0; i < count; i++) {
    for (const [start, length] of [
      [numbers.rawStart[i]!, numbers.duration[i]!],
      [numbers.rawClientStart[i]!, numbers.clientDuration[i]!],
      [numbers.rawServerStart[i]!, numbers.serverDuration[i]!],
    ] as const) {
      if (start < extent.from) extent.from = start
      if (start + (length || 0) > extent.to) extent.to = start + (length || 0)
    }
  }
  return extent
}

function viewIn(query: URLSearchParams, extent: View): View {
  const from = Number(query.get('from') ?? Number.NaN)
  const to = Number(query.get('to') ?? Number.NaN)
  return from < to ? fit({ from, to }, extent) : extent
}

function timesOf({ numbers }: Columns, span: number, raw: boolean): View {
  const from = (raw ? numbers.rawStart : numbers.start)[span]!
  return { from, to: from + (numbers.duration[span]! || 0) }
}

function without(set: ReadonlySet<number>, members: number[]): ReadonlySet<number> {
  const gone = new Set(members.filter(member => set.has(member)))
  return gone.size === 0 ? set : new Set([...set].filter(member => !gone.has(member)))
}

function withAll(set: ReadonlySet<number>, members: number[]): ReadonlySet<number> {
  const fresh = members.filter(member => member !== -1 && !set.has(member))
  return fresh.length === 0 ? set : new Set([...set, ...fresh])
}

function toggled(set: ReadonlySet<number>, member: number): ReadonlySet<number> {
  const next = new Set(set)
  if (!next.delete(member)) next.add(member)
  return next
}

/** Returns the row of a span or a group; −1 if it isn't shown. */
function rowAt({ entries, rowOf }: RowList, entry: number): number {
  return entry >= 0 ? rowOf[entry]! : entry === -1 ? -1 : entries.indexOf(entry)
}

interface Shape {
  tree: Tree
  /** See Groups. */
  of: Int32Array
  folded: ReadonlySet<number>
  opened: ReadonlySet<number>
}

type Move = { to: number } | { fold: number } | { open: number } | undefined

/**
 * Returns what a key does, following the ARIA authoring practices for trees: goes to a row, folds or unfolds a span, opens or closes a
 * group.
 * @param at where the keyboard is: a span, a group (see groupEntry), or −1
 */
function moveOf(key: string, shown: RowList, { tree, of, folded, opened }: Shape, at: number, selected: number): Move {
  const { entries } = shown
  const row = rowAt(shown, at)
  const to = (row: number) => ({ to: entries[Math.min(Math.max(row, 0), entries.length - 1)]! })
  switch (key) {
    case 'ArrowDown':
      return to(row + 1)
    case 'ArrowUp':
      return to(row - 1)
    case 'PageDown':
      return to(row + 20)
    case 'PageUp':
      return to(row - 20)
    case 'Home':
      return to(0)
    case 'End':
      return to(entries.length - 1)
    case 'Enter':
    case ' ':
      return at < -1 ? { open: firstOf(at) } : undefined
    case 'ArrowRight':
      if (at === -1) return undefined
      if (at < -1) return opened.has(firstOf(at)) ? to(row + 1) : { open: firstOf(at) }
      if (tree.childCount[at] === 0) return undefined
      return folded.has(at) ? { fold: at } : to(row + 1)
    case 'ArrowLeft': {
      if (at === -1) return undefined
      if (at < -1 && opened.has(firstOf(at))) return { open: firstOf(at) }
      const span = at < -1 ? firstOf(at) : at
      if (at >= 0 && tree.childCount[span]! > 0 && !folded.has(span)) return { fold: span }
      if (at >= 0 && of.length > 0 && of[span] !== -1) return { to: groupEntry(of[span]!) }
      const parent = tree.parent[span]!
      return parent === -1 ? undefined : { to: parent }
    }
    case 'Escape':
      return at < -1 && selected === -1 ? undefined : { to: -1 }
    default:
      return undefined
  }
}
