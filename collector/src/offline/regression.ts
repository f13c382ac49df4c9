import { benjaminiHochberg } from '../false-discovery'
import { chanceOfT } from '../store/activity/chance'
import { OTHER } from '../store/activity/model'
import { BANDS, type Band } from '../store/analysis/model'

/** It is between `low` and `high` with a probability of 95%. The limits are null if there is too little to tell. */
export interface Change {
  value: number
  low: number | null
  high: number | null
}

/** What an operation has to do with a change of a root operation's latency. Times are means in microseconds a trace. */
export interface Contribution {
  service: string | null
  name: string
  /** The time on the critical path, and how many calls of a trace are on it. `calls` is null for '(other)'. */
  before: { us: number; calls: number | null }
  after: { us: number; calls: number | null }
  /** After less before. All operations' changes add up to that of the root operation's latency. */
  change: Change
  /** The probability that chance alone makes such a change; null if there is too little to tell. */
  chance: number | null
  /** The chance, corrected for how much was compared: of what is listed with at most q, a share of q is there by chance. */
  q: number | null
  beyondChance: boolean
  /** Which part of the change is that there are more calls, and which that each takes longer; null where calls aren't known. */
  oftenUs: number | null
  slowerUs: number | null
  state: 'both' | 'new' | 'gone'
}

export interface BandRegression {
  band: 'all' | Band
  /** Mean latencies; null if there was no trace. */
  before: number | null
  after: number | null
  change: Change | null
  chance: number | null
  q: number | null
  beyondChance: boolean
  /** What is beyond chance comes first, and the largest change. */
  contributions: Contribution[]
}

/** How the latency of a root operation has changed, and by which operations on its critical paths. */
export interface Regression {
  kind: 'regression'
  root: { service: string | null; name: string }
  before: { traces: number; weight: number } | null
  after: { traces: number; weight: number } | null
  bands: BandRegression[]
}

/** Of what is beyond chance, at most this share is there by chance, on average. */
const CHANCE = 0.05
/** What fewer traces have in both windows together isn't tested: no change of theirs is beyond chance. */
const MIN_TRACES = 4

interface Mean {
  us: number
  se: number | null
  degrees: number
  calls: number | null
}

interface Root {
  name: { service: string | null; name: string }
  traces: number
  weight: number
  means: Mean[]
  operations: Map<string, { service: string | null; name: string; traces: number | null; means: Mean[] }>
}

/**
 * Compares two windows by the lines of their results: those with the kinds `root` and `operation`; others are passed over. Root operations
 * whose mean latency has changed beyond chance come first, the largest change first. The root operation '(other)' isn't compared.
 * @throws RangeError if the lines aren't results
 */
export function regression(before: readonly object[], after: readonly object[]): Regression[] {
  const [was, is] = [rootsOf(before), rootsOf(after)]
  const tests: { chance: number; of: { q: number | null; beyondChance: boolean } }[] = []
  const found: Regression[] = []
  for (const key of new Set([...was.keys(), ...is.keys()])) {
    const [old, now] = [was.get(key), is.get(key)]
    const sizeOf = (root: Root | undefined) => root && { traces: root.traces, weight: root.weight }
    const bands = (['all', ...BANDS] as const).map((band, b) => compare(band, b, old, now))
    found.push({
      kind: 'regression',
      root: (now ?? old)!.name,
      before: sizeOf(old) ?? null,
      after: sizeOf(now) ?? null,
      bands,
    })
    for (const band of bands) {
      for (const of of [band, ...band.contributions]) if (of.chance !== null) tests.push({ chance: of.chance, of })
    }
  }
  const corrected = benjaminiHochberg(
    tests.map(({ chance }) => chance),
    tests.length,
  )
  for (const [i, { of }] of tests.entries()) {
    of.q = corrected[i]!
    of.beyondChance = of.q <= CHANCE
  }
  for (const { bands } of found) for (const { contributions } of bands) contributions.sort(byRank)
  return found.sort((a, b) => byRank(a.bands[0]!, b.bands[0]!) || (textOf(a.root) < textOf(b.root) ? -1 : 1))
}

function compare(
  band: BandRegression['band'],
  b: number,
  old: Root | undefined,
  now: Root | undefined,
): BandRegression {
  const compared: BandRegression = {
    band,
    before: old?.means[b]?.us ?? null,
    after: now?.means[b]?.us ?? null,
    change: null,
    ...{ chance: null, q: null, beyondChance: false, contributions: [] },
  }
  // Without one of the windows there is nothing to compare.
  if (old === undefined || now === undefined) return compared
  const [latencyBefore, latency] = [old.means[b]!, now.means[b]!]
  Object.assign(compared, difference(latencyBefore, latency))
  for (const key of new Set([...old.operations.keys(), ...now.operations.keys()])) {
    const [was, is] = [old.operations.get(key), now.operations.get(key)]
    const { service, name } = (is ?? was)!
    const of = (mine: typeof was, latency: Mean) => mine?.means[b] ?? { ...latency, us: 0, se: 0, calls: 0 }
    const [seenBefore, seen] = [of(was, latencyBefore), of(is, latency)]
    const before = orUnseen(seenBefore, latencyBefore, seen, latency)
    const after = orUnseen(seen, latency, seenBefore, latencyBefore)
    if (before.us === 0 && after.us === 0) continue
    const isTested = (was?.traces ?? 0) + (is?.traces ?? 0) >= MIN_TRACES
    compared.contributions.push({
      service,
      name,
      before: { us: before.us, calls: before.calls },
      after: { us: after.us, calls: after.calls },
      ...difference(before, after),
      ...(isTested ? {} : { chance: null }),
      ...{ q: null, beyondChance: false },
      ...divided(before, after),
      state: was === undefined ? 'new' : is === undefined ? 'gone' : 'both',
    })
  }
  return compared
}

