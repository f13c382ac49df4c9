import { useEffect, useRef } from 'preact/hooks'
import type { Trace } from '../src/trace'
import { SpanRow, spanElementId } from './span-row'
import { axisOf, TimeAxis } from './time-axis'
import { useVisibleRows } from './visible-rows'

interface Props {
  trace: Trace
  /** Index into trace.spans, or -1. */
  selected: number
  onSelect(index: number): void
}

/**
 * The trace as a tree with bars over a common time axis. To assistive technology it is one tree control: Tab reaches it, and
 * the arrow keys move the selection within.
 */
export function Waterfall({ trace, selected, onSelect }: Props) {
  const list = useRef<HTMLDivElement>(null)
  const rows = useVisibleRows(list, trace.spans.length)
  const axis = axisOf(trace)
  const { reveal } = rows
  useEffect(() => {
    if (selected !== -1) reveal(selected)
  }, [selected, reveal])

  const onKeyDown = (event: KeyboardEvent) => {
    const to = target(event.key, trace, selected)
    if (to === undefined) return
    event.preventDefault()
    onSelect(to)
  }
  const shown = selected >= rows.from && selected < rows.to ? trace.spans[selected] : undefined
  return (
    <div class="waterfall">
      <TimeAxis axis={axis} />
      <div
        class="rows"
        ref={list}
        role="tree"
        aria-label="Spans"
        tabIndex={0}
        aria-activedescendant={shown && spanElementId(shown)}
        onKeyDown={onKeyDown}
        style={{ paddingTop: `${rows.before}px`, paddingBottom: `${rows.after}px` }}
      >
        {trace.spans.slice(rows.from, rows.to).map((span, i) => (
          <SpanRow
            key={span.spanId}
            span={span}
            axis={axis}
            selected={rows.from + i === selected}
            onSelect={() => onSelect(rows.from + i === selected ? -1 : rows.from + i)}
          />
        ))}
      </div>
      <Legend />
    </div>
  )
}

/** Where a key leads from the selected row, as the ARIA authoring practices have it for trees that don't fold. */
function target(key: string, { spans }: Trace, selected: number): number | undefined {
  const last = spans.length - 1
  const depth = spans[selected]?.depth ?? 0
  switch (key) {
    case 'ArrowDown':
      return Math.min(last, selected + 1)
    case 'ArrowUp':
      return Math.max(0, selected - 1)
    case 'ArrowRight':
      return (spans[selected + 1]?.depth ?? 0) > depth ? selected + 1 : undefined
    case 'ArrowLeft': {
      for (let i = selected - 1; i >= 0; i--) if (spans[i]!.depth < depth) return i
      return undefined
    }
    case 'Home':
      return 0
    case 'End':
      return last
    case 'Escape':
      return -1
    default:
      return undefined
  }
}

function Legend() {
  return (
    <ul class="legend" aria-label="Legend">
      <li>
        <span class="swatch client" /> client half: network and waiting
      </li>
      <li>
        <span class="swatch server" /> server half, or work without a call
      </li>
      <li data-duration="low">
        <span class="swatch server" /> up to 25 ms
      </li>
      <li data-duration="medium">
        <span class="swatch server" /> over 25 ms
      </li>
      <li data-duration="high">
        <span class="swatch server" /> over 50 ms
      </li>
    </ul>
  )
}
