import { CodecError, Reader } from 'milo/codec/binary'
import { SpanScan, scanSpanStruct } from 'milo/codec/scan'
import { DELIMITER, RECORD_HEADER, readSpanStruct } from 'milo/codec/span'
import { MAX_SPAN_BYTES } from '../formats/fields'
import type { StepClock } from './step-clock'

/** The first bytes of a record. */
export const DELIMITER_BYTES = Buffer.from([0x8b, 0xad, 0xf0, 0x0d])

/** Looks for whole records in one message. */
export class RecordSearch {
  private readonly bytes: Buffer
  private readonly clock: StepClock
  private readonly found = new SpanScan()
  /** Bytes that may still be read. Attempts may overlap, so a hostile message could take a time that grows with the square of its length. */
  private budget: number

  constructor(bytes: Buffer, clock: StepClock) {
    this.bytes = bytes
    this.clock = clock
    this.budget = 2 * bytes.length + MAX_SPAN_BYTES
  }

  /** Returns where to continue after a bad record at `pos`. */
  *after(pos: number, { next, read }: Failure): Generator<void, number> {
    this.budget -= read
    return (yield* this.across(pos, next)) ?? (yield* this.find(next, this.bytes.length, 0)) ?? this.bytes.length
  }

  /**
   * Finds the record that begins within a record and ends after it. A record that was cut off may still look whole, with the next
   * bytes in place of its own end. A record that begins and ends within another one is an annotation.
   */
  across(pos: number, end: number): Generator<void, number | undefined> {
    return this.find(pos + DELIMITER_BYTES.length, end, end)
  }

  /** Returns where the next record begins, between `pos` and `to`, that ends after `behind`. */
  private *find(pos: number, to: number, behind: number): Generator<void, number | undefined> {
    for (; this.budget > 0; pos += DELIMITER_BYTES.length) {
      if (this.clock.over()) yield* this.clock.rest()
      const found = this.bytes.subarray(pos, to + DELIMITER_BYTES.length - 1).indexOf(DELIMITER_BYTES)
      if (found === -1) return undefined
      pos += found
      const end = scanRecordAt(this.bytes, pos, this.found)
      if (end > behind) return pos
      this.budget -= end === -1 ? explain(this.bytes, pos).read : end - pos
    }
    return undefined
  }
}

/** Returns where the record at `pos` ends, or −1 without a good record there: `explain` returns why. */
export function scanRecordAt(bytes: Buffer, pos: number, found: SpanScan): number {
  const start = pos + RECORD_HEADER
  if (start > bytes.length || bytes.readUInt32BE(pos) !== DELIMITER) return -1
  const length = bytes.readInt32BE(pos + 4)
  const end = start + length
  if (length < 0 || length > MAX_SPAN_BYTES || end > bytes.length) return -1
  return scanSpanStruct(bytes, start, end, found) === end ? end : -1
}

interface Failure {
  reason: string
  /** Where to continue: after everything that seemed to belong to the record. */
  next: number
  /** Whether the next record, or the end, is at `next`. Otherwise the next record must be searched for. */
  follows: boolean
  /** The number of bytes that were read to find this failure. */
  read: number
}

/** Returns what is wrong with the bytes where a record should be. */
export function explain(bytes: Buffer, pos: number): Failure {
  const start = pos + RECORD_HEADER
  const bad = (reason: string, next = pos + 4, read = RECORD_HEADER) => ({ reason, next, follows: false, read })
  if (pos + 4 <= bytes.length && bytes.readUInt32BE(pos) !== DELIMITER) return bad('bad_delimiter', pos + 1)
  if (start > bytes.length) return bad('truncated')
  const length = bytes.readInt32BE(pos + 4)
  if (length < 0) return bad('negative_length')
  const end = start + length
  if (end > bytes.length) return bad('truncated')
  const badWithin = (reason: string, read?: number) =>
    follows(bytes, end) ? { ...bad(reason, end, read), follows: true } : bad(reason, pos + 4, read)
  if (length > MAX_SPAN_BYTES) return badWithin('too_large')
  const reader = new Reader(bytes, start, end)
  // A frame may hold two million bad records, and most of an error's cost is its stack.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    readSpanStruct(reader)
    // The struct is complete, so the length includes a further record that begins after the struct.
    return bad('bad_length', reader.pos, reader.pos - pos)
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    return badWithin(error.code, reader.pos - pos)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** Returns whether the next record, or the end of the bytes, is at `pos`. */
export function follows(bytes: Buffer, pos: number): boolean {
  return pos === bytes.length || (pos + 4 <= bytes.length && bytes.readUInt32BE(pos) === DELIMITER)
}