/**
 * That no trace has an operation doesn't make it certain that none could: the error is as if one of the window's traces had it, with the time
 * that the other window's traces have that have it.
 */
function orUnseen(mean: Mean, latency: Mean, other: Mean, otherLatency: Mean): Mean {
  if (mean.us > 0 || mean.se === null) return mean
  const time = (other.us * tracesOf(otherLatency)) / tracesOf(other)
  return { ...mean, se: time / tracesOf(latency) }
}

/** Of how many traces a mean is, if they are of equal weight. */
function tracesOf({ degrees }: Mean): number {
  return degrees + 1
}

function difference(before: Mean, after: Mean): { change: Change; chance: number | null } {
  const value = round(after.us - before.us)
  if (before.se === null || after.se === null) return { change: { value, low: null, high: null }, chance: null }
  const [v, w] = [before.se ** 2, after.se ** 2]
  const sampled = Math.sqrt(v + w)
  // A few equal times would seem to be certain: with n traces, no change is more than n times its error.
  const least = Math.abs(value) / Math.min(tracesOf(before), tracesOf(after))
  if (Math.max(sampled, least) === 0) return { change: { value, low: value, high: value }, chance: 1 }
  // Welch and Satterthwaite.
  const degrees = (v + w) ** 2 / (v ** 2 / before.degrees + w ** 2 / after.degrees)
  const free = Math.max(1, Number.isNaN(degrees) ? Math.min(before.degrees, after.degrees) : degrees)
  const half = quantileOfT(free) * (sampled || least)
  return {
    change: { value, low: round(value - half), high: round(value + half) },
    chance: chanceOfT(value / Math.max(sampled, least), free),
  }
}

/**
 * A mean time is a number of calls, times the time of a call. So its change is a change of the calls, each with the mean of both times,
 * and a change of the time, of the mean number of calls.
 */
function divided(before: Mean, after: Mean): { oftenUs: number | null; slowerUs: number | null } {
  if (before.calls === null || after.calls === null) return { oftenUs: null, slowerUs: null }
  const change = after.us - before.us
  if (before.calls === 0 || after.calls === 0) return { oftenUs: round(change), slowerUs: 0 }
  const [timeBefore, time] = [before.us / before.calls, after.us / after.calls]
  const oftenUs = round(((after.calls - before.calls) * (timeBefore + time)) / 2)
  return { oftenUs, slowerUs: round(change - oftenUs) }
}

const quantiles = new Map<number, number>()

/** How far from 0 Student's t is in 5% of cases, to both sides. */
function quantileOfT(degrees: number): number {
  // Above this, it changes by less than a thousandth.
  const whole = Math.min(1000, Math.floor(degrees))
  const known = quantiles.get(whole)
  if (known !== undefined) return known
  let [from, to] = [1.9, 13]
  for (let i = 0; i < 50; i++) {
    const middle = (from + to) / 2
    if (chanceOfT(middle, whole) > 0.05) from = middle
    else to = middle
  }
  quantiles.set(whole, to)
  return to
}

type Ranked = Pick<Contribution, 'beyondChance'> & { change: Change | null }

function byRank(a: Ranked, b: Ranked): number {
  const size = ({ change }: Ranked) => Math.abs(change?.value ?? 0)
  return Number(b.beyondChance) - Number(a.beyondChance) || size(b) - size(a)
}

function rootsOf(lines: readonly object[]): Map<string, Root> {
  const roots = new Map<string, Root>()
  const fields = lines as readonly Record<string, unknown>[]
  for (const { kind, root, traces, weight, means } of fields) {
    const name = root as Root['name']
    if (kind !== 'root' || name.name === OTHER) continue
    if (!isMeans(means)) throw new RangeError(`not a line of results: root ${textOf(name)} has no means`)
    roots.set(textOf(name), { name, traces: Number(traces), weight: Number(weight), means, operations: new Map() })
  }
  for (const { kind, root, service, name, traces, means } of fields) {
    if (kind !== 'operation') continue
    const of = { service: service as string | null, name: name as string }
    if (!isMeans(means)) throw new RangeError(`not a line of results: operation ${textOf(of)} has no means`)
    const own = traces === null ? null : Number(traces)
    roots.get(textOf(root as Root['name']))?.operations.set(textOf(of), { ...of, traces: own, means })
  }
  return roots
}

function isMeans(means: unknown): means is Mean[] {
  return Array.isArray(means) && means.length === BANDS.length + 1 && means.every(mean => typeof mean?.us === 'number')
}

function textOf({ service, name }: { service: string | null; name: string }): string {
  return JSON.stringify([service, name])
}

/** To nanoseconds, as the means are. */
function round(us: number): number {
  return Math.round(us * 1000) / 1000
}
