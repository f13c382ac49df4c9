import { useMemo, useState } from 'preact/hooks'
import type { Estimate, Figures, SeriesAnswer } from '../../src/http/answers'
import { printTime } from '../../src/query'
import { durationLabels } from '../../src/trace'
import { type Told, tellDuration, tellRate, tellShare } from '../parts/estimate'
import { shortLocalTime } from '../parts/time'
import { TimeStamp } from '../parts/time-stamp'
import { pickRange } from '../range/pick-range'
import { absolute, type TimeRange, type Window, windowOf, withRange } from '../range/range'
import { type ChartPoint, type Line, type Mark, TimeChart } from './time-chart'
import { Duration, Rate, Share } from './told'

interface Props {
  series: Pick<SeriesAnswer, 'from' | 'to' | 'step'> & { points: SeriesFigures[] }
  range: TimeRange
  /** The service that a comparison is to be limited to; empty for all. */
  service: string
  /** The same series of the time before, if it is known. */
  earlier?: Pick<SeriesAnswer, 'from' | 'to' | 'step'> & { points: SeriesFigures[] }
  /** The moment of a comparison, or when versions were first seen. */
  marks?: Mark[]
  /** What a click on a moment does, rather than to offer a comparison. */
  onMoment?(us: number): void
}

/** A step's figures. */
export type SeriesFigures = { time: number } & Pick<Figures, 'calls' | 'errorShare'> &
  Partial<Pick<Figures, 'p50' | 'p95' | 'p99'>>

/** Charts the rate, the share of failures and the latency. Dragging zooms, and a click picks a moment to compare what was before and after it. */
export function SeriesCharts({ series, earlier, range, service, marks = [], onMoment }: Props) {
  const [moment, setMoment] = useState<number | null>(null)
  const [open, setOpen] = useState(false)
  const { from, to } = series
  const charts = useMemo(() => chartsOf(series, earlier), [series, earlier])
  const pick = (us: number) => (onMoment ?? setMoment)(Math.round(us / 1e6) * 1e6)
  const common = {
    ...{ steps: charts.steps, from, to },
    marks: moment === null || onMoment !== undefined ? marks : [...marks, { us: moment }],
    earlierTitle: earlier && lengthTitle(windowOf(range)),
    onRange: (window: Window) => pickRange(absolute(window)),
    onMoment: pick,
  }
  return (
    <section class="charts" aria-label="Over time">
      <TimeChart {...common} title="Rate" heightPx={170} least={0} {...charts.rate} />
      <TimeChart {...common} title="Failed" heightPx={170} least={0.01} {...charts.failed} />
      {charts.latency && (
        <div class="wide">
          <TimeChart {...common} title="Latency" heightPx={220} least={0} {...charts.latency} />
        </div>
      )}
      <p class="hint wide">
        Bands show 95% intervals. A value without a band is exact, or too little was sampled to give one.{' '}
        {earlier && 'The pale lines are the time before. '}Drag to zoom, click to pick a moment.{' '}
        {moment !== null && onMoment === undefined && (
          <a href={withRange('changes', range, { moment: printTime({ atUs: moment }), service })}>
            What changed at {shortLocalTime(moment)}?
          </a>
        )}
      </p>
      <details class="wide" onToggle={event => setOpen(event.currentTarget.open)}>
        <summary>The same as a table</summary>
        {open && <Numbers series={series} steps={charts.steps} />}
      </details>
    </section>
  )
}

/** "the hour before", "the 6 h before" */
function lengthTitle({ from, to }: Window): string {
  const hours = (to - from) / 3600e6
  if (Math.abs(hours - 1) < 0.02) return 'the hour before'
  if (Math.abs(hours - 24) < 0.5) return 'the day before'
  if (Math.abs(hours - 168) < 2) return 'the week before'
  const text =
    hours < 1
      ? `${Math.round(60 * hours)} min`
      : hours < 48
        ? `${Math.round(hours)} h`
        : `${Math.round(hours / 24)} days`
  return `the ${text} before`
}

/** Returns the time before a series, from which the same number of the same steps is known. */
export function earlierRange({ from, to, step }: Pick<SeriesAnswer, 'from' | 'to' | 'step'>): Window {
  const by = Math.ceil((to - from) / step) * step
  return { from: from - by, to: to - by }
}

