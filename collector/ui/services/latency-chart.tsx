import 'uplot/dist/uPlot.min.css'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import type { EarlierServiceFigures as ServiceFigures } from '../../src/http/answers'
import { durationLabels, formatDuration } from '../../src/trace'
import { followWidth } from '../shell/follow-width'
import { useShownTheme } from '../shell/theme'

const HEIGHT_PX = 190

interface Props {
  figures: ServiceFigures
  from: number
  to: number
  step: number
}

/** Charts three percentiles of a service's durations over time. Steps without spans are gaps. */
export function LatencyChart({ figures, from, to, step }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const theme = useShownTheme()
  useEffect(() => {
    const style = getComputedStyle(document.documentElement)
    const color = (name: string) => style.getPropertyValue(`--${name}`)
    const axis = { stroke: color('quiet'), grid: { stroke: color('line'), width: 1 }, ticks: { show: false } }
    const series = (label: string, name: string): uPlot.Series => ({
      label,
      stroke: color(name),
      width: 2,
      points: { size: 5 },
      value: (_plot, value) => formatDuration(value),
    })
    const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
    const time = (seconds: number) => clock.format(new Date(seconds * 1000))
    const plot = new uPlot(
      {
        width: box.current!.clientWidth,
        height: HEIGHT_PX,
        scales: { x: { range: [from / 1e6, to / 1e6] }, y: { range: (_plot, _min, max) => [0, (max ?? 1) * 1.1] } },
        axes: [
          { ...axis, values: (_plot, values) => values.map(time) },
          { ...axis, size: 66, values: (_plot, values) => durationLabels(values) },
        ],
        series: [
          { label: 'Time', value: (_plot, value) => (value === null ? '' : time(value)) },
          series('Median', 's0'),
          series('p95', 's1'),
          series('p99', 's2'),
        ],
      },
      dataOf(figures, from, to, step),
      box.current!,
    )
    const endFollowing = followWidth(plot, box.current!, HEIGHT_PX)
    return () => {
      endFollowing()
      plot.destroy()
    }
  }, [figures, from, to, step, theme])
  return (
    <div class="latency" ref={box} role="img" aria-label={`Percentiles of ${figures.service}’s durations over time`} />
  )
}

function dataOf({ series }: ServiceFigures, from: number, to: number, step: number): uPlot.AlignedData {
  const points = new Map(series.map(point => [point.time, point]))
  const times: number[] = []
  for (let time = Math.floor(from / step) * step; time < to; time += step) times.push(time)
  const line = (key: 'p50' | 'p95' | 'p99') => times.map(time => points.get(time)?.[key] ?? null)
  return [times.map(time => time / 1e6), line('p50'), line('p95'), line('p99')]
}
