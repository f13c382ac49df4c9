import type { Bytes, Cursor } from '../bytes'

/**
 * A distribution of durations. Bins grow by a constant ratio γ, so that every duration is at most 2% away from the middle of its
 * bin, however small or large it is: the mapping of DDSketch (Masson, Rim, Lee: "DDSketch", VLDB 2019). Bins are sums of
 * weights, so sketches add up and can be taken apart again exactly. The sum of all durations is kept beside them: a mean doesn't
 * depend on the bins.
 */
const ACCURACY = 0.02
const GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
const BINS_PER_E = 1 / Math.log(GAMMA)
/** Longer durations count as this one: 60 hours. */
export const MAX_US = 60 * 3600e6
const MAX_INDEX = Math.ceil(Math.log(MAX_US) * BINS_PER_E)
/** The index of what is shorter than a microsecond. */
const ZERO_BIN = -1
/** How many bins are added at once, so that few sketches have to grow twice. */
const ROOM = 16

/** No call weighs less than 1, so a bin with less than this is empty: corrections leave the rounding errors of 32-bit floats. */
const ROUNDING = 1e-3

export class Sketch {
  /** Σ weight. */
  total = 0
  /** Σ weight · duration, in microseconds. */
  sum = 0
  private zero = 0
  /** The bin with index i, of durations in (γ^(i−1), γ^i], is bins[i − first]. */
  private bins: Float64Array = NONE
  private first = 0

  /** @param weight negative to take a duration back */
  add(durationUs: number, weight: number): void {
    if (durationUs > MAX_US) durationUs = MAX_US
    this.total += weight
    if (durationUs < 1) {
      this.zero += weight
      return
    }
    this.sum += weight * durationUs
    const at = this.roomFor(binOf(durationUs))
    this.bins[at]! += weight
  }

  /** @param sign −1 to take the other's durations away */
  merge(other: Sketch, sign = 1): void {
    this.total += sign * other.total
    this.sum += sign * other.sum
    this.zero += sign * other.zero
    const { bins, first } = other
    let low = 0
    let high = bins.length - 1
    while (low <= high && bins[low] === 0) low++
    while (high > low && bins[high] === 0) high--
    if (low > high) return
    this.roomFor(first + high)
    const shift = this.roomFor(first + low) - low
    for (let i = low; i <= high; i++) this.bins[i + shift]! += sign * bins[i]!
  }

  /** Returns a quantile in microseconds, at most 2% away from that of the durations; undefined if there are none. */
  quantile(q: number): number | undefined {
    const index = this.indexAt(q)
    return index === undefined ? undefined : middleOf(index)
  }

  /** Returns the index of the bin that holds a quantile: the first bin up to which there is a share `q` of all weights. */
  indexAt(q: number): number | undefined {
    if (this.total <= ROUNDING) return undefined
    const { bins, first } = this
    let last = this.zero > 0 ? ZERO_BIN : undefined
    // The sums of bins and the total are rounded each in its own way.
    let below = Math.max(0, this.zero) + 1e-9 * this.total
    const rank = q * this.total
    if (last !== undefined && below >= rank) return last
    for (let i = 0; i < bins.length; i++) {
      if (bins[i]! <= ROUNDING) continue
      below += bins[i]!
      last = first + i
      if (below >= rank) return last
    }
    return last
  }

  /**
   * Returns a limit of a quantile, in microseconds: within its bin by how much of the bin is below it. Or the bin's edge, if the bin has
   * more than a share `heavy` of all, and more than both of its neighbors, as then all of that may be at one place.
   * @param q above 0; there are durations
   */
  boundAt(q: number, heavy: number, isUpper: boolean): number {
    const index = this.indexAt(q)!
    if (index === ZERO_BIN) return isUpper ? 1 : 0
    const before = this.shareUpTo(index - 1)
    const here = this.shareUpTo(index) - before
    const neighbors = this.shareUpTo(index + 1) - this.shareUpTo(index - 2) - here
    if ((here > heavy && here > neighbors) || here <= 0) return GAMMA ** (isUpper ? index : index - 1)
    return GAMMA ** (index - 1 + Math.min(1, Math.max(0, (q - before) / here)))
  }

  /** Returns the share of all weights that is in the bins up to this one. */
  shareUpTo(index: number): number {
    let below = Math.max(0, this.zero)
    const end = Math.min(this.bins.length, index - this.first + 1)
    for (let i = 0; i < end; i++) below += Math.max(0, this.bins[i]!)
    return Math.min(1, below / this.total)
  }

  /** Returns the mean in microseconds; undefined if there are no durations. */
  mean(): number | undefined {
    return this.total > ROUNDING ? this.sum / this.total : undefined
  }

