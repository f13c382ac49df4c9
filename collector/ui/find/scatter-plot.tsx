import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { OverviewAnswer } from '../../src/http/answers'
import { durationLabels, formatDuration, type TraceSummary } from '../../src/trace'
import { chartStyle } from '../parts/colors'
import { counted } from '../parts/count'
import { shortLocalTime } from '../parts/time'
import { timeAxis } from '../parts/time-labels'
import { navigate } from '../shell/address'
import { followWidth } from '../shell/follow-width'
import { traceHref } from '../shell/route'
import { useShownTheme } from '../shell/theme'
import type { Box } from './difference/difference-address'
import { AXIS_PX, durationSplits, TIME_AXIS_PX, type Times } from './plot-axes'

const HEIGHT_PX = 176
const NEAR_PX = 14

interface Props {
  /** Traces with a start and a duration. */
  points: TraceSummary[]
  buckets: OverviewAnswer['buckets']
  step: number
  times: Times
  /** What the bands are about: "calls" or "traces". */
  what: string
  /** Returns the address of a search within a box. */
  searchOf(box: Box): string
  /** Returns the address of a comparison of a box's traces with the others. */
  differenceOf(box: Box): string
}

/**
 * Plots durations by start time, over a band from the median to p95. A click opens a trace; dragging a box selects the traces within it.
 * Forms take the same ranges.
 */
export function ScatterPlot({ points, buckets, step, times, what, searchOf, differenceOf }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const theme = useShownTheme()
  const [pointed, setPointed] = useState<{ trace: TraceSummary; left: number; top: number } | null>(null)
  const [drawnBox, setDrawnBox] = useState<Box | null>(null)
  const shown = useRef<uPlot | null>(null)
  useEffect(() => {
    const plot = new uPlot(
      optionsFor(
        { points, buckets, step, times, width: box.current!.clientWidth, ...chartStyle() },
        {
          brush: setDrawnBox,
          point: (trace, left, top) => setPointed(trace === null ? null : { trace, left, top }),
        },
      ),
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
  }, [points, buckets, times, theme])
  const hasBand = buckets.some(({ p50 }) => p50 !== null)
  return (
    <div class="scatter">
      <div class="plot-key">
        <span class="key">
          <span class="swatch dot" />a trace
        </span>
        <span class="key">
          <span class="swatch dot failed" />a failed one
        </span>
        {hasBand && (
          <span class="key">
            <span class="swatch band" />
            median to p95 of {what}
          </span>
        )}
      </div>
      <div class="plot-area">
        <div
          class="plot"
          ref={box}
          role="img"
          aria-label="Durations of traces by start time"
          style={{ height: `${HEIGHT_PX}px` }}
        />
        {pointed && (
          <div
            class="plot-tip"
            data-side={pointed.left > box.current!.clientWidth / 2 ? 'left' : 'right'}
            style={{ left: `${pointed.left}px`, top: `${pointed.top}px` }}
          >
            <strong>{pointed.trace.name || 'no name'}</strong> {formatDuration(pointed.trace.duration)} ·{' '}
            {shortLocalTime(pointed.trace.start!)}
            {pointed.trace.kept !== undefined &&
              ` · kept${pointed.trace.kept.length > 0 ? ': ' : ''}${pointed.trace.kept.join(', ').slice(0, 100)}`}
            {pointed.trace.error && <span class="tip-failure">{failureText(pointed.trace)}</span>}
          </div>
        )}
      </div>
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
    </div>
  )
}

function failureText({ failure }: TraceSummary): string {
  const said = [failure?.type, failure?.message].filter(Boolean).join(': ')
  return said === '' ? 'failed' : said.slice(0, 160)
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

interface Drawn extends ReturnType<typeof chartStyle> {
  points: TraceSummary[]
  buckets: OverviewAnswer['buckets']
  step: number
  times: Times
  width: number
}

function optionsFor(drawing: Drawn, { brush, point }: Handlers): uPlot.Options {
  const { points, buckets, times, width, color, axis } = drawing
  const near = (plot: uPlot, left: number, top: number) => nearest(plot, points, left, top)
  const series = (stroke: string): uPlot.Series => ({
    paths: () => null,
    points: { show: true, size: 8, width: 1, stroke, fill: `color-mix(in srgb, ${stroke} 45%, transparent)` },
  })
  const durations = points.map(({ duration }) => duration!)
  for (const { p50, p95 } of buckets) durations.push(...[p50, p95].filter(us => us !== null))
  const ends = durations.reduce(([min, max], us) => [Math.min(min, us), Math.max(max, us)], [Infinity, 1])
  return {
    width,
    height: HEIGHT_PX,
    padding: [6, 8, 0, 0],
    legend: { show: false },
    cursor: { points: { show: false }, x: false, y: false, drag: { x: true, y: true, setScale: false } },
    scales: {
      x: { range: [times.from / 1e6, times.to / 1e6] },
      y: { distr: 3, range: [Math.max(1, ends[0]!) / 1.6, ends[1]! * 1.6] },
    },
    axes: [
      { ...axis, size: TIME_AXIS_PX, ...timeAxis() },
      {
        ...axis,
        size: AXIS_PX,
        splits: (_plot, _axis, min, max) => durationSplits(min, max),
        values: (_plot, values) => durationLabels(values),
        filter: (_plot, values) => values,
      },
    ],
    series: [{}, series(color('accent')), series(color('high'))],
    hooks: {
      drawAxes: [plot => drawBand(plot, drawing)],
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

/** A step for each bucket that has durations: from their median to p95. */
function drawBand(plot: uPlot, { buckets, step, color }: Drawn): void {
  const { ctx, bbox } = plot
  ctx.save()
  ctx.beginPath()
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
  ctx.clip()
  for (const { time, p50, p95 } of buckets) {
    if (p50 === null) continue
    const [left, right] = [time, time + step].map(us => plot.valToPos(us / 1e6, 'x', true)) as [number, number]
    const [low, high] = [p50, p95 ?? p50].map(us => plot.valToPos(Math.max(1, us), 'y', true)) as [number, number]
    ctx.fillStyle = `color-mix(in srgb, ${color('quiet')} 16%, transparent)`
    ctx.fillRect(left, high, right - left, low - high)
    ctx.fillStyle = color('quiet')
    ctx.fillRect(left, low - devicePixelRatio / 2, right - left, 1.5 * devicePixelRatio)
  }
  ctx.restore()
}
