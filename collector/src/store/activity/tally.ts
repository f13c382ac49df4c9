import { MULTIPLIER } from '../../record/seed'
import { Counter } from './counter'

const WIDTH = 5

/** Counters by five integers: a minute's and words'. */
export class Tally {
  size = 0
  readonly counters: Counter[] = []
  private keys = new Int32Array(WIDTH * 64)
  /** Places in `keys` and `counters`, plus one; 0 for an empty slot. */
  private slots = new Int32Array(128)

  get(minute: number, a: number, b: number, c: number, d: number): Counter {
    const { keys, slots } = this
    const mask = slots.length - 1
    let slot = hashOf(minute, a, b, c, d) & mask
    for (;;) {
      const place = slots[slot]! - 1
      if (place === -1) return this.add(slot, minute, a, b, c, d)
      const at = place * WIDTH
      if (keys[at + 1] === a && keys[at + 2] === b && keys[at] === minute && keys[at + 3] === c && keys[at + 4] === d)
        return this.counters[place]!
      slot = (slot + 1) & mask
    }
  }

  /** Returns one of the five integers of a counter's key. */
  key(place: number, i: number): number {
    return this.keys[place * WIDTH + i]!
  }

  private add(slot: number, minute: number, a: number, b: number, c: number, d: number): Counter {
    const counter = new Counter()
    this.counters.push(counter)
    if ((this.size + 1) * WIDTH > this.keys.length) {
      const grown = new Int32Array(2 * this.keys.length)
      grown.set(this.keys)
      this.keys = grown
    }
    const { keys } = this
    const at = this.size * WIDTH
    keys[at] = minute
    keys[at + 1] = a
    keys[at + 2] = b
    keys[at + 3] = c
    keys[at + 4] = d
    this.slots[slot] = ++this.size
    if (2 * this.size > this.slots.length) this.grow()
    return counter
  }

  private grow(): void {
    const { keys } = this
    const slots = new Int32Array(2 * this.slots.length)
    const mask = slots.length - 1
    for (let place = 0; place < this.size; place++) {
      const at = place * WIDTH
      let slot = hashOf(keys[at]!, keys[at + 1]!, keys[at + 2]!, keys[at + 3]!, keys[at + 4]!) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = place + 1
    }
    this.slots = slots
  }
}

function hashOf(minute: number, a: number, b: number, c: number, d: number): number {
  let hash = Math.imul(minute ^ (a << 16) ^ (a >>> 16), MULTIPLIER) ^ b
  hash = Math.imul(hash ^ (hash >>> 15), MULTIPLIER) ^ c
  hash = Math.imul(hash ^ (hash >>> 15), MULTIPLIER) ^ d
  hash = Math.imul(hash ^ (hash >>> 15), MULTIPLIER)
  return hash ^ (hash >>> 15)
}
