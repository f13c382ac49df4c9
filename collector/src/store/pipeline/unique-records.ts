import { RECORD_HEADER } from 'milo/codec/span'
import { MULTIPLIER } from '../../record/seed'
import { Bytes } from '../bytes'

/**
 * Collects a trace's records without decoding them. Senders repeat messages that weren't answered, and stores may keep both
 * copies: byte-identical records are taken once.
 */
export class UniqueRecords {
  /** Whether records were left out. */
  truncated = false
  private readonly maxBytes: number
  private readonly bytes = new Bytes()
  private starts = new Uint32Array(512)
  private count = 0
  /** Hash table of record index + 1; 0 is free. It is at most half full. */
  private slots = new Uint32Array(1024)
  private hashes = new Int32Array(512)

  /** @param maxBytes how many bytes of records to take at most */
  constructor(maxBytes = Number.POSITIVE_INFINITY) {
    this.maxBytes = maxBytes
  }

  /**
   * @param records concatenated
   * @returns whether there is room for more
   */
  add(records: Buffer): boolean {
    for (let pos = 0; pos < records.length && !this.truncated; ) {
      const end = pos + RECORD_HEADER + records.readInt32BE(pos + 4)
      this.addOne(records, pos, end)
      pos = end
    }
    return !this.truncated
  }

  /** Returns the records with their memory: nothing may be added afterwards. */
  taken(): Buffer {
    return this.bytes.buf.subarray(0, this.bytes.pos)
  }

  private addOne(records: Buffer, start: number, end: number): void {
    let hash = end - start
    let i = start
    for (; i + 4 <= end; i += 4) {
      hash = Math.imul(hash ^ records.readInt32LE(i), MULTIPLIER)
      hash ^= hash >>> 15
    }
    for (; i < end; i++) hash = Math.imul(hash ^ records[i]!, MULTIPLIER)
    hash ^= hash >>> 16
    const mask = this.slots.length - 1
    let slot = hash & mask
    for (let other = this.slots[slot]!; other !== 0; other = this.slots[slot]!) {
      if (this.hashes[other - 1] === hash && this.is(other - 1, records, start, end)) return
      slot = (slot + 1) & mask
    }
    if (this.bytes.pos + end - start > this.maxBytes) {
      this.truncated = true
      return
    }
    if (this.count === this.starts.length) this.grow()
    this.starts[this.count] = this.bytes.pos
    this.hashes[this.count] = hash
    this.bytes.copy(records, start, end)
    this.slots[slot] = ++this.count
    if (this.count * 2 > this.slots.length) this.rehash()
  }

  private is(other: number, records: Buffer, start: number, end: number): boolean {
    const { buf, pos } = this.bytes
    const from = this.starts[other]!
    const to = other + 1 === this.count ? pos : this.starts[other + 1]!
    return to - from === end - start && records.compare(buf, from, to, start, end) === 0
  }

  private grow(): void {
    const { starts, hashes } = this
    this.starts = new Uint32Array(2 * starts.length)
    this.hashes = new Int32Array(2 * hashes.length)
    this.starts.set(starts)
    this.hashes.set(hashes)
  }

  private rehash(): void {
    this.slots = new Uint32Array(2 * this.slots.length)
    const mask = this.slots.length - 1
    for (let record = 0; record < this.count; record++) {
      let slot = this.hashes[record]! & mask
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask
      this.slots[slot] = record + 1
    }
  }
}
