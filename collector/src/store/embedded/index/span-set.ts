import { MULTIPLIER } from '../../../record/seed'

/**
 * Spans by 64 bits: the halves of the trace id, the high one xor what stands for the span. Open addressing, half full at
 * most. Two spans that are taken for one are told apart when the trace is read.
 */
export class SpanSet {
  size = 0
  private slots = new Int32Array(2 * 1024)
  private used = new Uint8Array(1024)

  has(high: number, low: number): boolean {
    return this.used[this.find(high, low)] === 1
  }

  add(high: number, low: number): void {
    const slot = this.find(high, low)
    if (this.used[slot] === 1) return
    this.used[slot] = 1
    this.slots[2 * slot] = high
    this.slots[2 * slot + 1] = low
    if (++this.size * 2 > this.used.length) this.grow()
  }

  private find(high: number, low: number): number {
    const mask = this.used.length - 1
    let slot = Math.imul(low, MULTIPLIER)
    slot = Math.imul(slot ^ (slot >>> 15) ^ high, MULTIPLIER)
    slot = (slot ^ (slot >>> 13)) & mask
    while (this.used[slot] === 1 && (this.slots[2 * slot] !== high || this.slots[2 * slot + 1] !== low)) {
      slot = (slot + 1) & mask
    }
    return slot
  }

  private grow(): void {
    const { slots, used } = this
    this.slots = new Int32Array(slots.length * 2)
    this.used = new Uint8Array(used.length * 2)
    this.size = 0
    for (const [slot, is] of used.entries()) if (is === 1) this.add(slots[2 * slot]!, slots[2 * slot + 1]!)
  }
}
