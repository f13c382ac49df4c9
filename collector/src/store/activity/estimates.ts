import { takeAtOnce } from '../../turns'
import { alikeBeyond, beyondChance, chanceOfHits, chanceOfT, gammaLimit, NORMAL } from './chance'
import { type Counter, GROUPS } from './counter'
import type { Sketch } from './sketch'

/**
 * How far a counter's numbers may be from the truth, and which of two counters' differences are more than chance.
 *
 * The sum W of all weights has the groups' sums W_g as parts, and these scatter as W does: its variance is V = 32/31 · Σ(W_g − W̄)²,
 * whatever the traces look like. That is all chance, of the traffic as well as of sampling. Of how many calls there really were,
 * sampling alone makes us uncertain: it has the share Σw(w−1) / Σw² of V, which is 0 where all p are 1. The variance of a ratio like
 * E/W, of errors to calls, is that of the sum of z_g = E_g − (E/W) · W_g, divided by W² (linearization). All intervals are of 95%,
 * by Student's t with 31 degrees of freedom, or fewer if a few groups have most of the scatter. Of few sampled traces intervals are
 * conservative: they hold up to 99%.
 */

/** It is between `low` and `high` with a probability of 95%. All three are equal where everything was sampled. */
export interface Estimate {
  value: number
  low: number
  /** Infinity if too little was sampled for a limit: null in the API's answers, as JSON has no such number. */
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
 * How many calls there were. The interval is that of a gamma distribution with the variance V around the calls W' that p < 1 hides: longer
 * upward if few were sampled. There are at least as many calls as records.
 */
export function callsOf(counter: Counter): Estimate {
  return callsBy(counter, chancesOf(counter, true))
}

/** How many calls failed: the same with the errors' groups. Without a sampled error, the limit is for a trace that would likely have shown. */
export function errorsOf(counter: Counter): Estimate {
  const errors = scatter(g => counter.errorGroups?.[g] ?? 0)
  return sumOf(Math.max(0, counter.errors), chancesOf(counter, true), errors)
}

/**
 * Which share of the calls failed, from 0 to 1. The interval is that of a beta distribution, as Clopper and
 * Pearson's, for as many calls as would be as uncertain if they were independent (Korn and Graubard 1998).
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
 * much more uncertain that is than if durations in a trace had nothing to do with each other; the interval goes
 * from the quantile at one end of that share's interval to that at the other (Woodruff 1952). Where
 * all p are 1 it has no width: that a sketch is off by up to 2% isn't in it. If traces are slow as a whole, and otherwise no more alike than others,
 * d is too small for the highest quantiles: 87% to 93% are covered.
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
  return takeAtOnce(comparing(pairs))
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
  /** Which part of the groups' scatter is meant; 0 if there is no chance in the numbers. */
  part: number
  /** Σw(w−1), or Σw² if the chance of the traffic is meant too. */
  spread: number
  /** Which share of the calls is certain, as they were seen. */
  seen: number
  /** The mean weight of the calls that aren't certain. */
  weight: number
  /** How many times larger the variance is as calls of a trace come together; at least 1. */
  clustering: number
  /** V of the calls. */
  variance: number
}

function chancesOf(counter: Counter, isSamplingAlone: boolean): Chances {
  const { calls, records, spread } = counter
  const squares = spread + calls
  const scattered = scatter(g => counter.callGroups?.[g] ?? 0).variance
  const clustering = squares > 0 ? Math.max(1, scattered / squares) : 1
  if (!isSamplingAlone) {
    return {
      part: 1,
      spread: squares,
      seen: 0,
      weight: calls > 0 ? squares / calls : 1,
      clustering,
      variance: scattered,
    }
  }
  // Σ(w−1): how many calls weren't seen. Σw(w−1) / Σ(w−1) is the mean weight where p < 1.
  const hidden = calls - records
  if (!(spread > 0 && hidden > 0)) return { part: 0, spread: 0, seen: 1, weight: 1, clustering, variance: 0 }
  const part = spread / squares
  return { part, spread, seen: records / calls, weight: spread / hidden, clustering, variance: part * scattered }
}

