/** An i64 and its two halves. On a little-endian machine, as all that run this are, the low half comes first. */
const wide = new BigInt64Array(1)
const words = new Int32Array(wide.buffer)
const [LOW, HIGH] = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? [0, 1] : [1, 0]
const DIGITS = Uint8Array.from('0123456789abcdef', digit => digit.charCodeAt(0))

/** Returns the 16 lower-case hex digits of an i64; a negative one has those of its two's complement. */
export function hexId(id: bigint): string {
  wide[0] = id
  return hexOf(words[HIGH]!, words[LOW]!)
}

function hexOf(hi: number, lo: number): string {
  const d = DIGITS
  // One call makes a flat string. It takes a quarter of the time of BigInt's toString and padStart.
  return String.fromCharCode(
    d[hi >>> 28]!,
    d[(hi >>> 24) & 15]!,
    d[(hi >>> 20) & 15]!,
    d[(hi >>> 16) & 15]!,
    d[(hi >>> 12) & 15]!,
    d[(hi >>> 8) & 15]!,
    d[(hi >>> 4) & 15]!,
    d[hi & 15]!,
    d[lo >>> 28]!,
    d[(lo >>> 24) & 15]!,
    d[(lo >>> 20) & 15]!,
    d[(lo >>> 16) & 15]!,
    d[(lo >>> 12) & 15]!,
    d[(lo >>> 8) & 15]!,
    d[(lo >>> 4) & 15]!,
    d[lo & 15]!,
  )
}

/** Ids come from untrusted senders. The seed keeps them from choosing ids that all collide in one slot. */
const SEED = crypto.getRandomValues(new Int32Array(3))

/**
 * Numbers the span ids of a trace from 0, in the order in which they are added. It is an open hash table over both halves of
 * the ids. A Map of BigInts takes five times as long, which would be most of a large trace's time.
 */
export class IdTable {
  /** The number of ids that have been added. */
  size = 0
  private readonly hi: Int32Array
  private readonly lo: Int32Array
  /** Each slot holds an id's number plus one; 0 is a free slot. */
  private readonly slots: Int32Array

  /** @param capacity the largest number of ids that will be added */
  constructor(capacity: number) {
    this.hi = new Int32Array(capacity)
    this.lo = new Int32Array(capacity)
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * capacity + 2)))
  }

  add(id: bigint): number {
    const slot = this.slotOf(id)
    const known = this.slots[slot]!
    if (known !== 0) return known - 1
    this.hi[this.size] = words[HIGH]!
    this.lo[this.size] = words[LOW]!
    this.slots[slot] = ++this.size
    return this.size - 1
  }

  /** Returns the id's number, or −1 if it hasn't been added. */
  find(id: bigint): number {
    return this.slots[this.slotOf(id)]! - 1
  }

  hex(n: number): string {
    return hexOf(this.hi[n]!, this.lo[n]!)
  }

  /** Orders two ids as their hex digits are ordered. */
  compare(a: number, b: number): number {
    return (this.hi[a]! >>> 0) - (this.hi[b]! >>> 0) || (this.lo[a]! >>> 0) - (this.lo[b]! >>> 0)
  }

  /** Returns the slot where the id is, or would be. It leaves the id's halves in `words`. */
  private slotOf(id: bigint): number {
    wide[0] = id
    const hi = words[HIGH]!
    const lo = words[LOW]!
    let hash = Math.imul(lo ^ SEED[0]!, SEED[1]! | 1)
    hash = Math.imul(hash ^ (hash >>> 15) ^ hi, SEED[2]! | 1)
    hash ^= hash >>> 13
    const mask = this.slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const n = this.slots[slot]! - 1
      if (n === -1 || (this.hi[n] === hi && this.lo[n] === lo)) return slot
    }
  }
}
