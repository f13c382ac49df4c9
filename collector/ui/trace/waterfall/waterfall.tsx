import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { setQuery } from '../../shell/address'
import { useShortcuts } from '../../shell/shortcuts'
import { type Columns, FLAG } from '../columns'
import { criticalPath } from '../critical-path'
import type { LoadedTrace } from '../load-trace'
import { ancestorsOf, type Tree, visibleSpans } from '../tree'
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
export function Waterfall({ trace, query, selected, colorOf, onSelect }: Props) {
  const { columns, tree, head, complete } = trace
  const list = useRef<HTMLDivElement>(null)
  const [folded, setFolded] = useState<ReadonlySet<number>>(new Set())
  const shown = useMemo(() => visibleSpans(tree, folded), [tree, folded])
  const window = useVisibleRows(list, shown.length)
  const spans = useMemo(() => shown.slice(window.from, window.to), [shown, window.from, window.to])
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
  const goTo = useCallback(
    (span: number) => {
      const hidden = ancestorsOf(tree, span).filter(ancestor => folded.has(ancestor))
      if (hidden.length > 0) setFolded(old => new Set([...old].filter(span => !hidden.includes(span))))
      onSelect(span)
    },
    [tree, folded, onSelect],
  )
  useEffect(() => {
    const row = selected === -1 ? -1 : rowOf(shown, selected)
    if (row !== -1) reveal(row)
    // `shown` is left out: folding another span must not scroll.
  }, [selected, reveal])

  const search = useSearchWithin(trace, query.get('find') ?? '', selected, goTo)
  const fold = useCallback((span: number) => {
    setFolded(old => {
      const next = new Set(old)
      if (!next.delete(span)) next.add(span)
      return next
    })
  }, [])
  const toggle = useCallback((span: number) => onSelect(span === selected ? -1 : span), [onSelect, selected])
  const zoomTo = useCallback(
    (span: number) => {
      const start = (raw ? columns.numbers.rawStart : columns.numbers.start)[span]!
      const duration = columns.numbers.duration[span]! || 0
      if (!Number.isNaN(start)) show(fit({ from: start - duration * 0.05, to: start + duration * 1.05 }, extent))
    },
    [columns, raw, extent, show],
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
  ])
  useShortcuts('Waterfall, when the tree has the focus', [
    { keys: ['ArrowUp', 'ArrowDown'], does: 'previous / next span' },
    { keys: ['ArrowRight'], does: 'unfold, or go to the first child' },
    { keys: ['ArrowLeft'], does: 'fold, or go to the parent' },
    { keys: ['Home', 'End'], does: 'first / last span' },
    { keys: ['Escape'], does: 'close the span’s details' },
  ])

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const move = moveOf(event.key, shown, tree, folded, selected)
    if (move === undefined) return
    event.preventDefault()
    event.stopPropagation()
    if (move.fold !== undefined) fold(move.fold)
    if (move.to !== undefined) onSelect(move.to)
  }
  const row = selected === -1 ? -1 : rowOf(shown, selected)
  const active = row >= window.from && row < window.to ? rowId(columns, selected) : undefined
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
        style={{ height: `${shown.length * window.rowHeight}px` }}
      >
        <div
          class="rows-window"
          role="presentation"
          style={{ transform: `translateY(${window.from * window.rowHeight}px)` }}
        >
          <Bars
            columns={columns}
            rows={spans}
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
            spans={spans}
            selected={selected}
            folded={folded}
            matching={search.matching}
            colorOf={colorOf}
            onSelect={toggle}
            onFold={fold}
            onZoom={zoomTo}
          />
        </div>
      </div>
      <Legend skewed={skewed} />
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

/** Finds the row of a span by binary search; −1 if an ancestor is folded. */
function rowOf(shown: Int32Array, span: number): number {
  let low = 0
  let high = shown.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    if (shown[middle] === span) return middle
    if (shown[middle]! < span) low = middle + 1
    else high = middle - 1
  }
  return -1
}

/** Returns what a key does from the selected span, following the ARIA authoring practices for trees. */
function moveOf(key: string, shown: Int32Array, tree: Tree, folded: ReadonlySet<number>, selected: number) {
  const row = selected === -1 ? -1 : rowOf(shown, selected)
  const at = (row: number) => ({ to: shown[Math.min(Math.max(row, 0), shown.length - 1)]!, fold: undefined })
  switch (key) {
    case 'ArrowDown':
      return at(row + 1)
    case 'ArrowUp':
      return at(row - 1)
    case 'PageDown':
      return at(row + 20)
    case 'PageUp':
      return at(row - 20)
    case 'Home':
      return at(0)
    case 'End':
      return at(shown.length - 1)
    case 'ArrowRight':
      if (selected === -1 || tree.childCount[selected] === 0) return undefined
      return folded.has(selected) ? { fold: selected, to: undefined } : at(row + 1)
    case 'ArrowLeft': {
      if (selected === -1) return undefined
      if (tree.childCount[selected]! > 0 && !folded.has(selected)) return { fold: selected, to: undefined }
      const parent = tree.parent[selected]!
      return parent === -1 ? undefined : { to: parent, fold: undefined }
    }
    case 'Escape':
      return { to: -1, fold: undefined }
    default:
      return undefined
  }
}
