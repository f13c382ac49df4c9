/**
 * Sums of numbers ≥ 0, by index, that are the same in whichever order they are added: floating point's aren't, and a sum of parts has to
 * be that of the whole. Each is kept in two doubles,
 *
 *     sum = high · 2^20 + low,   low < 2^20 and a multiple of 2^-32
 *
 * both of which add up without rounding, as long as the sum is below 2^73. An addend is rounded to a multiple of 2^-32, always alike.
 */
export class ExactSums {
  /** High and low parts of CHUNK sums each. */
  private readonly chunks: (number[] | undefined)[] = []

  /** @param i which sum, below MAX_INDEX */
  add(i: number, addend: number): void {
    addExactly(this.chunkOf(i), 2 * (i % CHUNK), addend)
  }

  merge(other: ExactSums): void {
    for (const [i, high, low] of other.parts()) addParts(this.chunkOf(i), 2 * (i % CHUNK), high, low)
  }

  get(i: number): number {
    const chunk = this.chunks[Math.floor(i / CHUNK)]
    const at = 2 * (i % CHUNK)
    return chunk === undefined ? 0 : chunk[at]! * UNIT + chunk[at + 1]!
  }

  /** The sums that aren't 0, by index. */
  *entries(): Generator<[i: number, sum: number], void> {
    for (const [i, high, low] of this.parts()) yield [i, high * UNIT + low]
  }

  /** As a list for JSON: index, high and low part of each sum that isn't 0. */
  toJSON(): number[] {
    return [...this.parts()].flat()
  }

  /** Reads what toJSON() gave. @throws RangeError if it isn't that */
  static read(list: unknown): ExactSums {
    const sums = new ExactSums()
    if (!Array.isArray(list) || list.length % 3 !== 0) throw new RangeError('not a list of sums')
    for (let at = 0; at < list.length; at += 3) {
      const [i, high, low] = list.slice(at, at + 3) as [number, number, number]
      const isSum = Number.isInteger(i) && i >= 0 && i < MAX_INDEX && high >= 0 && Math.floor(high) === high && low >= 0
      if (!isSum || !(low < UNIT) || high === Number.POSITIVE_INFINITY) throw new RangeError('not a list of sums')
      addParts(sums.chunkOf(i), 2 * (i % CHUNK), high, low)
    }
    return sums
  }

  private *parts(): Generator<[i: number, high: number, low: number], void> {
    for (const [c, chunk] of this.chunks.entries()) {
      if (chunk === undefined) continue
      for (let at = 0; at < 2 * CHUNK; at += 2) {
        if (chunk[at] !== 0 || chunk[at + 1] !== 0) yield [c * CHUNK + at / 2, chunk[at]!, chunk[at + 1]!]
      }
    }
  }

  private chunkOf(i: number): number[] {
    return (this.chunks[Math.floor(i / CHUNK)] ??= new Array<number>(2 * CHUNK).fill(0))
  }
}

/** A double from here to twice as much has its last bit at 2^-32. */
export const UNIT = 2 ** 20
const CHUNK = 16
const MAX_INDEX = 2 ** 16

/** Adds a number ≥ 0 to the sum whose parts are at `at` and behind it. */
export function addExactly(parts: number[] | Float64Array, at: number, addend: number): void {
  const high = addend < UNIT ? 0 : Math.floor(addend / UNIT)
  addParts(parts, at, high, addend - high * UNIT + UNIT - UNIT)
}

/** Adds another sum, by its parts. */
export function addParts(parts: number[] | Float64Array, at: number, high: number, low: number): void {
  const sum = parts[at + 1]! + low
  if (sum < UNIT) {
    if (high !== 0) parts[at]! += high
    parts[at + 1] = sum
  } else {
    parts[at]! += high + 1
    parts[at + 1] = sum - UNIT
  }
}
