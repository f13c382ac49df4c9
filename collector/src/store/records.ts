import { RECORD_HEADER, readRecord } from '../../../src/codec/span'
import type { StoredRecord } from './store'

/**
 * A trace's records as they are read back. Senders repeat what they had no answer for, and stores may keep both: what is
 * byte for byte the same is taken once.
 */
export class TraceRecords {
  readonly records: StoredRecord[] = []
  private readonly seen = new Set<string>()

  /** Takes the records, one after the other, in `buf` from `start` to `end`. */
  add(buf: Buffer, start: number, end: number): void {
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
