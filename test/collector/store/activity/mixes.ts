import { Counter, GROUPS, Weight } from '../../../../collector/src/store/activity/counter'
import {
  callsOf,
  type Estimate,
  errorShareOf,
  errorsOf,
  meanOf,
  quantileOf,
} from '../../../../collector/src/store/activity/estimates'
import { dice, normal } from './dice'

/** How calls of an operation are spread over traces, and how traces are sampled. */
export interface Mix {
  title: string
  traces: number
  /** How many calls a trace has. */
  calls(roll: () => number): number
  /** With which probability the i-th trace is kept. */
  p(i: number): number
}

const geometric = (mean: number) => (roll: () => number) =>
  1 + Math.floor(Math.log(1 - roll()) / Math.log(1 - 1 / mean))

/** Those of the measurements behind the design. Of the last one, the busier a kind of trace is, the lower is its p, as Milo samples. */
export const MIXES: Mix[] = [
  { title: 'one call in a trace', traces: 6000, calls: () => 1, p: () => 0.05 },
  { title: 'geometric, mean 5', traces: 12_000, calls: geometric(5), p: () => 0.05 },
  { title: '20 in 5% of traces', traces: 30_000, calls: roll => (roll() < 0.05 ? 20 : 0), p: () => 0.1 },
  {
    title: 'mixed p: 1, 0.05, 0.01',
    traces: 24_000,
    calls: geometric(5),
    p: i => (i % 50 === 0 ? 1 : i % 50 < 15 ? 0.05 : 0.01),
  },
]

export interface Trace {
  p: number
  durations: number[]
  isFailed: boolean[]
}

/** How alike the durations of a trace are, from 0 to 1; the share of traces and of other calls that fail. */
export interface Behavior {
  likeness: number
  failedTraces: number
  failedCalls: number
  /** What each duration is multiplied by. */
  slowness?: number
}

/** A third of the spread of durations is that of traces; errors come alone as well as together. */
export const TYPICAL: Behavior = { likeness: 0.3, failedTraces: 0.05, failedCalls: 0.05 }

/** Makes traces with durations of a lognormal distribution around 20 ms. */
export function tracesOf({ traces, calls, p }: Mix, behavior: Behavior, roll: () => number): Trace[] {
  const gauss = normal(roll)
  const { likeness, failedTraces, failedCalls, slowness = 1 } = behavior
  const made: Trace[] = []
  for (let i = 0; i < traces; i++) {
    const n = calls(roll)
    if (n === 0) continue
    const [shared, fails] = [gauss(), roll() < failedTraces]
    const durations = Array.from({ length: n }, () =>
      Math.round(
        slowness * 20_000 * Math.exp(0.8 * (Math.sqrt(likeness) * shared + Math.sqrt(1 - likeness) * gauss())),
      ),
    )
    made.push({ p: p(i), durations, isFailed: durations.map(() => fails || roll() < failedCalls) })
  }
  return made
}

/** Throws the coin for each trace, and counts. @param ps the traces' probabilities: a column is read faster than objects are */
export function sample(traces: Trace[], roll: () => number, ps = Float64Array.from(traces, trace => trace.p)): Counter {
  const counter = new Counter()
  const weight = new Weight()
  for (let trace = 0; trace < ps.length; trace++) {
    const p = ps[trace]!
    if (roll() >= p) continue
    const { durations, isFailed } = traces[trace]!
    const group = Math.floor(roll() * GROUPS)
    weight.set(p)
    for (let i = 0; i < durations.length; i++) counter.add(weight, group, i === 0, isFailed[i]!, durations[i]!)
  }
  return counter
}

/** The same without sampling. */
export function everything(traces: Trace[], roll: () => number): Counter {
  return sample(
    traces.map(trace => ({ ...trace, p: 1 })),
    roll,
  )
}

export const QUANTILES = [0.5, 0.95, 0.99]

const ESTIMATES: Record<string, (counter: Counter) => Estimate | undefined> = {
  calls: callsOf,
  errors: errorsOf,
  'error share': errorShareOf,
  mean: meanOf,
  ...Object.fromEntries(QUANTILES.map(q => [`p${q * 100}`, (counter: Counter) => quantileOf(counter, q)])),
}

export function truthOf(traces: Trace[]): Record<string, number> {
  const durations = Float64Array.from(traces.flatMap(trace => trace.durations)).sort()
  const calls = durations.length
  const errors = traces.reduce((sum, { isFailed }) => sum + isFailed.filter(Boolean).length, 0)
  const quantiles = QUANTILES.map(q => [`p${q * 100}`, durations[Math.ceil(q * calls) - 1]!])
  const mean = durations.reduce((sum, duration) => sum + duration, 0) / calls
  return { calls, errors, 'error share': errors / calls, mean, ...Object.fromEntries(quantiles) }
}

/**
 * How often the truth is in the interval, by estimate; and how often the interval has no upper end.
 * @param populations how many times traces are made; for each the coins are thrown `runs` times
 * @param names of the estimates
 */
export function coverage(
  mix: Mix,
  behavior: Behavior,
  populations: number,
  runs: number,
  seed: number,
  names = Object.keys(ESTIMATES),
) {
  const roll = dice(seed)
  const covered = Object.fromEntries(names.map(name => [name, 0]))
  const unbounded = { ...covered }
  for (let population = 0; population < populations; population++) {
    const traces = tracesOf(mix, behavior, roll)
    const truth = truthOf(traces)
    const ps = Float64Array.from(traces, trace => trace.p)
    for (let run = 0; run < runs; run++) {
      const counter = sample(traces, roll, ps)
      for (const name of names) {
        const found = ESTIMATES[name]!(counter)
        if (found === undefined) continue
        if (found.low <= truth[name]! && truth[name]! <= found.high) covered[name]!++
        if (found.high === Number.POSITIVE_INFINITY) unbounded[name]!++
      }
    }
  }
  const share = (counts: Record<string, number>) =>
    Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count / populations / runs]))
  return { covered: share(covered), unbounded: share(unbounded) }
}
