import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { OverviewAnswer } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { type ColorOf, chartStyle } from '../parts/colors'
import { tellCount } from '../parts/estimate'
import { localRange } from '../parts/time'
import { timeAxis } from '../parts/time-labels'
import { followWidth } from '../shell/follow-width'
import { useShownTheme } from '../shell/theme'
import { AXIS_PX, countLabels, isUnread, snapped, TIME_AXIS_PX, type Times, tallest } from './plot-axes'

interface Props {
  answer: OverviewAnswer
  times: Times
  /** What the bars count: "calls" or "traces". */
  what: string
  /** Whether it has an axis of time of its own. */
  withAxis: boolean
  onRange(times: Times): void
}

const HEIGHT_PX = 82

/** Bars of how much there was in each part of the time range, with what failed of it. Dragging over them gives a range that begins and ends where bars do. */
export function Histogram({ answer, times, what, withAxis, onRange }: Props) {
  const { buckets, step } = answer
  const box = useRef<HTMLDivElement>(null)
  const theme = useShownTheme()
  const [at, setAt] = useState<number | null>(null)
  const give = useRef(onRange)
  give.current = onRange
  const top = useMemo(() => tallest(buckets.map(({ calls }) => calls.value)), [buckets])
  const cut = buckets.filter(({ calls }) => calls.value > top)
  const height = HEIGHT_PX + (withAxis ? TIME_AXIS_PX : 0)
  useEffect(() => {
    if (buckets.length === 0) return
    const { color, axis } = chartStyle()
    const plot = new uPlot(
      {
        width: box.current!.clientWidth,
        height,
        padding: [6, 8, withAxis ? 0 : 7, 0],
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
        scales: {
          x: { range: [times.from / 1e6, times.to / 1e6] },
          y: { range: [0, Math.max(1, top * 1.05)] },
        },
        axes: [
          { ...axis, show: withAxis, size: TIME_AXIS_PX, ...timeAxis() },
          { ...axis, size: AXIS_PX, space: 24, incrs: WHOLE, values: (_plot, values) => countLabels(values) },
        ],
        series: [{}, { paths: () => null, points: { show: false } }],
        hooks: {
          draw: [plot => drawBars(plot, answer, top, color)],
          setCursor: [plot => setAt(plot.cursor.left! < 0 ? null : (plot.cursor.idx ?? null))],
          setSelect: [
            plot => {
              const { left, width } = plot.select
              if (width < 6) return
              const us = (px: number) => plot.posToVal(px, 'x') * 1e6
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
              give.current(snapped({ from: us(left), to: us(left + width) }, buckets[0]!, step, times))
            },
          ],
        },
      },
      [buckets.map(({ time }) => (time + step / 2) / 1e6), buckets.map(({ calls }) => calls.value)],
      box.current!,
    )
    const endFollowing = followWidth(plot, box.current!, height)
    return () => {
      endFollowing()
      plot.destroy()
      setAt(null)
    }
  }, [answer, times, theme, top, height])
  const total = buckets.reduce((sum, { calls }) => sum + calls.value, 0)
  const failed = buckets.reduce((sum, { errors }) => sum + errors.value, 0)
  const label = `${about(total)} ${what} over time, ${about(failed)} of them failed`
  return (
    <div class="histogram">
      <div class="plot-key">
        <span class="key">
          <span class="swatch" />
          {what}
        </span>
        <span class="key">
          <span class="swatch failed" />
          failed
        </span>
        {buckets.some(isUnread) && (
          <span class="key">
            <span class="swatch unread" />
            not read
          </span>
        )}
        {cut.length > 0 && (
          <span>
            {cut.length === 1 ? 'One bar is' : `${cut.length} bars are`} cut: the highest has{' '}
            {about(Math.max(...cut.map(({ calls }) => calls.value)))}
          </span>
        )}
      </div>
      <div class="plot" ref={box} role="img" aria-label={label} style={{ height: `${height}px` }} />
      <p class="pointed" aria-hidden="true">
        {at !== null && buckets[at] !== undefined && <Pointed bucket={buckets[at]} step={step} what={what} />}
      </p>
    </div>
  )
}

function Pointed({ bucket, step, what }: { bucket: OverviewAnswer['buckets'][number]; step: number; what: string }) {
  const { time, calls, errors, p50, p95 } = bucket
  const span = <span>{localRange(time, time + step).replace(/^.*?, (?=\d\d:)/, '')}</span>
  if (calls.value <= 0 && isUnread(bucket)) {
    return (
      <>
        {span}
        <span class="key">not read</span>
      </>
    )
  }
  const [all, failed] = [tellCount(calls), tellCount(errors)]
  return (
    <>
      {span}
      <span class="key">
        {all.text} {what} {all.margin}
      </span>
      {errors.value > 0 && (
        <span class="key failed">
          {failed.text} failed {failed.margin}
        </span>
      )}
      {p50 !== null && <span class="key">median {formatDuration(p50)}</span>}
      {p95 !== null && <span class="key">p95 {formatDuration(p95)}</span>}
    </>
  )
}

function about(count: number): string {
  return Math.round(count).toLocaleString()
}

/** Nothing is counted by halves. */
const WHOLE = Array.from({ length: 15 }, (_, power) => [1, 2, 5].map(n => n * 10 ** power)).flat()

/** What failed is drawn at the foot of its bar. Nothing that there is, is lower than two pixels. */
function drawBars(plot: uPlot, { buckets, step }: OverviewAnswer, top: number, color: ColorOf): void {
  const { ctx, bbox } = plot
  const px = devicePixelRatio
  const foot = bbox.top + bbox.height
  ctx.save()
  ctx.beginPath()
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
  ctx.clip()
  for (const bucket of buckets) {
    const { time, calls, errors } = bucket
    const left = Math.round(plot.valToPos(time / 1e6, 'x', true))
    const right = Math.round(plot.valToPos((time + step) / 1e6, 'x', true))
    const width = Math.max(px, right - left - px)
    if (calls.value <= 0) {
      ctx.fillStyle = `color-mix(in srgb, ${color('quiet')} 12%, transparent)`
      // What nobody has looked at isn't empty.
      if (isUnread(bucket)) ctx.fillRect(left, bbox.top, right - left, bbox.height)
      continue
    }
    const high = (value: number) =>
      value <= 0 ? 0 : Math.max(2 * px, foot - plot.valToPos(Math.min(value, top * 1.05), 'y', true))
    ctx.fillStyle = `color-mix(in srgb, ${color('accent')} 55%, ${color('surface')})`
    ctx.fillRect(left, foot - high(calls.value), width, high(calls.value))
    ctx.fillStyle = color('high')
    const failed = Math.min(errors.value, calls.value)
    ctx.fillRect(left, foot - high(failed), width, high(failed))
    if (calls.value > top) drawCut(ctx, left, width, bbox.top + 5 * px, color('surface'))
  }
  ctx.restore()
}

/** A slanted gap through a bar that is higher than it is drawn. */
function drawCut(ctx: CanvasRenderingContext2D, left: number, width: number, at: number, color: string): void {
  ctx.strokeStyle = color
  ctx.lineWidth = 3 * devicePixelRatio
  ctx.beginPath()
  ctx.moveTo(left - 1, at + 4 * devicePixelRatio)
  ctx.lineTo(left + width + 1, at)
  ctx.stroke()
}
