import type { OverviewAnswer } from '../../src/http/answers'
import type { TraceSummary } from '../../src/trace'

/** What the plots draw and how their axes are labeled. A sender's clock may be wrong by years, and one such trace must not squeeze the others. */
export interface Drawn {
  /** Traces with a time and a duration, sorted by start. */
  points: TraceSummary[]
  /** How many traces are so far away that, with them, the others would become one dot, or began outside of the time that is drawn. */
  far: number
}

type Bucket = OverviewAnswer['buckets'][number]
/** In microseconds since the epoch. */
export interface Times {
  from: number
  to: number
}

/** Both plots have room for the same labels, so that what is at one time is in one column. */
export const AXIS_PX = 58
export const TIME_AXIS_PX = 24

const MONTH_US = 30 * 86_400e6
/** Powers of ten between durations. */
const DECADES = 6

/**
 * @param all whether to draw the traces that are far from the others too
 * @param within the time that is drawn
 */
export function drawn(traces: TraceSummary[], all: boolean, within?: Times): Drawn {
  const placed = traces.filter(({ start, duration }) => start !== null && duration !== null)
  const isFarInTime = farFrom(
    placed.map(({ start }) => start!),
    MONTH_US,
  )
  const isFarInLength = farFrom(
    placed.map(({ duration }) => Math.log10(Math.max(1, duration!))),
    DECADES,
  )
  const isOutside = (us: number) => within !== undefined && (us < within.from || us > within.to)
  const near = placed.filter(
    ({ start, duration }) =>
      !isFarInTime(start!) && !isOutside(start!) && !isFarInLength(Math.log10(Math.max(1, duration!))),
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

/** What is left free at both ends, as a share: points at the edges show whole. */
const ROOM = 0.01

/** The time that the plots show: the search's own; without one, from the first bucket that isn't empty to the last. */
export function timesOf({ buckets, step, from, to }: OverviewAnswer, isAsked: boolean): Times {
  if (isAsked) return { from, to }
  const full = buckets.filter(isFull)
  if (full.length === 0) return { from, to }
  const [first, last] = [full[0]!.time, full.at(-1)!.time + step]
  const room = (last - first) * ROOM
  return { from: first - room, to: last + room }
}

/**
 * Returns the part of the range to look at more closely: the shortest that has all traces but a few odd ones, if it is far shorter. Else
 * one trace of a clock that is off by years would make one bar of all others.
 */
export function closerLook(answer: OverviewAnswer): Closer | undefined {
  const { from, to, buckets, step, sample, complete, matching } = answer
  if (step <= LEAST_STEP_US) return undefined
  const isWhole = complete && sample.length >= matching.value && sample.every(({ start }) => start !== null)
  const parts = isWhole
    ? sample
        .map(({ start, duration }) => ({ time: start!, end: start! + (duration ?? 0) + 1, count: 1 }))
        .sort((a, b) => a.time - b.time)
    : buckets.map(({ time, traces }) => ({ time, end: time + step, count: traces.value }))
  const total = parts.reduce((sum, { count }) => sum + count, 0)
  if (total === 0) return undefined
  // Without what is empty at both ends the buckets are finer.
  const full = parts.filter(({ count }) => count > 0)
  const [begin, end] = [full[0]!.time, full.at(-1)!.end]
  if ((end - begin) * SHORTER <= to - from) return { from: begin, to: end, outside: 0 }
  const odd = Math.max(total / 100, Math.min(2, total / 10))
  const length = ([first, last]: readonly [number, number]) => parts[last]!.end - parts[first]!.time
  let best: [first: number, last: number] = [0, parts.length - 1]
  let [first, inside] = [0, 0]
  for (const [last, { count }] of parts.entries()) {
    inside += count
    while (inside - parts[first]!.count >= total - odd && first < last) inside -= parts[first++]!.count
    if (inside >= total - odd && length([first, last]) < length(best)) best = [first, last]
  }
  // What is near isn't odd.
  const room = length(best)
  const near = parts.filter(
    ({ time, end, count }) => count > 0 && end >= parts[best[0]]!.time - room && time <= parts[best[1]]!.end + room,
  )
  const [earliest, latest] = [near[0]!.time, near.at(-1)!.end]
  if ((latest - earliest) * MUCH_SHORTER > to - from) return undefined
  const kept = near.reduce((sum, { count }) => sum + count, 0)
  return { from: earliest, to: latest, outside: Math.max(0, Math.round(total - kept)) }
}

interface Closer extends Times {
  /** About how many traces are left out. */
  outside: number
}

const SHORTER = 1.5
const MUCH_SHORTER = 3
/** Buckets of a tenth of a millisecond are as narrow as one may want. */
const LEAST_STEP_US = 100

/** Whether the collector had no time to look at a bucket. */
export function isUnread({ read, complete }: Bucket): boolean {
  return read === 0 && !complete
}

export function isFull({ calls, traces }: Bucket): boolean {
  return calls.value > 0 || traces.value > 0
}

/** One bar may be this many times as high as nine out of ten others. */
const TALLEST = 6

/** Returns where the histogram ends: at its highest bar, unless one or a few would make all others a flat line. */
export function tallest(values: number[]): number {
  const sorted = values.filter(value => value > 0).sort((a, b) => a - b)
  const most = sorted.at(-1) ?? 0
  const usual = sorted[Math.floor((sorted.length - 1) * 0.9)] ?? 0
  return sorted.length >= 10 && most > TALLEST * usual ? 2 * usual : most
}

/** Labels of counts, as short as their axis is narrow: "1.2k". */
export function countLabels(counts: number[]): string[] {
  const format = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 })
  return counts.map(count => (Number.isInteger(count) || count >= 1000 ? format.format(count) : ''))
}

/** Returns a bucket's neighbors' edges that a brush touches: a search begins and ends where bars do. */
export function snapped({ from, to }: Times, { time: first }: { time: number }, step: number, limits: Times): Times {
  const edge = (us: number, round: (n: number) => number) => first + round((us - first) / step) * step
  return {
    from: Math.max(limits.from, edge(from, Math.floor)),
    to: Math.min(limits.to, edge(to, Math.ceil)),
  }
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
