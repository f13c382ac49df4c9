interface Props {
  /** Values at times; steps without a value are gaps. */
  points: { time: number; value: number | null }[]
  from: number
  to: number
  step: number
  what: string
}

const WIDTH_PX = 90
const HEIGHT_PX = 24

/** A small line of values over time, from zero to the largest. */
export function Sparkline({ points, from, to, step, what }: Props) {
  const largest = Math.max(0, ...points.map(({ value }) => value ?? 0))
  const x = (time: number) => round((Math.max(0, time - from) / (to - from)) * WIDTH_PX)
  const y = (value: number) => round(HEIGHT_PX - 2 - (largest === 0 ? 0 : (value / largest) * (HEIGHT_PX - 4)))
  let path = ''
  let last: number | undefined
  for (const { time, value } of points) {
    if (value === null) continue
    const [left, right] = [x(time), x(Math.min(to, time + step))]
    // A line that is as long as its step: a lone value shows as well.
    path += `${last === time ? 'L' : 'M'}${left} ${y(value)}L${right} ${y(value)}`
    last = time + step
  }
  return (
    <svg class="sparkline" width={WIDTH_PX} height={HEIGHT_PX} role="img" aria-label={what}>
      <path d={path} />
    </svg>
  )
}

function round(n: number): number {
  return Math.round(n * 10) / 10
}
