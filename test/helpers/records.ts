import { readRecord, type SpanRecord } from '../../src/codec/span'

/** The records of which a message is made: nothing else may be in it. */
export function recordsIn(message: Buffer): SpanRecord[] {
  const records: SpanRecord[] = []
  for (let pos = 0; pos < message.length; ) {
    const { record, end } = readRecord(message, pos)
    records.push(record)
    pos = end
  }
  return records
}