interface Scatter {
  variance: number
  t: number
}

/**
 * V, the variance of the sum of all groups; and Student's t for it, which is larger if few of the groups make up most of it, as with
 * a handful of errors.
 */
function scatter(of: (group: number) => number): Scatter {
  let [sum, squares, fourths] = [0, 0, 0]
  for (let g = 0; g < GROUPS; g++) sum += of(g)
  for (let g = 0; g < GROUPS; g++) {
    const square = (of(g) - sum / GROUPS) ** 2
    squares += square
    fourths += square * square
  }
  // Of z², the variance is 2 with a normal distribution, and larger by this with others.
  const excess = fourths > 0 ? (GROUPS * fourths) / squares ** 2 - 3 : 0
  const degrees = (2 * DEGREES) / (2 + Math.max(0, excess))
  return { variance: (squares * GROUPS) / DEGREES, t: studentsT(Math.min(DEGREES, Math.max(LEAST_DEGREES, degrees))) }
}

/** Student's t for 95%, by the first terms of its series. */
function studentsT(degrees: number): number {
  return 1.96 + 2.3725 / degrees + 2.822 / degrees ** 2
}

function callsBy(counter: Counter, chances: Chances): Estimate {
  return sumOf(
    Math.max(0, counter.calls),
    chances,
    scatter(g => counter.callGroups?.[g] ?? 0),
  )
}

/**
 * Of `hidden` calls, V is the variance: so they are as uncertain as a sum of hidden² / V traces that weigh V / hidden each, and its
 * limits are quantiles of gamma distributions (Fay and Feuer 1997). The upper one is that of a sum with one more trace, heavier than others.
 */
function sumOf(value: number, chances: Chances, { variance, t }: Scatter): Estimate {
  const { part, seen, weight } = chances
  if (part === 0) return { value, low: value, high: value }
  const hidden = (1 - seen) * value
  const spread = part * variance
  const trace = traceOf(hidden, spread, chances)
  const from = hidden > 0 && spread > 0 ? gammaLimit(hidden, spread, -NORMAL) : 0
  // Nothing is hidden, or at least a trace's calls.
  const low = seen * value + (seen > 0 ? Math.max(0, from - trace / weight) : from)
  const heavy = heavier(trace, weight)
  const high = seen * value + gammaLimit(hidden + heavy, spread + heavy ** 2, upward(t))
  return { value, low: Math.min(value, low), high: Math.max(value, high) }
}

/**
 * What a trace weighs that may have been missed. Of few errors it can't be told whether errors of a trace come together, so they are
 * taken to do so as calls do, as if two traces had been seen like that.
 */
function traceOf(hidden: number, variance: number, { weight, clustering }: Chances): number {
  const usual = weight * clustering
  if (!(hidden > 0 && variance > 0)) return usual
  const seen = Math.max(weight, variance / hidden)
  const traces = hidden ** 2 / variance
  return seen + (Math.max(0, usual - seen) * 2) / (traces + 2)
}

/**
 * A sum that is too small has too small a variance too, as the heavy traces are missing: so that the variance is uncertain is a matter of
 * the upper limit alone.
 */
function upward(t: number): number {
  return 2 * t - NORMAL
}

/** What a heavy trace weighs: half as much again as others, as far as that is by how many calls it has. */
function heavier(trace: number, call: number): number {
  return trace + (trace - call) / 2
}

