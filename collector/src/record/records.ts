import { SpanScan, scanSpanStruct } from 'milo/codec/scan'
import { RECORD_HEADER, readRecord, type SpanRecord } from 'milo/codec/span'
import { Turns } from '../turns'

/** Records in a row, as messages and rows of databases hold them: i32 0x8badf00d, i32 length, struct; good ones only. */

/** Where a record lies, header included, and what its scan found; the same object for each. */
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

/** A trace as it is read from where it lies. */
export interface RawTrace {
  /** Records in a row. */
  bytes: Buffer
  /** Whether there are more. */
  truncated: boolean
}

export interface StoredTrace {
  records: StoredRecord[]
  /** Whether there are more records than were to be read: anybody may send as many as they like under one trace id. */
  truncated: boolean
}

interface StoredRecord {
  record: SpanRecord
  /** The Span struct's bytes, exactly as they came. */
  bytes: Buffer
}

/** The records with their bytes, which stay those of the trace. In turns: a long trace takes most of a second. */
export async function storedTrace({ bytes: buf, truncated }: RawTrace): Promise<StoredTrace> {
  const turns = new Turns()
  const records: StoredRecord[] = []
  for (let pos = 0; pos < buf.length; ) {
    const { record, end } = readRecord(buf, pos)
    records.push({ record, bytes: buf.subarray(pos + RECORD_HEADER, end) })
    pos = end
    if (turns.over()) await turns.next()
  }
  return { records, truncated }
}

/** A record that a store has accepted. */
export type IdentifiedRecord = SpanRecord & { traceId: bigint; id: bigint }

/** The records, decoded, in order. */
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
