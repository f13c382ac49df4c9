import { setImmediate as nextTurn } from 'node:timers/promises'
import { Writer } from 'milo/codec/binary'
import { RECORD_HEADER, writeRecord, writeSpanStruct } from 'milo/codec/span'
import { type Converted, hexOf, MAX_SPAN_BYTES, MAX_SPAN_PARTS, type Spans, Unusable } from '../formats/fields'
import type { RejectedSpans } from '../http/answers'
import { tryLater } from '../http/errors'

/** Records are stored in chunks of about this length. */
const CHUNK_BYTES = 1024 * 1024
/** The time after which reading a body yields to other work. One large span may take longer. */
const STEP_MS = 10

interface ChunkWriterOptions {
  /** Makes records in a row durable. */
  store(records: Buffer, spans: number): Promise<'ok' | 'try later'>
  /** The limit for all records of the body, stored or not. */
  maxBytes: number
  /** Whether `traceIds` is filled. */
  keepTraceIds: boolean
}

/** Converts the spans of one body to records and stores them a chunk at a time. */
export class ChunkWriter {
  spans = 0
  rejected = 0
  readonly reasons: RejectedSpans[] = []
  readonly traceIds = new Set<string>()
  private readonly options: ChunkWriterOptions
  private readonly w = new Writer(16 * 1024)
  private pending = 0
  /** Bytes of all records that were made, stored or not. */
  private made = 0

  constructor(options: ChunkWriterOptions) {
    this.options = options
  }

  /** @throws HttpError when the spans can't be stored now */
  async putAll(spans: Spans): Promise<void> {
    let stepEnd = performance.now() + STEP_MS
    for (const convert of spans) {
      const unusable = this.put(convert)
      if (unusable !== undefined) this.reject(unusable)
      if (this.w.pos >= CHUNK_BYTES) await this.flush()
      else if (performance.now() > stepEnd) await nextTurn()
      else continue
      stepEnd = performance.now() + STEP_MS
    }
  }

  /** Stores the remaining records. @throws HttpError when they can't be stored now */
  async flush(): Promise<void> {
    if (this.pending === 0) return
    const spans = this.pending
    this.pending = 0
    if ((await this.options.store(this.w.take(), spans)) !== 'ok') {
      throw tryLater(503, "the spans can't be stored now")
    }
    this.spans += spans
  }

  private reject({ reason, message }: Unusable): void {
    this.rejected++
    const known = this.reasons.find(entry => entry.reason === reason)
    if (known !== undefined) known.spans++
    else this.reasons.push({ reason, spans: 1, message })
  }

  /** @returns why the span is rejected, if it is */
  private put(convert: () => Converted): Unusable | undefined {
    const { w } = this
    if (this.made > this.options.maxBytes) {
      return new Unusable('too_large', 'with what the resource says in each span, the body is too large')
    }
    const record = convert()
    if (record instanceof Unusable) return record
    const { events, annotations, counters } = record
    const parts = (events?.length ?? 0) + (annotations?.size ?? 0) + (counters?.size ?? 0)
    if (parts > MAX_SPAN_PARTS) {
      this.made += MAX_SPAN_BYTES
      return new Unusable('too_large', `a span has more than ${MAX_SPAN_PARTS} attributes and events`)
    }
    const start = w.pos
    writeRecord(w, () => writeSpanStruct(w, record))
    const length = w.pos - start
    this.made += length
    if (length - RECORD_HEADER > MAX_SPAN_BYTES) {
      w.pos = start
      return new Unusable('too_large', `with what the resource says, a span is over ${MAX_SPAN_BYTES} bytes`)
    }
    this.pending++
    if (this.options.keepTraceIds) this.traceIds.add(traceIdOf(record.traceId!, record.traceIdHigh))
    return undefined
  }
}

function traceIdOf(low: bigint, high: bigint | undefined): string {
  return (high ? hexOf(high, 16) : '') + hexOf(low, 16)
}
