import { beyondChance, chanceOfHits, chanceOfT } from './chance'
import { type Counter, GROUPS } from './counter'
import type { Sketch } from './sketch'

/**
 * How far a counter's numbers may be from the truth, and which of two counters' differences are more than chance.
 *
 * The sum W of all weights has the groups' sums W_g as parts, and these scatter as W does: its variance is V = 32/31 · Σ(W_g − W̄)²,
 * whatever the traces look like. That is all chance, of the traffic as well as of sampling. Of how many calls there really were,
 * sampling alone makes us uncertain: it has the share Σw(w−1) / Σw² of V, which is 0 where all p are 1. The variance of a ratio like
 * E/W, of errors to calls, is that of the sum of z_g = E_g − (E/W) · W_g, divided by W² (linearization). All intervals are of 95%,
 * by Student's t with 31 degrees of freedom.
 */

/** It is between `low` and `high` with a probability of 95%. All three are equal where everything was sampled. */
export interface Estimate {
  value: number
  low: number
  /** Infinity if too little was sampled for a limit; JSON has no such number. */
  high: number
}

/** How an estimate differs between two times. */
export interface Changed {
  /** After less before. */
  change: Estimate
  /** The probability that chance alone makes such a change. */
  chance: number
  /** Whether the change is more than chance, given how much was compared beside it. */
  beyondChance: boolean
}

export interface Comparison {
  /** Calls a second. */
  rate: Changed
  /** These are undefined if one of the counters has no such number. */
  errorShare?: Changed
  mean?: Changed
  p95?: Changed
  /** How much longer all calls of the time after take than before: microseconds a second. */
  extraUsPerSecond: Estimate
  /** How many more of the calls of the time after fail: errors a second. */
  extraErrorsPerSecond: Estimate
}

export interface Compared {
  before: Counter
  /** How long both times are, in microseconds. */
  beforeUs: number
  after: Counter
  afterUs: number
}

/** How many groups' sums are free, and Student's t for them and 95%. */
const DEGREES = GROUPS - 1
const T = 2.0395
const LEAST_DEGREES = 5
/** How many of the changes that are called beyond chance may be by chance. */
const FALSE_SHARE = 0.05

/**
 * How many calls there were. The interval is that of all N for which W is at most t·√(c·N') away from N, where c = V/W' is the
 * variance of each of the calls W' that p < 1 hides (a score interval, as Wilson's is for shares): with few sampled calls it is
 * longer upward. There are at least as many calls as records.
 */
export function callsOf(counter: Counter): Estimate {
  return callsBy(counter, chancesOf(counter, true))
}

/** How many calls failed: the same with the errors' groups. Without a sampled error, it is the limit for the rarest that would show. */
export function errorsOf(counter: Counter): Estimate {
  const { calls, errors, errorGroups, callGroups } = counter
  const chances = chancesOf(counter, true)
  const value = Math.max(0, errors)
  const sums = scatter(g => errorGroups?.[g] ?? 0)
  const around = scatter(g => (errorGroups?.[g] ?? 0) - (value / calls) * (callGroups?.[g] ?? 0))
  return score(
    value,
    chances.part * sums.variance,
    perError(chances, calls, chances.part * around.variance, value),
    0,
    sums.t,
  )
}

/**
 * Which share of the calls failed, from 0 to 1. Near 0 or 1 the interval is longer toward the middle, as Wilson's.
 * @returns undefined without calls
 */
export function errorShareOf(counter: Counter): Estimate | undefined {
  return counter.isNothing() ? undefined : errorShareBy(counter, chancesOf(counter, true))
}

/** The mean duration in microseconds, by linearization. @returns undefined without durations */
export function meanOf(counter: Counter): Estimate | undefined {
  return meanBy(counter, chancesOf(counter, true))
}

