import { addExactly, addParts, UNIT } from './exact-sums'
import { atLevel } from './latency-buckets'

/**
 * A row of sums ≥ 0 for each bucket of latency. Sums are exact, as those of ExactSums: the same in whichever order they are added. Each is in
 * two doubles, `high · 2^20 + low`; what is beyond 2^73 counts as 2^73, so that even nonsense adds up alike.
 */
export class BucketSums {
  readonly buckets: number[] = []
  private readonly width: number
  private parts = EMPTY
  private latest = 0

  /** @param width how many sums a bucket has */
  constructor(width: number) {
    this.width = width
  }

  /** Returns the row of a bucket, which add() needs; valid until another bucket is added. */
  rowOf(bucket: number): number {
    const { buckets } = this
    if (buckets[this.latest] === bucket) return this.latest
    this.latest = buckets.indexOf(bucket)
    if (this.latest !== -1) return this.latest
    const size = 2 * this.width
    if ((buckets.length + 1) * size > this.parts.length) {
      const grown = new Float64Array((buckets.length + 1 + (buckets.length >> 1)) * size)
      grown.set(this.parts)
      this.parts = grown
    }
    return (this.latest = buckets.push(bucket) - 1)
  }

  /** @param which which sum of the row */
  add(row: number, which: number, addend: number): void {
    const at = 2 * (row * this.width + which)
    addExactly(this.parts, at, addend)
    this.bound(at)
  }

  /**
   * Adds weight · us without rounding, so that it makes no difference whether times are added up before: but for the weight, which counts as the
   * nearest multiple of 2^-32.
   * @param us a whole number below 2^41
   */
  addProduct(row: number, which: number, weight: number, us: number): void {
    const whole = Math.floor(weight)
    const part = weight - whole + UNIT - UNIT
    const high = Math.floor(us / UNIT)
    const low = us - high * UNIT
    this.add(row, which, whole * low)
    if (part > 0) this.add(row, which, part * low)
    if (high === 0) return
    this.add(row, which, whole * high * UNIT)
    if (part > 0) this.add(row, which, part * high * UNIT)
  }

  /** Returns a sum; 0 if the bucket has none. */
  get(bucket: number, which: number): number {
    const row = this.buckets.indexOf(bucket)
    if (row === -1) return 0
    const at = 2 * (row * this.width + which)
    return this.parts[at]! * UNIT + this.parts[at + 1]!
  }

  /** Adds another one's sums, of the same level. */
  merge(other: BucketSums): void {
    const { width } = this
    for (const [from, bucket] of other.buckets.entries()) {
      const row = this.rowOf(bucket)
      for (let which = 0; which < width; which++) {
        const at = 2 * (from * width + which)
        this.put(row, which, other.parts[at]!, other.parts[at + 1]!)
      }
    }
  }

  /** Adds some sums of one with other rows. @param which for each sum of this one's rows, which one of the other's */
  mergeSome(other: BucketSums, which: readonly number[]): void {
    for (const [from, bucket] of other.buckets.entries()) {
      const row = this.rowOf(bucket)
      for (const [to, of] of which.entries()) {
        const at = 2 * (from * other.width + of)
        this.put(row, to, other.parts[at]!, other.parts[at + 1]!)
      }
    }
  }

  /** Returns the same sums by larger buckets. @param levels how many levels higher */
  coarser(levels: number): BucketSums {
    const to = new BucketSums(this.width)
    const one = new BucketSums(this.width)
    for (const [row, bucket] of this.buckets.entries()) {
      one.buckets[0] = atLevel(bucket, levels)
      one.parts = this.parts.subarray(2 * row * this.width, 2 * (row + 1) * this.width)
      to.merge(one)
    }
    return to
  }

  /** For JSON: each bucket that is wanted and its row. A sum that a double doesn't hold is a pair. */
  list(isWanted: (bucket: number) => boolean): unknown[] {
    const { width, parts } = this
    return this.buckets.flatMap((bucket, row) => {
      if (!isWanted(bucket)) return []
      const values: unknown[] = [bucket]
      for (let at = 2 * row * width; at < 2 * (row + 1) * width; at += 2) {
        const [high, low] = [parts[at]!, parts[at + 1]!]
        const sum = high * UNIT + low
        values.push(Math.floor(sum / UNIT) === high && sum - high * UNIT === low ? sum : [high, low])
      }
      return [values]
    })
  }

  /** Reads what list() gave. @throws RangeError if it isn't that */
  static read(json: unknown, width: number): BucketSums {
    const sums = new BucketSums(width)
    for (const values of listOf(json)) {
      const [bucket, ...rest] = listOf(values)
      if (!Number.isSafeInteger(bucket) || rest.length !== width) throw new RangeError('not sums by bucket')
      const row = sums.rowOf(bucket as number)
      for (const [which, sum] of rest.entries()) {
        const [high, low] = Array.isArray(sum) ? sum : [Math.floor((sum as number) / UNIT), (sum as number) % UNIT]
        if (!(Number.isSafeInteger(high) && high >= 0 && low >= 0 && low < UNIT)) throw new RangeError('not a sum')
        sums.put(row, which, high, low)
      }
    }
    return sums
  }

  private put(row: number, which: number, high: number, low: number): void {
    const at = 2 * (row * this.width + which)
    addParts(this.parts, at, high, low)
    this.bound(at)
  }

  private bound(at: number): void {
    const { parts } = this
    if (parts[at]! >= MOST) {
      parts[at] = MOST
      parts[at + 1] = 0
    }
  }
}

const EMPTY = new Float64Array(0)
const MOST = 2 ** 53 - 1

export function listOf(json: unknown): unknown[] {
  if (!Array.isArray(json)) throw new RangeError('not a list')
  return json
}
