import { hashOfRecord } from '../record/seed'

/** What of one trace is analysed: so many records, and so many bytes. */
export interface TraceLimits {
  records: number
  bytes: number
}

const NOTHING = Buffer.alloc(0)
const FIRST_BYTES = 64 * 1024
const GIANT_BYTES = 1024 * 1024
const FIRST_RECORDS = 256
/** How many times more than the limits are kept before the latest records are cut. */
const SURPLUS = 1.25

/**
 * Collects the records of one trace after the other. A record that comes again, with the same bytes, is dropped. Of a trace with more
 * records than the limits allow, the earliest are kept: the same ones in whichever order they come, and with them the parents of most.
 */
export class TraceRecords {
  count = 0
  /** How many were dropped because they came before. */
  repeated = 0
  /** How many were added, in all. */
  total = 0
  /** The records in a row, between 0 and `size`; not in order of time. */
  buf: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES)
  size = 0
  private readonly limits: TraceLimits
  /** Where each record begins, its hash, and when its span began. */
  private starts = new Int32Array(FIRST_RECORDS)
  private hashes = new Int32Array(FIRST_RECORDS)
  private times = new Float64Array(FIRST_RECORDS)
  /** Numbers of records, plus 1. */
  private slots = new Int32Array(2 * FIRST_RECORDS)
  /** Where the last record came from. */
  private from: Buffer = NOTHING
  private view: DataView = new DataView(NOTHING.buffer)
  /** The earliest record that was cut. */
  private boundary: { time: number; bytes: Buffer } | undefined

  constructor(limits: TraceLimits) {
    this.limits = limits
  }

  /** Whether the trace has more than the limits; after take(). */
  get isCut(): boolean {
    return this.boundary !== undefined
  }

  /** Begins the next trace. */
  clear(): void {
    if (this.buf.length > 16 * FIRST_BYTES) this.buf = Buffer.allocUnsafeSlow(FIRST_BYTES)
    this.count = this.size = this.total = this.repeated = 0
    if (this.starts.length > 16 * FIRST_RECORDS) this.resize(FIRST_RECORDS)
    else this.slots.fill(0)
    this.boundary = undefined
  }

  /** @param time when its span began, in microseconds; NaN if unknown */
  add(from: Buffer, start: number, end: number, time: number): void {
    this.total++
    const at = Number.isNaN(time) ? Number.POSITIVE_INFINITY : time
    if (this.isBeyond(from, start, end, at)) return
    if (this.count === this.starts.length) this.resize(2 * this.count)
    if (from !== this.from) {
      this.from = from
      this.view = new DataView(from.buffer, from.byteOffset, from.length)
    }
    const hash = hashOfRecord(this.view, start, end)
    const slot = this.slotOf(hash, from, start, end)
    if (slot === -1) {
      this.repeated++
      return
    }
    const next = this.size + end - start
    if (next > this.buf.length) {
      // A giant's memory is taken at once: the system gives a page when it is first written, and to grow step by step needs half as much again.
      const length = this.buf.length < GIANT_BYTES ? 2 * this.buf.length : SURPLUS * this.limits.bytes
      const grown = Buffer.allocUnsafeSlow(Math.max(next, Math.ceil(length)))
      this.buf.copy(grown, 0, 0, this.size)
      this.buf = grown
    }
    from.copy(this.buf, this.size, start, end)
    this.starts[this.count] = this.size
    this.hashes[this.count] = hash
    this.times[this.count] = at
    this.size = next
    this.slots[slot] = ++this.count
    const { records, bytes } = this.limits
    if (this.count > SURPLUS * records || this.size > SURPLUS * bytes) this.cut()
  }

  /** Cuts what is too much: the records that are left are those of the trace. */
  take(): void {
    if (this.count > this.limits.records || this.size > this.limits.bytes) this.cut()
  }

  private end(record: number): number {
    return record + 1 < this.count ? this.starts[record + 1]! : this.size
  }

  private isBeyond(from: Buffer, start: number, end: number, time: number): boolean {
    const { boundary } = this
    if (boundary === undefined || time < boundary.time) return false
    return time > boundary.time || from.compare(boundary.bytes, 0, boundary.bytes.length, start, end) >= 0
  }

  private cut(): void {
    const { buf, starts, times, limits } = this
    const order = Array.from({ length: this.count }, (_, r) => r)
    const inOrder = (a: number, b: number) => {
      if (times[a] !== times[b]) return times[a]! < times[b]! ? -1 : 1
      return buf.compare(buf, starts[b]!, this.end(b), starts[a]!, this.end(a))
    }
    order.sort(inOrder)
    let bytes = 0
    let kept = 0
    for (; kept < order.length && kept < limits.records; kept++) {
      bytes += this.end(order[kept]!) - starts[order[kept]!]!
      if (bytes > limits.bytes && kept > 0) break
    }
    if (kept === order.length) return
    const first = order[kept]!
    this.boundary = { time: times[first]!, bytes: Buffer.from(buf.subarray(starts[first]!, this.end(first))) }
    // In the order in which they stand, so that they can be moved to the front one after the other.
    const stay = Int32Array.from(order.slice(0, kept)).sort()
    const ends = stay.map(r => this.end(r))
    this.size = 0
    this.count = 0
    this.slots.fill(0)
    for (const [i, r] of stay.entries()) {
      const start = starts[r]!
      const size = this.size
      buf.copy(buf, size, start, ends[i]!)
      this.size += ends[i]! - start
      starts[i] = size
      times[i] = times[r]!
      this.hashes[i] = this.hashes[r]!
      this.count++
      this.slots[this.freeSlot(this.hashes[i]!)] = this.count
    }
  }

  private resize(records: number): void {
    const { starts, hashes, times, count } = this
    this.starts = new Int32Array(records)
    this.hashes = new Int32Array(records)
    this.times = new Float64Array(records)
    this.slots = new Int32Array(2 * records)
    this.starts.set(starts.subarray(0, count))
    this.hashes.set(hashes.subarray(0, count))
    this.times.set(times.subarray(0, count))
    for (let r = 0; r < count; r++) this.slots[this.freeSlot(hashes[r]!)] = r + 1
  }

  private freeSlot(hash: number): number {
    const mask = this.slots.length - 1
    let slot = hash & mask
    while (this.slots[slot] !== 0) slot = (slot + 1) & mask
    return slot
  }

  /** Returns the slot for a record; −1 if it is there. */
  private slotOf(hash: number, from: Buffer, start: number, end: number): number {
    const { slots, hashes, starts, buf } = this
    const mask = slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const r = slots[slot]! - 1
      if (r === -1) return slot
      if (hashes[r] === hash && buf.compare(from, start, end, starts[r]!, this.end(r)) === 0) return -1
    }
  }
}
