import 'uplot/dist/uPlot.min.css'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { durationLabels, formatDuration, type TraceSummary } from '../../src/trace'
import { counted } from '../parts/count'
import { shortLocalTime } from '../parts/time'
import { timeLabels } from '../parts/time-labels'
import { navigate } from '../shell/address'
import { followWidth } from '../shell/follow-width'
import { traceHref } from '../shell/route'
import { useShownTheme } from '../shell/theme'
import type { Box } from './difference/difference-address'
import { drawn, durationSplits } from './plot-axes'

const HEIGHT_PX = 170
const NEAR_PX = 14

interface Props {
  traces: TraceSummary[]
  /** Returns the address of a search within a box. */
  searchOf(box: Box): string
  /** Returns the address of a comparison of a box's traces with the others. */
  differenceOf(box: Box): string
}

/**
 * Plots durations by start time. A click opens a trace; dragging a box selects the traces within it. The list below shows the same
 * data as text, and forms take the same ranges.
 */
export function ScatterPlot({ traces, searchOf, differenceOf }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const theme = useShownTheme()
  const [pointed, setPointed] = useState<{ trace: TraceSummary; left: number; top: number } | null>(null)
  const [all, setAll] = useState(false)
  const { points, far } = useMemo(() => drawn(traces, all), [traces, all])
  const [drawnBox, setDrawnBox] = useState<Box | null>(null)
  const shown = useRef<uPlot | null>(null)
  useEffect(() => {
    if (points.length === 0) return
    const style = getComputedStyle(document.documentElement)
    const color = (name: string) => style.getPropertyValue(`--${name}`)
    const plot = new uPlot(
      optionsFor(points, box.current!.clientWidth, color, {
        brush: setDrawnBox,
        point: (trace, left, top) => setPointed(trace === null ? null : { trace, left, top }),
      }),
      dataOf(points),
      box.current!,
    )
    shown.current = plot
    const endFollowing = followWidth(plot, box.current!, HEIGHT_PX)
    return () => {
      endFollowing()
      plot.destroy()
      shown.current = null
      setPointed(null)
      setDrawnBox(null)
    }
  }, [points, theme])
  if (points.length === 0) return null
  return (
    <figure class="scatter">
      <div class="plot" ref={box} role="img" aria-label="Durations of the traces below by start time" />
      {pointed && (
        <div class="plot-tip" style={{ left: `${pointed.left}px`, top: `${pointed.top}px` }}>
          <strong>{pointed.trace.name || 'no name'}</strong> {formatDuration(pointed.trace.duration)}
          {pointed.trace.error && ', with errors'} · {shortLocalTime(pointed.trace.start!)}
        </div>
      )}
      <div role="status" class="plot-box">
        {drawnBox && (
          <>
            <strong>{counted(points.filter(point => isWithin(point, drawnBox)).length, 'trace')} in the box:</strong>
            <a href={differenceOf(drawnBox)}>What is different?</a>
            <a href={searchOf(drawnBox)}>Search within the box</a>
            <button
              type="button"
              class="link"
              onClick={() => {
                shown.current?.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
                setDrawnBox(null)
              }}
            >
              Clear
            </button>
          </>
        )}
      </div>
      <figcaption class="hint">
        Click a point to open its trace; drag a box to search within it, or to see what is different about its traces.
        {far > 0 && (
          <>
            {' '}
            {far === 1 ? 'One trace is' : `${far.toLocaleString()} traces are`} far from the others in time or duration
            {all ? '. ' : ` and ${far === 1 ? "isn't" : "aren't"} drawn. `}
            <button type="button" class="link" onClick={() => setAll(!all)}>
              {all ? 'Leave them out' : 'Draw all'}
            </button>
          </>
        )}
      </figcaption>
    </figure>
  )
}

/** Returns times in seconds, then durations of traces without errors and with errors. A logarithm has no zero: durations begin at a microsecond. */
function dataOf(points: TraceSummary[]): uPlot.AlignedData {
  const duration = (trace: TraceSummary) => Math.max(1, trace.duration!)
  return [
    points.map(({ start }) => start! / 1e6),
    points.map(trace => (trace.error ? null : duration(trace))),
    points.map(trace => (trace.error ? duration(trace) : null)),
  ]
}

