import { spreadOf } from './halves'

/** Each generation grows in this many parts, so that no growth takes long. The highest bits of a hash choose the part. */
const PARTS = 256
const PART_SHIFT = 24
const FIRST_SLOTS = 16

/**
 * A set of 64-bit hashes. The parts fill alike, and would all grow within a few insertions: so each has a limit of its own,
 * between 55% and 80% of its slots.
 */
class IdentitySet {
  readonly fromUs: number
  size = 0
  private readonly parts: Int32Array[] = []
  private readonly left = new Int32Array(PARTS)

  constructor(fromUs = Number.NEGATIVE_INFINITY) {
    this.fromUs = fromUs
    for (let part = 0; part < PARTS; part++) {
      this.parts.push(new Int32Array(2 * FIRST_SLOTS))
      this.left[part] = limitOf(part, FIRST_SLOTS)
    }
  }

  has(high: number, low: number): boolean {
    const spread = spreadOf(high, low)
    const slots = this.parts[spread >>> PART_SHIFT]!
    for (let at = firstSlot(slots, spread); ; ) {
      const found = slots[at + 1]!
      if (found === low && slots[at] === high) return true
      if (found === 0 && slots[at] === 0) return false
      at += 2
      if (at === slots.length) at = 0
    }
  }

  add(high: number, low: number): void {
    const spread = spreadOf(high, low)
    const part = spread >>> PART_SHIFT
    const slots = this.parts[part]!
    if (!put(slots, high, low, spread)) return
    this.size++
    if (--this.left[part]! > 0) return
    const grown = new Int32Array(2 * Math.floor(0.75 * slots.length))
    for (let at = 0; at < slots.length; at += 2) {
      const [high, low] = [slots[at]!, slots[at + 1]!]
      if (high !== 0 || low !== 0) put(grown, high, low, spreadOf(high, low))
    }
    this.parts[part] = grown
    this.left[part] = limitOf(part, grown.length / 2) - limitOf(part, slots.length / 2)
  }
}

/** How many hashes a part's slots may hold. */
function limitOf(part: number, slots: number): number {
  return Math.floor(slots * (0.55 + (0.25 * part) / PARTS))
}

/** Slots are of any number, and in the order of the hashes' lower bits: a power of two would waste a third of the memory. */
function firstSlot(slots: Int32Array, spread: number): number {
  return (((spread & 0xffffff) * slots.length) / 0x2000000) << 1
}

/**
 * Puts a hash into a table: two integers for each slot, 0 for an empty one, and more slots than hashes.
 * @returns whether it wasn't there
 */
export function put(slots: Int32Array, high: number, low: number, spread: number): boolean {
  let at = firstSlot(slots, spread)
  while (slots[at] !== 0 || slots[at + 1] !== 0) {
    if (slots[at] === high && slots[at + 1] === low) return false
    at += 2
    if (at === slots.length) at = 0
  }
  slots[at] = high
  slots[at + 1] = low
  return true
}

/** Senders repeat a message within seconds; a restarted collector replays what isn't settled. */
const KNOWN_US = 600_000_000
/** With half as many again in the youngest generation, and 15 bytes each, they take 110 MB at most; a million takes 15 MB. */
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
