import 'uplot/dist/uPlot.min.css'
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { chartStyle } from '../parts/colors'
import type { Told } from '../parts/estimate'
import { localTime } from '../parts/time'
import { timeAxis } from '../parts/time-labels'
import type { Window } from '../range/range'
import { followWidth } from '../shell/follow-width'
import { useShownTheme } from '../shell/theme'

export interface Line {
  label: string
  /** The name of a color in the style sheet. */
  color: string
  points: (ChartPoint | null)[]
  /** The same of an earlier time, drawn pale. */
  earlier?: (ChartPoint | null)[]
}

/** A moment to mark with a vertical line. */
export interface Mark {
  /** Microseconds. */
  us: number
  label?: string
}

/** A value in the chart's unit, the interval in which it is, and its words. */
export interface ChartPoint {
  value: number
  low: number | null
  high: number | null
  told: Told
}

interface Props extends Window {
  title: string
  /** When each step began and ended, in microseconds. */
  steps: Window[]
  lines: Line[]
  /** Labels of the vertical axis. */
  labels(values: number[]): string[]
  /** The least upper end of the vertical axis. */
  least: number
  heightPx: number
  marks?: Mark[]
  /** What the pale lines are: "the hour before". */
  earlierTitle?: string | undefined
  /** A range was dragged over. */
  onRange(window: Window): void
  /** A moment was clicked. */
  onMoment(us: number): void
}

/** Charts that show the same steps have one cursor. */
const SYNC = 'services'
const AXIS_PX = 62

/** Lines over time with bands: where each value is with a probability of 95%. Steps of which nothing is known are gaps. */
export function TimeChart(props: Props) {
  const { title, steps, lines, from, to, labels, least, heightPx, marks = [], earlierTitle } = props
  const box = useRef<HTMLDivElement>(null)
  const theme = useShownTheme()
  const [at, setAt] = useState<number | null>(null)
  const handlers = useRef(props)
  handlers.current = props
  useEffect(() => {
    const { color, axis } = chartStyle()
    const edge: uPlot.Series = { stroke: 'transparent', points: { show: false } }
    const plot = new uPlot(
      {
        width: box.current!.clientWidth,
        height: heightPx,
        legend: { show: false },
        cursor: {
          y: false,
          points: { size: 7 },
          drag: { x: true, y: false, setScale: false },
          sync: { key: SYNC, filters: { pub: type => type !== 'mousedown' && type !== 'mouseup', sub: () => true } },
        },
        scales: {
          x: { range: [from / 1e6, to / 1e6] },
          y: { range: () => [0, top(lines, least)] },
        },
        axes: [
          { ...axis, size: 30, ...timeAxis() },
          { ...axis, size: AXIS_PX, space: 36, values: (_plot, values) => labels(values) },
        ],
        series: [
          {},
          ...lines.flatMap(({ label, color: name }): uPlot.Series[] => [
            { label, stroke: color(name), width: 2, points: { show: true, size: 4, filter: lonePoints } },
            edge,
            edge,
          ]),
          // The last ones, so that the bands keep their numbers. Series that come first are drawn first, but a pale line hides little.
          ...lines.flatMap(({ color: name, earlier }): uPlot.Series[] =>
            earlier === undefined
              ? []
              : [{ stroke: pale(color(name)), width: 1.5, points: { show: true, size: 3, filter: lonePoints } }],
          ),
        ],
        bands: lines.map(({ color: name }, i) => ({
          series: [3 * i + 3, 3 * i + 2],
          fill: `color-mix(in srgb, ${color(name)} 20%, transparent)`,
        })),
        hooks: {
          setCursor: [plot => setAt(plot.cursor.idx ?? null)],
          setSelect: [
            plot => {
              const { left, width } = plot.select
              if (width < 6) return
              const us = (px: number) => Math.round(plot.posToVal(px, 'x') * 1e6)
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
              handlers.current.onRange({ from: us(left), to: us(left + width) })
            },
          ],
          draw: [plot => drawMarks(plot, marks, color('ink'), color('surface'))],
          ready: [plot => watchClicks(plot, us => handlers.current.onMoment(us))],
        },
      },
      dataOf(steps, lines),
      box.current!,
    )
    const endFollowing = followWidth(plot, box.current!, heightPx)
    return () => {
      endFollowing()
      plot.destroy()
      setAt(null)
    }
  }, [steps, lines, from, to, theme, heightPx, least, JSON.stringify(marks)])
  const step = at === null ? undefined : steps[at]
  return (
    <figure class="time-chart">
      <figcaption>
        <strong>{title}</strong>
        {lines.length > 1 &&
          lines.map(({ label, color }) => (
            <span key={label} class="key">
              <span class="swatch" style={{ background: `var(--${color})` }} />
              {label}
            </span>
          ))}
        {lines
          .filter(({ earlier }) => earlier !== undefined)
          .map(({ label, color }) => (
            <span key={label} class="key">
              <span class="swatch" style={{ background: pale(`var(--${color})`) }} />
              {lines.length > 1 && `${label}, `}
              {earlierTitle}
            </span>
          ))}
      </figcaption>
      <div class="plot" ref={box} role="img" aria-label={`${title} over time`} style={{ height: `${heightPx}px` }} />
      <p class="pointed" aria-hidden="true">
        {step && at !== null && (
          <>
            {localTime(step.from).replace(/(:00)?\.\d+$/, '')}
            {lines.map(({ label, points, earlier }) => (
              <span key={label} class="key">
                {lines.length > 1 && `${label} `}
                {points[at]?.told.text ?? 'unknown'}
                {points[at]?.told.margin && ` ${points[at].told.margin}`}
                {earlier?.[at] && `, before ${earlier[at].told.text}`}
              </span>
            ))}
          </>
        )}
      </p>
    </figure>
  )
}