/** Whether a trace is drawn within a box. */
function isWithin({ start, duration }: TraceSummary, { times, durations }: Box): boolean {
  const us = Math.max(1, duration!)
  return start! >= times[0] && start! <= times[1] && us >= durations[0] && us <= durations[1]
}

interface Handlers {
  /** Called with a box that was drawn, or null when another one is begun. */
  brush(box: Box | null): void
  point(trace: TraceSummary | null, left: number, top: number): void
}

function optionsFor(
  points: TraceSummary[],
  width: number,
  color: (name: string) => string,
  { brush, point }: Handlers,
): uPlot.Options {
  const near = (plot: uPlot, left: number, top: number) => nearest(plot, points, left, top)
  const series = (stroke: string): uPlot.Series => ({
    paths: () => null,
    points: { show: true, size: 9, width: 1, stroke, fill: `color-mix(in srgb, ${stroke} 45%, transparent)` },
  })
  const axis = { stroke: color('quiet'), grid: { stroke: color('line'), width: 1 }, ticks: { show: false } }
  const [from, to] = [points[0]!.start! / 1e6, points.at(-1)!.start! / 1e6]
  const room = Math.max((to - from) * 0.03, 0.5)
  return {
    width,
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { points: { show: false }, x: false, y: false, drag: { x: true, y: true, setScale: false } },
    scales: {
      x: { range: [from - room, to + room] },
      y: { distr: 3, range: (_plot, min, max) => [(min ?? 1) / 1.6, (max ?? 1) * 1.6] },
    },
    axes: [
      { ...axis, values: (_plot, values) => timeLabels(values) },
      {
        ...axis,
        size: 66,
        splits: (_plot, _axis, min, max) => durationSplits(min, max),
        values: (_plot, values) => durationLabels(values),
        filter: (_plot, values) => values,
      },
    ],
    series: [{}, series(color('accent')), series(color('high'))],
    hooks: {
      setCursor: [
        plot => {
          const { left = -1, top = -1 } = plot.cursor
          const trace = near(plot, left, top)
          plot.over.classList.toggle('on-point', trace !== null)
          const box = plot.over.getBoundingClientRect()
          const outer = plot.root.getBoundingClientRect()
          point(trace, left + box.left - outer.left, top + box.top - outer.top)
        },
      ],
      setSelect: [
        plot => {
          const { left, top, width, height } = plot.select
          if (width < 6 && height < 6) return
          const time = (px: number) =>
            Math.min(Math.max(0, Math.round(plot.posToVal(px, 'x') * 1e6)), Number.MAX_SAFE_INTEGER)
          const duration = (px: number) => Math.max(0, Math.round(plot.posToVal(px, 'y')))
          brush({
            times: [time(left), time(left + width)],
            durations: [duration(top + height), duration(top)],
          })
        },
      ],
      ready: [
        plot => {
          let down = { x: 0, y: 0 }
          plot.over.addEventListener('mousedown', event => {
            down = { x: event.clientX, y: event.clientY }
            brush(null)
          })
          plot.over.addEventListener('click', event => {
            if (Math.hypot(event.clientX - down.x, event.clientY - down.y) >= 6) return
            const { left, top } = plot.over.getBoundingClientRect()
            const trace = near(plot, event.clientX - left, event.clientY - top)
            if (trace !== null) navigate(traceHref(trace.traceId))
          })
        },
      ],
    },
  }
}

function nearest(plot: uPlot, points: TraceSummary[], left: number, top: number): TraceSummary | null {
  let best: TraceSummary | null = null
  let distance = NEAR_PX
  for (const trace of points) {
    const dx = plot.valToPos(trace.start! / 1e6, 'x') - left
    const dy = plot.valToPos(Math.max(1, trace.duration!), 'y') - top
    if (Math.hypot(dx, dy) >= distance) continue
    distance = Math.hypot(dx, dy)
    best = trace
  }
  return best
}
