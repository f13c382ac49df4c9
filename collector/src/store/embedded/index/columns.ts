import type { RecordReader } from '../../../record/reader'
import { earlier, later } from '../../pipeline/clock'

/**
 * What a search must know of a record before it reads the trace, in the order of the records' numbers; 24 bytes each, all
 * numbers with the highest byte first, so that SQL can read them by hex():
 *
 *     start i64, µs │ trace id i64 │ span u32: the halves of the span's id, one xor the other │ duration u32, µs
 *
 * The two highest durations mean "as long or longer" and "none".
 */
export const ROW_BYTES = 24
/** Chunks are numbered from the part × this on, by their first record. */
export const PART_ROWS = 2n ** 40n

export const LONGEST_US = 0xfffffffe
const NO_DURATION = 0xffffffff

export class ColumnsWriter {
  buf = Buffer.allocUnsafeSlow(ROW_BYTES * 4096)
  rows = 0
  firstUs = 0n
  lastUs = 0n
  longestUs = 0
  private firstHigh = 0
  private firstLow = 0
  private lastHigh = 0
  private lastLow = 0

  add(record: Buffer, reader: RecordReader, receivedUs: bigint): void {
    const at = this.rows * ROW_BYTES
    if (at === this.buf.length) {
      const larger = Buffer.allocUnsafeSlow(2 * this.buf.length)
      this.buf.copy(larger)
      this.buf = larger
    }
    const { buf } = this
    const { firstAt, lastAt, traceIdAt, idAt } = reader
    let durationUs = NO_DURATION
    let high: number
    let low: number
    if (firstAt === -1) {
      high = Number(receivedUs >> 32n)
      low = Number(receivedUs & 0xffffffffn)
    } else {
      high = record.readInt32BE(firstAt)
      low = record.readUInt32BE(firstAt + 4)
      const us = (record.readInt32BE(lastAt) - high) * 2 ** 32 + (record.readUInt32BE(lastAt + 4) - low)
      durationUs = Math.min(us, LONGEST_US)
      if (durationUs > this.longestUs) this.longestUs = durationUs
    }
    buf.writeInt32BE(high, at)
    buf.writeUInt32BE(low, at + 4)
    for (let i = 0; i < 8; i++) buf[at + 8 + i] = record[traceIdAt + i]!
    buf.writeInt32BE(record.readInt32BE(idAt) ^ record.readInt32BE(idAt + 4), at + 16)
    buf.writeUInt32BE(durationUs, at + 20)
    if (this.rows === 0 || high < this.firstHigh || (high === this.firstHigh && low < this.firstLow)) {
      this.firstHigh = high
      this.firstLow = low
    }
    if (this.rows === 0 || high > this.lastHigh || (high === this.lastHigh && low > this.lastLow)) {
      this.lastHigh = high
      this.lastLow = low
    }
    this.rows++
  }

  /** What was added since the last time. */
  take(): { data: Buffer; rows: number; firstUs: bigint; lastUs: bigint; longestUs: bigint } {
    const { rows, longestUs } = this
    this.rows = this.longestUs = 0
    return {
      data: this.buf.subarray(0, rows * ROW_BYTES),
      rows,
      firstUs: joined(this.firstHigh, this.firstLow),
      lastUs: joined(this.lastHigh, this.lastLow),
      longestUs: BigInt(longestUs),
    }
  }
}

function joined(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low)
}

/** @param at of the row */
export const columns = {
  startUs: (buf: Buffer, at: number) => buf.readBigInt64BE(at),
  traceId: (buf: Buffer, at: number) => buf.readBigInt64BE(at + 8),
  traceHigh: (buf: Buffer, at: number) => buf.readInt32BE(at + 8),
  traceLow: (buf: Buffer, at: number) => buf.readInt32BE(at + 12),
  /** A span by 64 bits: the halves of the trace id, the high one xor what stands for the span. */
  spanHigh: (buf: Buffer, at: number) => buf.readInt32BE(at + 8) ^ buf.readInt32BE(at + 16),
  spanLow: (buf: Buffer, at: number) => buf.readInt32BE(at + 12),
  /** @param minDurationUs no more than LONGEST_US */
  lasts: (buf: Buffer, at: number, minDurationUs: number) => {
    const durationUs = buf.readUInt32BE(at + 20)
    return durationUs !== NO_DURATION && durationUs >= minDurationUs
  },
}

/** What the row of a chunk says of its columns. */
export function boundsOf(chunk: Buffer): { firstUs: bigint; lastUs: bigint; longestUs: bigint } {
  let firstUs = columns.startUs(chunk, 0)
  let lastUs = firstUs
  let longest = 0
  for (let at = 0; at < chunk.length; at += ROW_BYTES) {
    firstUs = earlier(firstUs, columns.startUs(chunk, at))
    lastUs = later(lastUs, columns.startUs(chunk, at))
    const durationUs = chunk.readUInt32BE(at + 20)
    if (durationUs !== NO_DURATION) longest = Math.max(longest, durationUs)
  }
  return { firstUs, lastUs, longestUs: BigInt(longest) }
}