function chartsOf({ from, to, step, points }: Props['series'], earlier: Props['earlier']) {
  const byTime = new Map(points.map(point => [point.time, point]))
  const times: number[] = []
  for (let time = Math.floor(from / step) * step; time < to; time += step) times.push(time)
  // A series may have its steps in another phase.
  const known = times.some(time => byTime.has(time)) ? times : points.map(({ time }) => time)
  // The first and the last step may be only partly in the range.
  const steps = known.map(time => ({ from: Math.max(from, time), to: Math.min(to, time + step) }))
  // Older times may be known in longer steps only, which can't be laid over these.
  const before = earlier?.step === step ? new Map(earlier.points.map(point => [point.time, point])) : undefined
  const by = Math.ceil((to - from) / step) * step
  const line = (
    label: string,
    color: string,
    get: (point: SeriesFigures) => Estimate | null,
    tellIt: (estimate: Estimate, us: number) => Told,
    { perSecond = false, withEarlier = true } = {},
  ): Line => {
    const pointOf = (point: SeriesFigures | undefined, us: number): ChartPoint | null => {
      const estimate = point === undefined ? null : get(point)
      if (estimate === null) return null
      const by = perSecond ? us / 1e6 : 1
      const { value, low, high } = estimate
      return {
        value: value / by,
        low: low === null ? null : low / by,
        high: high === null ? null : high / by,
        told: tellIt(estimate, us),
      }
    }
    return {
      ...{ label, color },
      points: known.map((time, i) => pointOf(byTime.get(time), steps[i]!.to - steps[i]!.from)),
      ...(before &&
        withEarlier && {
          earlier: known.map(time => {
            const [begin, end] = [Math.max(earlier!.from, time - by), Math.min(earlier!.to, time - by + step)]
            return pointOf(before.get(time - by), end - begin)
          }),
        }),
    }
  }
  // Three lines and three pale ones would be a tangle: what most watch is compared.
  const latency = (label: string, color: string, key: 'p50' | 'p95' | 'p99') =>
    line(label, color, point => point[key] ?? null, tellDuration, { withEarlier: key === 'p95' })
  return {
    steps,
    rate: { lines: [line('Rate', 'accent', ({ calls }) => calls, tellRate, { perSecond: true })], labels: rateLabels },
    failed: { lines: [line('Failed', 'high', ({ errorShare }) => errorShare, tellShare)], labels: shareLabels },
    latency: points.some(({ p50 }) => p50) && {
      lines: [latency('Median', 's0', 'p50'), latency('p95', 's1', 'p95'), latency('p99', 's2', 'p99')],
      labels: durationLabels,
    },
  }
}

function rateLabels(perSecond: number[]): string[] {
  const largest = perSecond.at(-1) ?? 0
  const [unit, by] = largest >= 1 ? ['s', 1] : largest >= 1 / 60 ? ['min', 60] : ['h', 3600]
  return perSecond.map(value => `${Number((value * by).toPrecision(4)).toLocaleString('en-US')}/${unit}`)
}

function shareLabels(shares: number[]): string[] {
  return shares.map(share => `${Number((100 * share).toPrecision(4))}%`)
}

function Numbers({ series: { points }, steps }: { series: Props['series']; steps: Window[] }) {
  const lengths = new Map(steps.map(({ from, to }) => [from, to - from]))
  const longest = Math.max(1, ...lengths.values())
  const withLatency = points.some(({ p50 }) => p50)
  return (
    <div class="table-box">
      <table class="table">
        <caption>Figures over time</caption>
        <thead>
          <tr>
            {['From', 'Rate', 'Failed', ...(withLatency ? ['Median', 'p95', 'p99'] : [])].map(title => (
              <th key={title} scope="col" class={title === 'From' ? undefined : 'number'}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {points.map(({ time, calls, errorShare, p50 = null, p95 = null, p99 = null }) => (
            <tr key={time}>
              <td>
                <TimeStamp us={time} short />
              </td>
              <td class="number">
                <Rate calls={calls} us={lengths.get(time) ?? longest} />
              </td>
              <td class="number">
                <Share share={errorShare} />
              </td>
              {withLatency &&
                [p50, p95, p99].map((us, i) => (
                  <td key={i} class="number">
                    <Duration us={us} />
                  </td>
                ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
