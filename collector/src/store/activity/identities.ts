import { spreadOf } from './halves'

/** Each generation grows in this many parts, so that no growth takes long. A power of two. */
const PARTS = 256
const FIRST_SLOTS = 32

/**
 * A set of 64-bit hashes. The parts fill alike, and would all grow within a few insertions: so each has a limit of its own,
 * between a third and two thirds of its slots.
 */
class IdentitySet {
  readonly fromUs: number
  size = 0
  private readonly parts: Int32Array[] = []
  private readonly sizes = new Int32Array(PARTS)

  constructor(fromUs = Number.NEGATIVE_INFINITY) {
    this.fromUs = fromUs
    for (let i = 0; i < PARTS; i++) this.parts.push(new Int32Array(2 * FIRST_SLOTS))
  }

  has(high: number, low: number): boolean {
    const spread = spreadOf(high, low)
    const slots = this.parts[spread >>> 24]!
    const mask = slots.length - 2
    for (let at = (spread >>> 3) & mask; ; at = (at + 2) & mask) {
      const found = slots[at + 1]!
      if (found === low && slots[at] === high) return true
      if (found === 0 && slots[at] === 0) return false
    }
  }

  add(high: number, low: number): void {
    const spread = spreadOf(high, low)
    const part = spread >>> 24
    if (!put(this.parts[part]!, high, low, spread)) return
    this.size++
    const size = ++this.sizes[part]!
    const slots = this.parts[part]!
    if (size * 6 * PARTS < slots.length * (PARTS + part)) return
    const grown = new Int32Array(slots.length * 2)
    for (let at = 0; at < slots.length; at += 2) {
      const [high, low] = [slots[at]!, slots[at + 1]!]
      if (high !== 0 || low !== 0) put(grown, high, low, spreadOf(high, low))
    }
    this.parts[part] = grown
  }
}

/**
 * Puts a hash into a table: two integers for each slot, 0 for an empty one, and twice as many slots as hashes.
 * @returns whether it wasn't there
 */
export function put(slots: Int32Array, high: number, low: number, spread: number): boolean {
  const mask = slots.length - 2
  let at = (spread >>> 3) & mask
  while (slots[at] !== 0 || slots[at + 1] !== 0) {
    if (slots[at] === high && slots[at + 1] === low) return false
    at = (at + 2) & mask
  }
  slots[at] = high
  slots[at + 1] = low
  return true
}

/** Senders repeat a message within seconds; a restarted collector replays what isn't settled. */
const KNOWN_US = 600_000_000
/** 16 bytes each, and half as many again in the youngest generation: 120 MB. */
const MAX_KNOWN = 5_000_000

/** Which records have been counted: those of the last ten minutes, or the last five million. The hash 0 can't be in it. */
export class Identities {
  private generations: IdentitySet[] = [new IdentitySet()]

  has(high: number, low: number): boolean {
    const { generations } = this
    for (let i = 0; i < generations.length; i++) if (generations[i]!.has(high, low)) return true
    return false
  }

  add(high: number, low: number): void {
    this.generations[0]!.add(high, low)
  }

  /** Called after some have been added. */
  age(nowUs: number): void {
    const { generations } = this
    const [young] = generations
    if (young!.size < MAX_KNOWN / 2 && nowUs - young!.fromUs < KNOWN_US / 2) return
    this.generations = [new IdentitySet(nowUs), ...generations.slice(0, 2)]
  }
}