function errorShareBy(counter: Counter, chances: Chances): Estimate {
  const { calls, errorGroups, callGroups } = counter
  const { part, spread, seen, clustering } = chances
  const value = Math.min(1, Math.max(0, counter.errors / calls))
  if (part === 0) return { value, low: value, high: value }
  const around = scatter(g => (errorGroups?.[g] ?? 0) - value * (callGroups?.[g] ?? 0))
  const rare = calls * value * (1 - value)
  const variance = part * around.variance
  // As far as sampling is concerned, calls are as certain as so many of them that are independent.
  const least = spread / calls
  const usual = least * clustering
  const each = rare > 0 && variance > 0 ? Math.max(least, variance / rare) : usual
  const tries = calls / each
  const hits = tries * value
  const misses = tries - hits
  const trace = each + (Math.max(0, usual - each) * 2) / (Math.min(hits, misses) + 2)
  const heavy = heavier(trace, least) / each / (1 - seen)
  // As in sumOf(), of what is rarer.
  const [down, up] = value < 0.5 ? [NORMAL, upward(around.t)] : [upward(around.t), NORMAL]
  const low = betaLimit(hits, misses + heavy, -down)
  const high = betaLimit(hits + heavy, misses, up)
  return { value, low: Math.min(value, low), high: Math.max(value, high) }
}

/** Returns the limit of a beta distribution: cube roots of gamma distributions' ratio are nearly normal (Paulson 1942). */
function betaLimit(hits: number, misses: number, t: number): number {
  if (hits <= 0) return 0
  const [a, b] = [1 / (9 * hits), 1 / (9 * misses)]
  const below = (1 - b) ** 2 - b * t * t
  if (!(below > 0)) return t > 0 ? 1 : 0
  const root = (1 - a) * (1 - b) + t * Math.sqrt(Math.max(0, a * (1 - b) ** 2 + b * (1 - a) ** 2 - a * b * t * t))
  const odds = (hits / misses) * Math.max(0, root / below) ** 3
  return odds / (1 + odds)
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
  const { durationGroups, callGroups } = counter
  const { t } = scatter(g => (durationGroups?.[g] ?? 0) - value * (callGroups?.[g] ?? 0))
  const half = t * Math.sqrt(meanVariance(counter, chances))
  return { value, low: Math.max(0, value - half), high: value + half }
}

/**
 * How much more uncertain the share of durations up to a quantile is as calls of a trace have durations alike; at least 1. The mean's variance
 * tells how alike they are. Calls beyond a high quantile have less in common than that: as much as if durations were lognormal, and
 * correlated within a trace.
 */
function durationClustering(counter: Counter, chances: Chances, q: number): number {
  const { durations } = counter
  const most = chances.clustering - 1
  const alone = independent(durations, chances.spread, counter.calls) / durations.total ** 2
  if (!(most > 0 && alone > 0)) return 1
  const alike = Math.min(1, Math.max(0, (meanVariance(counter, chances) / alone - 1) / most))
  const relative = (durations.deviation()! / durations.mean()!) ** 2
  return 1 + most * alikeBeyond(q, Math.log1p(alike * relative) / Math.log1p(relative))
}

function quantileBy(counter: Counter, chances: Chances, q: number): Estimate | undefined {
  const { durations } = counter
  const value = durations.quantile(q)
  if (value === undefined) return undefined
  const tries = independentDurations(counter, chances, q)
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
function independentDurations(counter: Counter, chances: Chances, q: number): number {
  const { durations, calls } = counter
  if (chances.part === 0) return Number.POSITIVE_INFINITY
  return (durations.total * calls) / (durationClustering(counter, chances, q) * chances.spread)
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
  const ofOne = ({ variance, weight }: Chances, count: number) => Math.max(weight, variance / count)
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
  const tries = independentDurations(after, is, q)
  const triesBefore = independentDurations(before, was, q)
  const index = Math.round((tries * long.indexAt(q)! + triesBefore * short.indexAt(q)!) / (tries + triesBefore))
  const [above, aboveBefore] = [1 - long.shareUpTo(index), 1 - short.shareUpTo(index)]
  const share = (tries * above + triesBefore * aboveBefore) / (tries + triesBefore)
  if (share <= 0 || share >= 1) return 1
  const t = (above - aboveBefore) / Math.sqrt(share * (1 - share) * (1 / tries + 1 / triesBefore))
  const [hits, hitsBefore] = [above * tries, aboveBefore * triesBefore]
  return Math.max(chanceOfT(t, DEGREES), chanceOfHits(hits, hits + hitsBefore, tries / (tries + triesBefore)))
}
