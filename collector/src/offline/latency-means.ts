import type { BucketSums } from './bucket-sums'
import { CUTS } from './latency-buckets'
import { ALL, type RootSums, SUM } from './root-sums'

/**
 * Mean times of the traces of a root operation, and how uncertain they are: of all, and of each band between two percentiles. A bucket
 * that a percentile cuts belongs to both bands in part, so that bands of two windows are compared at exactly the same percentiles.
 *
 * The mean of a time x in the band of the shares q₁ to q₂ is Σ w·x of its traces / ((q₂ − q₁)·Σ w). That the percentiles are uncertain too
 * adds to its variance: with a₁ and a₂ the mean of x at the two percentiles, it is that of the sum of
 *
 *     z = a₁ − a₂ below the band │ x − a₂ within it │ 0 above it            (linearization, as of a trimmed mean)
 *
 * whose variance is Σ w²·(z − z̄)², as traces are independent of each other, and of the coin that keeps them too.
 */
export interface Mean {
  /** Microseconds a trace. */
  us: number
  /** The standard error; null if there are too few traces to tell. */
  se: number | null
  /** How many degrees of freedom it has. */
  degrees: number
}

/** The band of all traces first, then those between cuts. */
export const ALL_BANDS = [[0, 1], ...CUTS.slice(1).map((to, i) => [CUTS[i]!, to])] as [number, number][]

/** Which parts of a root operation's buckets are in a band. */
export class BandParts {
  readonly buckets: readonly number[]
  /** Which part of each is in the band, and whether the others are below it. */
  readonly part: Float64Array
  readonly below: Float64Array
  /** Σ w of all traces and of the band's. */
  readonly total: number
  readonly weight: number
  /** How many traces the band has, and how many of equal weight would say as much. */
  readonly traces: number
  readonly effective: number
  /** The buckets with the percentiles where it begins and ends; undefined at 0 and 1. */
  private readonly first: number | undefined
  private readonly last: number | undefined
  private readonly all: BucketSums
  private readonly squares: number
  private readonly count: number

  constructor({ all }: RootSums, [from, to]: [number, number]) {
    this.all = all
    this.buckets = [...all.buckets].sort((a, b) => a - b)
    this.part = new Float64Array(this.buckets.length)
    this.below = new Float64Array(this.buckets.length)
    const sum = (which: number) => this.buckets.reduce((sum, bucket) => sum + all.get(bucket, which), 0)
    this.total = sum(ALL.weight)
    this.squares = sum(ALL.squareWeight)
    this.count = sum(ALL.traces)
    this.weight = (to - from) * this.total
    let [begin, traces, squares] = [0, 0, 0]
    for (const [i, bucket] of this.buckets.entries()) {
      const weight = all.get(bucket, ALL.weight)
      const end = i === this.buckets.length - 1 ? this.total : begin + weight
      const inside = Math.min(end, to * this.total) - Math.max(begin, from * this.total)
      this.part[i] = Math.min(1, Math.max(0, inside / weight))
      this.below[i] = Math.min(1, Math.max(0, (from * this.total - begin) / weight))
      if (from > 0 && begin < from * this.total) this.first = bucket
      if (to < 1 && begin < to * this.total) this.last = bucket
      traces += this.part[i]! * all.get(bucket, ALL.traces)
      squares += this.part[i]! * all.get(bucket, ALL.squareWeight)
      begin = end
    }
    this.traces = traces
    this.effective = squares > 0 ? this.weight ** 2 / squares : 0
  }

  /** The mean latency. */
  latency(): Mean {
    return this.mean(this.all, ALL.us, ALL.squareUs, ALL.squares, this.traces)
  }

  /** The mean time in an operation. */
  of(sums: BucketSums): Mean {
    return this.mean(sums, SUM.us, SUM.squareUs, SUM.squares, this.sum(sums, SUM.traces))
  }

  /** Returns a sum of the band's parts of the buckets. */
  sum(sums: BucketSums, which: number): number {
    let sum = 0
    for (const [i, bucket] of this.buckets.entries()) {
      if (this.part[i]! > 0) sum += this.part[i]! * sums.get(bucket, which)
    }
    return sum
  }

  private mean(sums: BucketSums, us: number, squareUs: number, squares: number, having: number): Mean {
    const { all, total, weight, count } = this
    const at = (bucket: number | undefined) =>
      bucket === undefined ? 0 : sums.get(bucket, us) / all.get(bucket, ALL.weight)
    const [begin, end] = [at(this.first), at(this.last)]
    let [sumUs, sum, product, square] = [0, 0, 0, 0]
    for (const [i, bucket] of this.buckets.entries()) {
      const [part, below] = [this.part[i]!, this.below[i]!]
      const weights = all.get(bucket, ALL.weight)
      const weightSquares = all.get(bucket, ALL.squareWeight)
      if (below > 0) {
        const z = begin - end
        sum += below * weights * z
        product += below * weightSquares * z
        square += below * weightSquares * z * z
      }
      if (part === 0) continue
      const ofUs = sums.get(bucket, us)
      const linear = sums.get(bucket, squareUs)
      sumUs += part * ofUs
      sum += part * (ofUs - end * weights)
      product += part * (linear - end * weightSquares)
      square += part * (1e6 * sums.get(bucket, squares) - 2 * end * linear + end * end * weightSquares)
    }
    const mean = sum / total
    const variance = square - 2 * mean * product + mean * mean * this.squares
    const share = this.traces > 0 ? Math.min(1, having / this.traces) : 0
    // What hardly a trace has is as uncertain as few traces are.
    const degrees = Math.max(1, share * this.effective - 1)
    return {
      us: weight > 0 ? sumUs / weight : 0,
      se: count < 2 ? null : Math.sqrt((Math.max(0, variance) * count) / (count - 1)) / weight,
      degrees,
    }
  }
}
