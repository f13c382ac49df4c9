import { SpanScan, scanSpanStruct } from 'milo/codec/scan'
import { RECORD_HEADER, readRecord, type SpanRecord } from 'milo/codec/span'
import { Turns } from '../turns'

/** Reads records in a row, as messages and database rows have them: i32 0x8badf00d, i32 length, struct. All of them are valid. */

/** Called with a record's start and end, header included, and its scan. The scan is one object that is reused for each record. */
type RecordVisitor = (start: number, end: number, found: SpanScan) => void

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

/** A trace as a store reads it, before it is decoded. */
export interface RawTrace {
  /** Records in a row. */
  bytes: Buffer
  /** Whether the trace has more records than were read. */
  truncated: boolean
}

/** A trace whose records are decoded. It may be truncated: a sender may send any number of records with one trace id. */
export interface StoredTrace extends RawTrace {
  records: SpanRecord[]
}

/** Decodes a trace in turns, because a long trace takes most of a second. */
export async function storedTrace(trace: RawTrace): Promise<StoredTrace> {
  const turns = new Turns()
  const records: SpanRecord[] = []
  for (const record of eachRecord(trace.bytes)) {
    records.push(record)
    if (turns.over()) await turns.next()
  }
  return { ...trace, records }
}

/** A record that a store has accepted. */
export type IdentifiedRecord = SpanRecord & { traceId: bigint; id: bigint }

/** Decodes the records, in order. */
export function decodeRecords(buf: Buffer): IdentifiedRecord[] {
  return [...eachRecord(buf)]
}

/** Decodes the records one by one. */
export function* eachRecord(buf: Buffer): Generator<IdentifiedRecord, void> {
  for (let pos = 0; pos < buf.length; ) {
    const { record, end } = readRecord(buf, pos)
    yield record as IdentifiedRecord
    pos = end
  }
}