  /** Returns the standard deviation of the durations in microseconds, by the middles of the bins. */
  deviation(): number | undefined {
    if (this.total <= ROUNDING) return undefined
    let [weights, values, squares] = [Math.max(0, this.zero), 0, 0]
    let value = middleOf(this.first)
    for (let i = 0; i < this.bins.length; i++, value *= GAMMA) {
      const weight = Math.max(0, this.bins[i]!)
      weights += weight
      values += weight * value
      squares += weight * value * value
    }
    return weights === 0 ? 0 : Math.sqrt(Math.max(0, squares / weights - (values / weights) ** 2))
  }

  /** Calls `each` for every bin that isn't empty, from short to long. @param each is told the upper bound in microseconds */
  forEach(each: (upToUs: number, weight: number) => void): void {
    if (Math.abs(this.zero) > ROUNDING) each(1, this.zero)
    for (let i = 0; i < this.bins.length; i++) {
      if (Math.abs(this.bins[i]!) > ROUNDING) each(GAMMA ** (this.first + i), this.bins[i]!)
    }
  }

  /**
   * Writes the sum, the bin of zero, the number of bins, and each bin as its distance from the one before and its weight. Weights
   * that aren't whole are written as 32-bit floats: no quantile needs more.
   */
  write(bytes: Bytes): void {
    const { bins, first } = this
    const isEmpty = (weight: number) => Math.abs(weight) <= ROUNDING
    bytes.number(this.sum)
    bytes.number(isEmpty(this.zero) ? 0 : this.zero)
    let count = 0
    for (let i = 0; i < bins.length; i++) if (!isEmpty(bins[i]!)) count++
    bytes.varint(count)
    let before = ZERO_BIN
    for (let i = 0; count > 0; i++) {
      const weight = bins[i]!
      if (isEmpty(weight)) continue
      count--
      const size = Math.abs(weight)
      const isWhole = size < 2 ** 31 && Math.floor(size) === size
      bytes.varint(4 * (first + i - before) + (weight < 0 ? 2 : 0) + (isWhole ? 0 : 1))
      before = first + i
      if (isWhole) bytes.varint(size)
      else bytes.f32(size)
    }
  }

  /** Adds a written sketch, which costs less than to read and merge it. @throws RangeError if these bytes aren't a sketch */
  mergeWritten(cursor: Cursor, sign = 1): void {
    this.sum += sign * finite(cursor.number())
    const zero = sign * finite(cursor.number())
    this.zero += zero
    this.total += zero
    let index = ZERO_BIN
    for (let count = cursor.varint(); count > 0; count--) {
      const head = cursor.varint()
      index += Math.floor(head / 4)
      if (head < 4 || !(index <= MAX_INDEX) || cursor.pos >= cursor.buf.length) throw new RangeError('not a sketch')
      const size = head & 1 ? finite(cursor.f32()) : cursor.varint()
      const weight = head & 2 ? -sign * size : sign * size
      const at = this.roomFor(index)
      this.bins[at]! += weight
      this.total += weight
    }
  }

  static read(cursor: Cursor): Sketch {
    const sketch = new Sketch()
    sketch.mergeWritten(cursor)
    return sketch
  }

  /** Makes room for a bin. @returns its place in `bins` */
  private roomFor(index: number): number {
    const { bins, first } = this
    if (index >= first && index < first + bins.length) return index - first
    if (bins.length === 0) {
      this.first = Math.max(0, index - ROOM / 2)
      this.bins = new Float64Array(ROOM)
    } else {
      const from = index < first ? Math.max(0, index - ROOM) : first
      const to = index < first ? first + bins.length : index + ROOM
      this.bins = new Float64Array(to - from)
      this.bins.set(bins, first - from)
      this.first = from
    }
    return index - this.first
  }
}

const NONE = new Float64Array(0)

/** Returns the index of a duration's bin. @param durationUs at most MAX_US */
export function binOf(durationUs: number): number {
  return durationUs < 1 ? ZERO_BIN : Math.ceil(Math.log(durationUs) * BINS_PER_E)
}

/** Returns where a bin ends, in microseconds. */
export function boundOf(index: number): number {
  return index === ZERO_BIN ? 1 : GAMMA ** index
}

/** Returns the duration that is at most 2% away from all of a bin, in microseconds. */
export function middleOf(index: number): number {
  return index === ZERO_BIN ? 0 : GAMMA ** index * (1 - ACCURACY)
}

function finite(n: number): number {
  if (!Number.isFinite(n)) throw new RangeError('not a number')
  return n
}
