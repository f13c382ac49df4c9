import { SpanScan, scanSpanStruct } from '../../../src/codec/scan'
import { RECORD_HEADER, readRecord, type SpanRecord } from '../../../src/codec/span'
import type { StoredRecord } from './store'

/** Records in a row, as messages and rows of databases hold them: i32 0x8badf00d, i32 length, struct; good ones only. */

/** Where a record lies, header included, and what its scan found; the same object for each. */
export type RecordVisitor = (start: number, end: number, found: SpanScan) => void

/** Visits the records without decoding them. */
export function scanRecords(buf: Buffer, visit: RecordVisitor): void {
  const found = new SpanScan()
  for (let start = 0; start < buf.length; ) {
    const end = start + RECORD_HEADER + buf.readInt32BE(start + 4)
    if (scanSpanStruct(buf, start + RECORD_HEADER, end, found) !== end) {
      throw new RangeError(`no good record from ${start} to ${end} of ${buf.length} bytes`)
    }
    visit(start, end, found)
    start = end
  }
}

/**
 * A trace's records as they are read back. Senders repeat what they had no answer for, and stores may keep both: what is
 * byte for byte the same is taken once.
 */
export class TraceRecords {
  readonly records: StoredRecord[] = []
  private readonly seen = new Set<string>()

  /** Takes the records, one after the other, in `buf` from `start` to `end`. */
  add(buf: Buffer, start = 0, end = buf.length): void {
    for (let pos = start; pos < end; ) {
      const { record, end: next } = readRecord(buf, pos)
      const key = buf.toString('latin1', pos, next)
      if (!this.seen.has(key)) {
        this.seen.add(key)
        // A copy: a record mustn't keep the whole message in memory.
        this.records.push({ record, bytes: Buffer.from(buf.subarray(pos + RECORD_HEADER, next)) })
      }
      pos = next
    }
  }
}

/** A record that a store has accepted. */
export type IdentifiedRecord = SpanRecord & { traceId: bigint; id: bigint }

/** The records, decoded, in order. */
export function decodeRecords(buf: Buffer): IdentifiedRecord[] {
  const records: IdentifiedRecord[] = []
  for (let pos = 0; pos < buf.length; ) {
    const { record, end } = readRecord(buf, pos)
    records.push(record as IdentifiedRecord)
    pos = end
  }
  return records
}