function pale(color: string): string {
  return `color-mix(in srgb, ${color} 38%, transparent)`
}

/** The middles of the steps in seconds; then each line's values, and both edges of its band; then what was earlier. */
function dataOf(steps: Window[], lines: Line[]): uPlot.AlignedData {
  return [
    steps.map(({ from, to }) => (from + to) / 2e6),
    ...lines.flatMap(({ points }) => [
      points.map(point => point?.value ?? null),
      // A band has both edges, or none.
      points.map(point => (point?.high == null ? null : point.low)),
      points.map(point => (point?.low == null ? null : point.high)),
    ]),
    ...lines.flatMap(({ earlier }) => (earlier === undefined ? [] : [earlier.map(point => point?.value ?? null)])),
  ] as uPlot.AlignedData
}

/** Has room for all values, and for the bands unless they are so wide that the lines would be flat. */
function top(lines: Line[], least: number): number {
  let [value, high] = [0, 0]
  for (const { points, earlier = [] } of lines) {
    for (const point of points) {
      if (point === null) continue
      value = Math.max(value, point.value)
      high = Math.max(high, point.high ?? 0)
    }
    for (const point of earlier) value = Math.max(value, point?.value ?? 0)
  }
  return Math.max(least, 1.08 * Math.max(value, Math.min(high, Math.max(2.5 * value, 5 * least))))
}

/** Draws points only where they have no neighbors to which a line would lead. */
function lonePoints(plot: uPlot, series: number): number[] {
  const values = plot.data[series]!
  const lone = [...values.keys()].filter(i => values[i] != null && values[i - 1] == null && values[i + 1] == null)
  return lone
}

const LABEL_PX = 10

/** Labels stand at the top, beside their lines, in a second row where the one to the left would cover them, or not at all. */
function drawMarks(plot: uPlot, marks: Mark[], ink: string, paper: string): void {
  const { ctx, bbox } = plot
  const ratio = devicePixelRatio
  const ends = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
  ctx.save()
  ctx.lineWidth = ratio
  ctx.font = `${LABEL_PX * ratio}px system-ui, sans-serif`
  ctx.textBaseline = 'top'
  ctx.textAlign = 'left'
  for (const { us, label } of [...marks].sort((a, b) => a.us - b.us)) {
    const x = plot.valToPos(us / 1e6, 'x', true)
    if (x < bbox.left || x > bbox.left + bbox.width) continue
    ctx.strokeStyle = ink
    ctx.setLineDash(label === undefined ? [4 * ratio, 3 * ratio] : [])
    ctx.beginPath()
    ctx.moveTo(x, bbox.top)
    ctx.lineTo(x, bbox.top + bbox.height)
    ctx.stroke()
    if (label === undefined) continue
    const text = label.length > 16 ? `${label.slice(0, 15)}…` : label
    const width = ctx.measureText(text).width
    const gap = 3 * ratio
    // At the right edge it stands to the left.
    const left = x + gap + width > bbox.left + bbox.width ? x - gap - width : x + gap
    const row = ends.findIndex(end => end + gap < left)
    if (row === -1) continue
    ends[row] = left + width
    const top = bbox.top + row * (LABEL_PX + 3) * ratio
    ctx.fillStyle = paper
    ctx.fillRect(left - ratio, top, width + 2 * ratio, (LABEL_PX + 2) * ratio)
    ctx.fillStyle = ink
    ctx.fillText(text, left, top + ratio)
  }
  ctx.restore()
}

function watchClicks(plot: uPlot, onMoment: (us: number) => void): void {
  let down = { x: 0, y: 0 }
  plot.over.addEventListener('mousedown', event => {
    down = { x: event.clientX, y: event.clientY }
  })
  plot.over.addEventListener('click', event => {
    if (Math.hypot(event.clientX - down.x, event.clientY - down.y) >= 6) return
    onMoment(Math.round(plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x') * 1e6))
  })
}
