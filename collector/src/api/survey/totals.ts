import { gammaLimit, NORMAL } from '../../store/activity/chance'
import type { Estimate } from '../../store/activity/estimates'
import { type TraceSummary, weightOf } from '../../trace'
import { type Bucket, type Found, type Survey, sampledOf, shareOf } from './survey'

/**
 * What a survey says of all traces, with intervals of 95%. Two things hide traces, the sampler and the survey itself, and both do it by
 * chance: a trace was kept with the probability p, and is in the share s of its bucket that was read. So it stands for w = 1 / (p · s)
 * traces, and Σ w of those that were found is how many there are (Horvitz and Thompson 1952). Its variance is Σ w(w − 1), as each trace
 * was found independently of others, or `clumping` times that. The limits are those of gamma distributions; the upper one is that of one trace
 * more, as one may have been missed (Fay and Feuer 1997). Where everything was read and kept, they are exact.
 */

/** What was found of something: how many traces, or failures, a trace stands for. */
export interface Seen {
  weight: number
  /** How often the trace has it. */
  count: number
}

interface Hidden {
  /** How many there are at least, as so many are known. */
  known: number
  /** What one stands for that may have been missed, if none was found. */
  missing: number
  clumping: number
}

export function totalOf(seen: Iterable<Seen>, { known, missing, clumping }: Hidden): Estimate {
  let [value, counted, spread, heaviest, most] = [0, 0, 0, 0, 0]
  for (const { weight, count } of seen) {
    value += weight * count
    counted += count
    spread += weight * (weight - 1) * count ** 2 * clumping
    heaviest = Math.max(heaviest, weight * count)
    most = Math.max(most, count)
  }
  const heavy = counted === 0 ? missing : heaviest
  if (spread === 0 && (counted > 0 || heavy <= 1)) {
    const exact = Math.max(value, known)
    return { value: exact, low: exact, high: exact }
  }
  const hidden = value - counted
  const low = spread > 0 ? counted + Math.max(0, gammaLimit(hidden, spread, -NORMAL) - most) : 0
  const high = counted + gammaLimit(hidden + heavy, spread + heavy ** 2 * clumping, NORMAL)
  const likely = Math.max(value, known)
  return { value: likely, low: Math.min(likely, Math.max(low, known)), high: Math.max(likely, high) }
}

/** How many stored traces match, of all buckets. Where nothing was read, there are as many as elsewhere, and no upper limit is known. */
export function matchingOf({ buckets, read, clumping }: Survey): Estimate {
  const seen = buckets.flatMap(bucket => sampledOf(bucket).map(() => ({ weight: 1 / shareOf(bucket), count: 1 })))
  const covered = buckets.filter(bucket => shareOf(bucket) > 0)
  const missing = Math.max(1, ...covered.map(bucket => 1 / shareOf(bucket)))
  const total = totalOf(seen, { known: read, missing, clumping })
  if (covered.length === buckets.length) return total
  const length = (some: Bucket[]) => some.reduce((sum, { fromUs, toUs }) => sum + toUs + 1 - fromUs, 0)
  const value = covered.length === 0 ? read : (total.value * length(buckets)) / length(covered)
  return { value, low: total.low, high: Infinity }
}

/** How many stored traces of a bucket match. @param parts those of the bucket */
export function storedOf(parts: Bucket[], clumping: number): Estimate {
  return totalOfParts(
    parts,
    clumping,
    found => found.length,
    () => 1,
    () => 1,
  )
}

/**
 * How many traces of a bucket there were, not just the kept ones, or how many with what `has` returns true for.
 * @param parts those of the bucket
 * @param typical what a trace stands for elsewhere, as far as the sampler is concerned
 */
export function callsOf(
  parts: Bucket[],
  clumping: number,
  typical: number,
  has: (trace: TraceSummary) => boolean = () => true,
): Estimate {
  const weight = ({ trace }: Found) => (has(trace) ? weightOf(trace.probability) : 0)
  const missing = (part: Bucket) => {
    const own = sampledOf(part).map(({ trace }) => weightOf(trace.probability))
    return Math.max(...own) > 0 ? Math.max(...own) : typical
  }
  return totalOfParts(parts, clumping, found => found.filter(one => weight(one) > 0).length, weight, missing)
}

/** @param missing what a trace stands for that may have been missed in a part, as far as the sampler is concerned */
function totalOfParts(
  parts: Bucket[],
  clumping: number,
  countOf: (found: Found[]) => number,
  weightOfOne: (one: Found) => number,
  missing: (part: Bucket) => number,
): Estimate {
  const known = parts.reduce((sum, { found }) => sum + countOf(found), 0)
  const read = parts.filter(part => shareOf(part) > 0)
  if (read.length === 0) return { value: known, low: known, high: Infinity }
  const seen = read.flatMap(part =>
    sampledOf(part)
      .map(one => ({ weight: weightOfOne(one) / shareOf(part), count: 1 }))
      .filter(({ weight }) => weight > 0),
  )
  const most = Math.max(...read.map(part => missing(part) / shareOf(part)))
  const total = totalOf(seen, { known, missing: most, clumping })
  return read.length === parts.length ? total : { ...total, high: Infinity }
}

/** What a trace stands for, as far as the sampler is concerned: the mean of all the traces that there were. */
export function typicalWeight({ buckets }: Survey): number {
  let [sum, squares] = [0, 0]
  for (const { found } of buckets) {
    for (const { trace } of found) {
      const weight = weightOf(trace.probability)
      sum += weight
      squares += weight ** 2
    }
  }
  return sum === 0 ? 1 : squares / sum
}

/**
 * Returns a quantile of the durations of a bucket's traces, each with its weight; null if too few were read to say: one of them should be
 * beyond it.
 * @param parts those of the bucket
 */
export function quantileOf(parts: Bucket[], q: number): number | null {
  const known = parts
    .flatMap(part =>
      sampledOf(part).map(({ trace }) => ({
        duration: trace.duration,
        weight: weightOf(trace.probability) / shareOf(part),
      })),
    )
    .filter((one): one is { duration: number; weight: number } => one.duration !== null && one.weight > 0)
    .sort((a, b) => a.duration - b.duration)
  if (!parts.every(({ complete }) => complete) && known.length * (1 - q) < 1 - 1e-9) return null
  const total = known.reduce((sum, { weight }) => sum + weight, 0)
  let below = 0
  for (const { duration, weight } of known) {
    below += weight
    if (below >= q * total - 1e-9 * total) return duration
  }
  return null
}

/**
 * Returns a part of the traces for a plot, oldest first: as many from each part of the range, as far as it has them. Where it isn't known
 * how far the search has come, it is what was found.
 */
export function sampleOf({ buckets }: Survey, most: number): TraceSummary[] {
  const traces = buckets.flatMap(bucket => {
    const some = shareOf(bucket) > 0 ? sampledOf(bucket) : bucket.found
    return some.map(({ trace }) => trace)
  })
  traces.sort((a, b) => (a.start ?? 0) - (b.start ?? 0) || (a.traceId < b.traceId ? -1 : 1))
  return evenly(traces, most)
}

/** Chooses from all parts of a list alike. */
export function evenly<T>(list: T[], most: number): T[] {
  if (list.length <= most) return list
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)]!)
}
