import { binOf, boundOf, MAX_US } from '../store/activity/sketch'

/**
 * Latencies in buckets, so that sums of traces can be cut at percentiles when all traces are known. Buckets are the bins of the live
 * figures' sketch: each ends 4.1% above the one before. If the latencies of one operation are in more than MAX_BUCKETS of them, two
 * neighbors become one, and again if need be:
 *
 *     level 0   bins …  3 │ 4 │ 5 │ 6 │ 7 │ 8        each (γ^(i−1), γ^i]
 *     level 1   bins …   2    │   3   │   4          bin ⌈i/2⌉
 *
 * Which level that takes follows from the set of all buckets, not from the order in which they come (as in UDDSketch, 2020).
 */
export const MAX_BUCKETS = 96
/** Whatever the latencies are, they are in at most MAX_BUCKETS buckets of this level. */
export const TOP_LEVEL = 3

const RATIO = 1.02 / 0.98
/** The bucket of what takes less than a microsecond, at all levels. */
const ZERO = -1

/** @param latencyUs longer ones than 60 hours are in the bucket of 60 hours */
export function bucketOf(latencyUs: number, level: number): number {
  return atLevel(binOf(Math.min(latencyUs, MAX_US)), level)
}

/** Returns the bucket at a level of what has this bin at level 0. */
export function atLevel(bin: number, level: number): number {
  return bin === ZERO ? ZERO : Math.ceil(bin / 2 ** level)
}

/** Returns how many times as long as the shortest latency of a bucket its longest one is. */
export function ratioOf(level: number): number {
  return RATIO ** (2 ** level)
}

/** Returns the longest latency of a bucket, in whole microseconds. */
export function endOf(bucket: number, level: number): number {
  if (bucket === ZERO) return 0
  const bin = bucket * 2 ** level
  const end = Math.floor(boundOf(bin))
  // Bounds are rounded, and so are logarithms: the buckets have the last word.
  if (binOf(end + 1) <= bin) return end + 1
  return binOf(end) > bin ? end - 1 : end
}

/** Returns the latency that all of a bucket are nearest to, relatively: with level 0 that of the live figures' percentiles. */
export function middleOfBucket(bucket: number, level: number): number {
  if (bucket === ZERO) return 0
  const end = boundOf(bucket * 2 ** level)
  return (2 * end) / (1 + ratioOf(level))
}

/** Where BANDS begin and end, as shares of all traces. */
export const CUTS = [0, 0.5, 0.95, 0.99, 1]
