import type { TraceSummary } from '../../src/trace'
import { isDate } from '../parts/time'

/** What the plot draws, and what its axes say. Senders' clocks may be wrong by ages, and one of them must not take the room of all others. */
export interface Drawn {
  /** Those with a time and a duration, in the order of their starts. */
  points: TraceSummary[]
  /** How many more are so far from the others that these would become one dot. */
  far: number
}

const MONTH_US = 30 * 86_400e6
/** Decades of durations. */
const DECADES = 6

/** @param all also those that are far from the others */
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

/** Whether a value is far from the middle of all: fifty times as far as the middle one of them, and by more than `least`. */
function farFrom(values: number[], least: number): (value: number) => boolean {
  const middle = median(values)
  const most = Math.max(least, 50 * median(values.map(value => Math.abs(value - middle))))
  // Of two, nobody can say which is the odd one.
  return value => values.length > 2 && Math.abs(value - middle) > most
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
const TIMES = (
  [
    { year: 'numeric' },
    { day: 'numeric', month: 'short', year: 'numeric' },
    { day: 'numeric', month: 'short' },
    { day: 'numeric', month: 'short', ...clock },
    clock,
    { ...clock, second: '2-digit' },
    { ...clock, second: '2-digit', fractionalSecondDigits: 3 },
  ] as const
).map(options => new Intl.DateTimeFormat(undefined, options))

/** As fine as the stretch needs, and as telling them apart takes; in the viewer's zone. @param seconds the ticks, in their order */
export function timeLabels(seconds: number[]): string[] {
  const length = (seconds.at(-1) ?? 0) - (seconds[0] ?? 0)
  const days = length / 86_400
  const first = days > 4000 ? 0 : days > 300 ? 1 : days > 3 ? 2 : days > 0.8 ? 3 : length > 900 ? 4 : 5
  const label = (form: Intl.DateTimeFormat) =>
    seconds.map(second => (isDate(second * 1e6) ? form.format(second * 1000) : ''))
  const labels = TIMES.slice(first).map(label)
  return labels.find(tried => new Set(tried).size === tried.length) ?? labels.at(-1)!
}

/** 1, 2, 5, 10, … of a logarithmic axis; powers alone where there are many, and not each of very many. Microseconds. */
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
