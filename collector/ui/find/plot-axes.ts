import type { TraceSummary } from '../../src/trace'

/** What the plot draws and how its axes are labeled. A sender's clock may be wrong by years, and one such trace must not squeeze the others. */
export interface Drawn {
  /** Traces with a time and a duration, sorted by start. */
  points: TraceSummary[]
  /** How many traces are so far away that, with them, the others would become one dot. */
  far: number
}

const MONTH_US = 30 * 86_400e6
/** Powers of ten between durations. */
const DECADES = 6

/** @param all whether to draw the traces that are far from the others too */
export function drawn(traces: TraceSummary[], all: boolean): Drawn {
  const placed = traces.filter(({ start, duration }) => start !== null && duration !== null)
  const isFarInTime = farFrom(
    placed.map(({ start }) => start!),
    MONTH_US,
  )
  const isFarInLength = farFrom(
    placed.map(({ duration }) => Math.log10(Math.max(1, duration!))),
    DECADES,
  )
  const near = placed.filter(
    ({ start, duration }) => !isFarInTime(start!) && !isFarInLength(Math.log10(Math.max(1, duration!))),
  )
  const points = (all ? placed : near).sort((a, b) => a.start! - b.start!)
  return { points, far: placed.length - near.length }
}

/** Tells whether a value is far from the median: by more than `least`, and by more than fifty times the median distance. */
function farFrom(values: number[], least: number): (value: number) => boolean {
  const middle = median(values)
  const limit = Math.max(least, 50 * median(values.map(value => Math.abs(value - middle))))
  // Of two values, either could be the outlier.
  return value => values.length > 2 && Math.abs(value - middle) > limit
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

/** Ticks of a logarithmic axis in microseconds: 1, 2, 5, 10, …; for wide ranges only powers of ten, or some of them. */
export function durationSplits(min: number, max: number): number[] {
  const decades = Math.log10(max / min)
  const steps = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5]
  const factor = 10 ** Math.max(1, Math.ceil(decades / 8))
  const all: number[] = []
  for (let power = 10 ** Math.floor(Math.log10(Math.max(min, 1))); power <= max; power *= factor) {
    for (const step of steps) if (step * power >= min && step * power <= max) all.push(step * power)
  }
  return all
}