/**
 * A quantile of the durations in microseconds. The share of calls below it has the variance d · q(1−q) · Σw(w−1) / W², where d is how
 * much more uncertain the mean is than it would be if durations in a trace had nothing to do with each other; the interval goes
 * from the quantile at one end of that share's interval to that at the other (Woodruff 1952). Where
 * all p are 1 it has no width: that a sketch is off by up to 2% isn't in it.
 * @returns undefined without durations
 */
export function quantileOf(counter: Counter, q: number): Estimate | undefined {
  return quantileBy(counter, chancesOf(counter, true), q)
}

/** Compares what was counted in two times: chance of the traffic counts too, not just that of sampling. */
export function compareCounters(before: Counter, beforeUs: number, after: Counter, afterUs: number): Comparison {
  return compareAll([{ before, beforeUs, after, afterUs }])[0]!
}

/**
 * Compares many counters. Of all changes that are called beyond chance, in all of them, at most 5% are by chance on average; if
 * nothing has changed, there is none at all in 95% of cases.
 */
export function compareAll(pairs: Iterable<Compared>): Comparison[] {
  const steps = comparing(pairs)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** The same in small steps, for a caller that gives others their turn between them. */
export function* comparing(pairs: Iterable<Compared>): Generator<void, Comparison[]> {
  const all: Comparison[] = []
  for (const pair of pairs) {
    all.push(compare(pair))
    yield
  }
  const changes = all.flatMap(({ rate, errorShare, mean, p95 }) =>
    [rate, errorShare, mean, p95].filter(some => some !== undefined),
  )
  const beyond = beyondChance(
    changes.map(({ chance }) => chance),
    FALSE_SHARE,
  )
  for (const [i, change] of changes.entries()) change.beyondChance = beyond[i]!
  return all
}

/** What the counter's estimates share. */
interface Chances {
  /** Which part of the groups' scatter is meant. */
  part: number
  /** Σw(w−1), or Σw² if the chance of the traffic is meant too. */
  spread: number
  /** The variance that each hidden call adds if calls are independent. */
  ofOne: number
  /** How many times larger the variance is as calls of a trace come together; at least 1. */
  clustering: number
  /** V of the calls. */
  variance: number
}

function chancesOf(counter: Counter, isSamplingAlone: boolean): Chances {
  const squares = counter.spread + counter.calls
  const scattered = scatter(g => counter.callGroups?.[g] ?? 0).variance
  const clustering = squares > 0 ? Math.max(1, scattered / squares) : 1
  if (!isSamplingAlone) {
    const ofOne = counter.calls > 0 ? squares / counter.calls : 1
    return { part: 1, spread: squares, ofOne, clustering, variance: scattered }
  }
  // Σ(w−1): how many calls weren't seen. Σw(w−1) / Σ(w−1) is the mean weight where p < 1.
  const hidden = counter.calls - counter.records
  if (!(counter.spread > 0 && hidden > 0)) return { part: 0, spread: 0, ofOne: 0, clustering, variance: 0 }
  const part = counter.spread / squares
  return {
    part,
    spread: counter.spread,
    ofOne: Math.max(0, counter.spread / hidden - 1),
    clustering,
    variance: part * scattered,
  }
}

/**
 * V, the variance of the sum of all groups; and Student's t for it, which is larger if few of the groups make up most of it, as with
 * a handful of errors.
 */
function scatter(of: (group: number) => number): { variance: number; t: number } {
  let [sum, squares, fourths] = [0, 0, 0]
  for (let g = 0; g < GROUPS; g++) sum += of(g)
  for (let g = 0; g < GROUPS; g++) {
    const square = (of(g) - sum / GROUPS) ** 2
    squares += square
    fourths += square * square
  }
  // With a normal distribution, (Σz²)² is a third of Σz⁴ times the number of groups.
  const degrees = fourths > 0 ? (3 * squares * squares) / fourths - 1 : DEGREES
  return { variance: (squares * GROUPS) / DEGREES, t: studentsT(Math.min(DEGREES, Math.max(LEAST_DEGREES, degrees))) }
}

/** Student's t for 95%, by the first terms of its series. */
function studentsT(degrees: number): number {
  return 1.96 + 2.3725 / degrees + 2.822 / degrees ** 2
}

function callsBy(counter: Counter, { variance, ofOne, clustering }: Chances): Estimate {
  return score(Math.max(0, counter.calls), variance, ofOne * clustering, counter.records)
}

/**
 * Solves (value − N)² = t² · (variance + ofOne · (N − value)) for N.
 * @param least N isn't less, at least
 * @param skewed how much longer the interval is upward: 1, or −1 if it is so downward
 */
function score(value: number, variance: number, ofOne: number, least: number, t = T, skewed = 1): Estimate {
  const shift = (t * t * ofOne) / 2
  const half = Math.sqrt(t * t * variance + shift * shift)
  const middle = value + skewed * shift
  return { value, low: Math.min(value, Math.max(least, 0, middle - half)), high: Math.max(value, middle + half) }
}

/**
 * The variance that each hidden error adds: as many times that of an independent one as errors of a trace come together. Without a
 * sampled one, they may do so as calls do.
 */
function perError({ ofOne, clustering, spread }: Chances, calls: number, variance: number, errors: number): number {
  if (ofOne === 0 || !(variance > 0 && errors > 0)) return ofOne * clustering
  return ofOne * Math.max(1, (variance * calls) / (errors * spread))
}

function errorShareBy(counter: Counter, chances: Chances): Estimate {
  const { calls, errorGroups, callGroups } = counter
  const value = Math.min(1, Math.max(0, counter.errors / calls))
  const around = scatter(g => (errorGroups?.[g] ?? 0) - value * (callGroups?.[g] ?? 0))
  const variance = chances.part * around.variance
  const rare = calls * Math.min(value, 1 - value)
  const ofOne = perError(chances, calls, variance, rare)
  const { low, high } = score(value, variance / calls ** 2, ofOne / calls, 0, around.t, 1 - 2 * value)
  return { value, low, high: Math.min(1, high) }
}

/** The variance of the mean; Infinity if there is a single call to tell it by. */
function meanVariance(counter: Counter, { part, spread }: Chances): number {
  const { durations, durationGroups, callGroups, calls } = counter
  const mean = durations.mean()!
  if (part === 0) return 0
  if (counter.records < 2) return Number.POSITIVE_INFINITY
  const scattered = part * scatter(g => (durationGroups?.[g] ?? 0) - mean * (callGroups?.[g] ?? 0)).variance
  // A few calls may all be in one group, which then scatters around its own mean: not at all.
  return Math.max(scattered, independent(durations, spread, calls)) / durations.total ** 2
}

/** The variance of the sum of durations if they were independent. */
function independent(durations: Sketch, spread: number, calls: number): number {
  return (durations.deviation()! ** 2 * spread * durations.total) / calls
}

function meanBy(counter: Counter, chances: Chances): Estimate | undefined {
  const value = counter.durations.mean()
  if (value === undefined) return undefined
  const half = T * Math.sqrt(meanVariance(counter, chances))
  return { value, low: Math.max(0, value - half), high: value + half }
}

/** How much more uncertain shares of durations are as calls of a trace have durations alike: from 1 to the clustering of calls. */
function durationClustering(counter: Counter, chances: Chances): number {
  const alone = independent(counter.durations, chances.spread, counter.calls) / counter.durations.total ** 2
  const ratio = alone > 0 ? meanVariance(counter, chances) / alone : 1
  return Math.min(Math.max(1, ratio), chances.clustering)
}

function quantileBy(counter: Counter, chances: Chances, q: number): Estimate | undefined {
  const { durations } = counter
  const value = durations.quantile(q)
  if (value === undefined) return undefined
  const tries = independentDurations(counter, chances)
  if (tries === Number.POSITIVE_INFINITY) return { value, low: value, high: value }
  // Around a share near 0 or 1, chance isn't symmetric (Cornish and Fisher 1938), and it goes by whole calls.
  const half = T * Math.sqrt((q * (1 - q)) / tries) + 0.5 / tries
  const skew = ((1 - 2 * q) * (T * T - 1)) / (6 * tries)
  const [from, to] = [q - half + skew, q + half + skew]
  const low = from <= 0 ? 0 : durations.boundAt(from, half / 2, false)
  const high = to >= 1 ? Number.POSITIVE_INFINITY : durations.boundAt(to, half / 2, true)
  return { value, low: Math.min(value, low), high: Math.max(value, high) }
}

/** How many independent calls would tell as much about a share of the durations. */
function independentDurations(counter: Counter, chances: Chances): number {
  const { durations, calls } = counter
  return (durations.total * calls) / (durationClustering(counter, chances) * chances.spread)
}

function compare({ before, beforeUs, after, afterUs }: Compared): Comparison {
  const [was, is] = [chancesOf(before, false), chancesOf(after, false)]
  const [seconds, secondsBefore] = [afterUs / 1e6, beforeUs / 1e6]
  const perSecond = (estimate: Estimate, by: number) => scaled(estimate, 1 / by)
  const rate = {
    change: difference(perSecond(callsBy(before, was), secondsBefore), perSecond(callsBy(after, is), seconds)),
    chance: chanceOfRates(before, was, beforeUs, after, is, afterUs),
    beyondChance: false,
  }
  const found: Comparison = { rate, extraUsPerSecond: NOTHING, extraErrorsPerSecond: NOTHING }
  if (before.isNothing() || after.isNothing()) return found
  const rateAfter = Math.max(0, after.calls) / seconds
  found.errorShare = {
    change: difference(errorShareBy(before, was), errorShareBy(after, is)),
    chance: chanceOfShares(before, was, after, is),
    beyondChance: false,
  }
  found.extraErrorsPerSecond = scaled(found.errorShare.change, rateAfter)
  if (before.durations.mean() === undefined || after.durations.mean() === undefined) return found
  found.mean = {
    change: difference(meanBy(before, was)!, meanBy(after, is)!),
    chance: chanceOfMeans(before, was, after, is),
    beyondChance: false,
  }
  found.extraUsPerSecond = scaled(found.mean.change, rateAfter)
  found.p95 = {
    change: difference(quantileBy(before, was, 0.95)!, quantileBy(after, is, 0.95)!),
    chance: chanceOfQuantiles(before, was, after, is, 0.95),
    beyondChance: false,
  }
  return found
}

const NOTHING: Estimate = { value: 0, low: 0, high: 0 }

function scaled({ value, low, high }: Estimate, by: number): Estimate {
  return by === 0 ? NOTHING : { value: value * by, low: low * by, high: high * by }
}

/** The difference of two independent estimates, by the ends of their intervals (MOVER; Zou and Donner 2008). */
function difference(before: Estimate, after: Estimate): Estimate {
  const value = after.value - before.value
  return {
    value,
    low: value - Math.hypot(after.value - after.low, before.high - before.value),
    high: value + Math.hypot(after.high - after.value, before.value - before.low),
  }
}

/**
 * The chance of such a difference of rates: by Student's t, and by how so many independent calls would spread over both times. The
 * larger counts: the first one's variance is uncertain, the second one is right for few calls.
 */
function chanceOfRates(before: Counter, was: Chances, beforeUs: number, after: Counter, is: Chances, afterUs: number) {
  const [callsBefore, calls] = [Math.max(0, before.calls), Math.max(0, after.calls)]
  if (callsBefore + calls <= 0) return 1
  const ofOne = ({ variance, ofOne }: Chances, count: number) => Math.max(ofOne, variance / count)
  // Without a call in one time, the other's are an example of what they would be.
  const mine = calls > 0 ? ofOne(is, calls) : ofOne(was, callsBefore)
  const other = callsBefore > 0 ? ofOne(was, callsBefore) : mine
  const [length, lengthBefore] = [afterUs / mine, beforeUs / other]
  const [units, unitsBefore] = [calls / mine, callsBefore / other]
  const rate = (units + unitsBefore) / (length + lengthBefore)
  const t = (calls / afterUs - callsBefore / beforeUs) / Math.sqrt(rate * (mine / afterUs + other / beforeUs))
  const byHits = chanceOfHits(units, units + unitsBefore, length / (length + lengthBefore))
  return Math.max(chanceOfT(t, DEGREES), byHits)
}

/** The chance of such a difference of the shares of errors, if both have the same in truth. */
function chanceOfShares(before: Counter, was: Chances, after: Counter, is: Chances): number {
  const share = Math.min(1, Math.max(0, (before.errors + after.errors) / (before.calls + after.calls)))
  if (share === 0 || share === 1) return 1
  const ofErrors = (counter: Counter, { spread }: Chances) => {
    const { variance } = scatter(g => (counter.errorGroups?.[g] ?? 0) - share * (counter.callGroups?.[g] ?? 0))
    return Math.max(variance, share * (1 - share) * spread)
  }
  const [variance, varianceBefore] = [ofErrors(after, is), ofErrors(before, was)]
  const change = after.errors / after.calls - before.errors / before.calls
  const t = change / Math.sqrt(variance / after.calls ** 2 + varianceBefore / before.calls ** 2)
  const byT = chanceOfT(t, DEGREES)
  // Rare errors, or successes, come like rare calls: as many as they would be if they were independent.
  if (share > 0.1 && share < 0.9) return byT
  const rare = share < 0.5 ? share : 1 - share
  const [perTry, perTryBefore] = [variance / (rare * after.calls), varianceBefore / (rare * before.calls)]
  const rareOf = ({ errors, calls }: Counter) => Math.max(0, share < 0.5 ? errors : calls - errors)
  const [hits, hitsBefore] = [rareOf(after) / perTry, rareOf(before) / perTryBefore]
  const [tries, triesBefore] = [after.calls / perTry, before.calls / perTryBefore]
  return Math.max(byT, chanceOfHits(hits, hits + hitsBefore, tries / (tries + triesBefore)))
}

/** The chance of such a difference of means: Welch's test. */
function chanceOfMeans(before: Counter, was: Chances, after: Counter, is: Chances): number {
  const change = after.durations.mean()! - before.durations.mean()!
  if (change === 0) return 1
  const [variance, varianceBefore] = [meanVariance(after, is), meanVariance(before, was)]
  return chanceOfT(change / Math.sqrt(variance + varianceBefore), DEGREES)
}

/** The chance of such a difference of quantiles: which share of both is beyond the quantile of all together? */
function chanceOfQuantiles(before: Counter, was: Chances, after: Counter, is: Chances, q: number): number {
  const [short, long] = [before.durations, after.durations]
  const tries = independentDurations(after, is)
  const triesBefore = independentDurations(before, was)
  const index = Math.round((tries * long.indexAt(q)! + triesBefore * short.indexAt(q)!) / (tries + triesBefore))
  const [above, aboveBefore] = [1 - long.shareUpTo(index), 1 - short.shareUpTo(index)]
  const share = (tries * above + triesBefore * aboveBefore) / (tries + triesBefore)
  if (share <= 0 || share >= 1) return 1
  const t = (above - aboveBefore) / Math.sqrt(share * (1 - share) * (1 / tries + 1 / triesBefore))
  const [hits, hitsBefore] = [above * tries, aboveBefore * triesBefore]
  return Math.max(chanceOfT(t, DEGREES), chanceOfHits(hits, hits + hitsBefore, tries / (tries + triesBefore)))
}
