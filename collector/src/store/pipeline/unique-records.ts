import { RECORD_HEADER } from 'milo/codec/span'
import { hashOfRecord } from '../../record/seed'
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
  private count = 0
  /** Where each record starts, and then where the last one ends. */
  private starts = new Uint32Array(513)
  private hashes = new Int32Array(512)
  /** Hash table of record index + 1; 0 is free. It is at most half full, and twice as long as `hashes`. */
  private slots = new Uint32Array(1024)

  /** @param maxBytes how many bytes of records to take at most */
  constructor(maxBytes = Number.POSITIVE_INFINITY) {
    this.maxBytes = maxBytes
  }

  /**
   * @param records concatenated
   * @returns whether there is room for more
   */
  add(records: Buffer): boolean {
    if (this.truncated) return false
    // One copy of all takes less than one of each. The records after one that isn't taken move up.
    const { bytes } = this
    let from = bytes.pos
    bytes.copy(records, 0, records.length)
    const { buf, pos: end } = bytes
    bytes.pos = from
    const view = new DataView(buf.buffer, buf.byteOffset, end)
    while (from < end && !this.truncated) {
      const start = bytes.pos
      const length = RECORD_HEADER + view.getInt32(from + 4)
      if (start !== from) buf.copyWithin(start, from, from + length)
      from += length
      this.addOne(view, start, start + length)
    }
    return !this.truncated
  }

  /** Returns the records with their memory: nothing may be added afterwards. */
  taken(): Buffer {
    return this.bytes.buf.subarray(0, this.bytes.pos)
  }

  /** Takes the record there unless it is known or too long. */
  private addOne(view: DataView, start: number, end: number): void {
    const hash = hashOfRecord(view, start, end)
    const mask = this.slots.length - 1
    let slot = hash & mask
    for (let other = this.slots[slot]!; other !== 0; other = this.slots[slot]!) {
      if (this.hashes[other - 1] === hash && this.is(other - 1, start, end)) return
      slot = (slot + 1) & mask
    }
    if (end > this.maxBytes) {
      this.truncated = true
      return
    }
    this.hashes[this.count] = hash
    this.slots[slot] = ++this.count
    this.starts[this.count] = end
    this.bytes.pos = end
    if (this.count * 2 === this.slots.length) this.grow()
  }

  private is(other: number, start: number, end: number): boolean {
    const { buf } = this.bytes
    const [from, to] = [this.starts[other]!, this.starts[other + 1]!]
    return to - from === end - start && buf.compare(buf, from, to, start, end) === 0
  }

  private grow(): void {
    const { starts, hashes, count } = this
    this.starts = new Uint32Array(2 * count + 1)
    this.hashes = new Int32Array(2 * count)
    this.slots = new Uint32Array(4 * count)
    this.starts.set(starts)
    this.hashes.set(hashes)
    const mask = this.slots.length - 1
    for (let record = 0; record < count; record++) {
      let slot = hashes[record]! & mask
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask
      this.slots[slot] = record + 1
    }
  }
}
