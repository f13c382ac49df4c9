import { SpanScan } from 'milo/codec/scan'
import { encodeRecord } from 'milo/codec/span'
import { type LeftOut, Reading, Unusable } from '../formats/fields'
import { readZipkinV1Span } from '../formats/zipkin/read'
import { type KeptRecord, keptRecord } from '../keep/kept-records'
import type { Message } from '../store/store'
import { isText, readText } from './base64'
import { explain, follows, RecordSearch, scanRecordAt } from './record-search'
import { StepClock } from './step-clock'

/**
 * The minimum bytes of an event, annotation or counter that says anything. An empty event takes one byte on the wire and 60 in
 * memory when a trace is read, so a span with many empty events is refused.
 */
const MIN_PART_BYTES = 8
/** Records go to the store in messages of about this length: small entries of a call together, large ones in parts. */
const MESSAGE_BYTES = 512 * 1024
/** How many traces a call may ask to keep. */
const MAX_KEPT = 10_000

/** Collects the good records of a call as messages for the store. None are counted before the call has been read to its end. */
export class EntryReader {
  readonly messages: Message[] = []
  spans = 0
  /** Records of traces that are kept after the fact. */
  readonly kept: KeptRecord[] = []
  /** Unusable records by reason. */
  readonly rejected = new Map<string, number>()
  private readonly reading = new Reading()
  /** The number of entries of other categories. */
  dropped = 0
  droppedCategory = ''
  /** Memory besides the call's own bytes. */
  copiedBytes = 0
  /** Good records that haven't become a message yet. */
  private parts: Buffer[] = []
  private partBytes = 0
  private partSpans = 0

  drop(category: string): void {
    this.dropped++
    this.droppedCategory = category
  }

  reject(reason: string, count = 1): void {
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + count)
  }

  /**
   * Takes the good records out of an entry's bytes, raw or base64.
   *
   * Where a record should begin and doesn't, or lies about its length, reading goes on at the next delimiter that has a
   * whole record behind it. If a record is only bad inside, and another or the end follows where its length says, it is
   * passed over instead: what looks like a record inside it is an annotation.
   */
  *read(entry: Buffer, clock: StepClock): Generator<void, void> {
    const { bytes, cut } = isText(entry) ? yield* readText(entry, clock) : { bytes: entry, cut: false }
    if (bytes !== entry) this.copiedBytes += bytes.length
    if (cut || (bytes.length === 0 && entry.length > 0)) this.reject('bad_base64')

    const search = new RecordSearch(bytes, clock)
    const found = new SpanScan()
    let pos = 0
    /** Where the good records begin that reach up to `pos`, and how many they are. */
    let start = 0
    let spans = 0
    while (pos < bytes.length) {
      if (clock.over()) yield* clock.rest()
      const end = scanRecordAt(bytes, pos, found)
      let next = end
      if (end === -1) {
        const failure = explain(bytes, pos)
        this.reject(failure.reason)
        next = failure.follows ? failure.next : yield* search.after(pos, failure)
      } else {
        const swallowed = follows(bytes, end) ? undefined : yield* search.across(pos, end)
        const reason = swallowed === undefined ? unusable(found, end - pos) : 'truncated'
        if (reason === undefined) {
          if (found.keepAt !== -1) this.keep(keptRecord(bytes, pos, found))
          spans++
          pos = end
          if (pos - start >= MESSAGE_BYTES) {
            this.add(bytes.subarray(start, pos), spans)
            start = pos
            spans = 0
          }
          continue
        }
        this.reject(reason)
        next = swallowed ?? end
      }
      this.add(bytes.subarray(start, pos), spans)
      start = pos = next
      spans = 0
    }
    this.add(bytes.subarray(start, pos), spans)
  }

  /** Takes the span out of an entry in Zipkin's first format, raw or base64: one or two records. */
  *readZipkin(entry: Buffer, clock: StepClock): Generator<void, void> {
    // A raw struct has a NUL: in its first field's id, or because it has no fields. Base64 has none.
    const isRaw = entry[0] === 0 || entry[1] === 0
    const { bytes } = isRaw ? { bytes: entry } : yield* readText(entry, clock)
    for (const converted of readZipkinV1Span(bytes, this.reading)) {
      if (converted instanceof Unusable) this.reject(converted.reason)
      else {
        const record = encodeRecord(converted)
        this.copiedBytes += record.length
        yield* this.read(record, clock)
      }
    }
    if (clock.late()) yield* clock.rest()
  }

  private keep(record: KeptRecord | undefined): void {
    if (record !== undefined && this.kept.length < MAX_KEPT) this.kept.push(record)
  }

  private add(records: Buffer, spans: number): void {
    if (spans === 0) return
    if (this.partBytes > 0 && this.partBytes + records.length > MESSAGE_BYTES) this.flush()
    this.parts.push(records)
    this.partBytes += records.length
    this.partSpans += spans
  }

  /** Makes a message of the remaining records. */
  flush(): void {
    if (this.parts.length === 0) return
    if (this.parts.length > 1) this.copiedBytes += this.partBytes
    const body = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts, this.partBytes)
    this.messages.push({ body, spans: this.partSpans })
    this.spans += this.partSpans
    this.parts = []
    this.partBytes = 0
    this.partSpans = 0
  }

  /** Fields that spans in Zipkin's format are stored without. */
  get leftOut(): readonly LeftOut[] {
    return this.reading.leftOut
  }
}

/** Reads one entry without steps. */
export function readEntry(entry: Buffer): EntryReader {
  const reader = new EntryReader()
  for (const _ of reader.read(entry, new StepClock()));
  reader.flush()
  return reader
}

/** Returns the reason why a complete record is unusable, if it is. */
function unusable({ traceIdAt, idAt, parts }: SpanScan, bytes: number): string | undefined {
  if (traceIdAt === -1) return 'no_trace_id'
  if (idAt === -1) return 'no_span_id'
  return parts * MIN_PART_BYTES > bytes ? 'empty_parts' : undefined
}
