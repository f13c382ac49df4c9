import { Writer } from '../codec/binary'
import { describe, logRarely } from '../process/log'
import type { SpanBuffer } from './buffer'
import type { Protocol } from './protocol'
import type { Spooled } from './spool'

/** Of a span that takes more bytes than this a stub is sent, because the collector refuses it. */
const MAX_SPAN_BYTES = 1024 * 1024
const WRITER_BYTES = 64 * 1024
/** A writer that a large record has made larger than this is replaced. */
const MAX_WRITER_BYTES = 2 * 1024 * 1024

export interface Batch {
  body: Buffer
  /** How many of its spans are this process's own, which the ledger counts. */
  spans: number
  /** How many times the peer has refused it. */
  refusals: number
  /** The spool's file that holds it; undefined for a batch that is only in memory. */
  file: Spooled | undefined
  /** The buffer that its body lies in, if that may be written anew once the batch has been sent. */
  lent: Buffer | undefined
}

export interface BatchOptions {
  /** The size of a batch, which is also what is encoded in one turn of the loop. */
  batchSpans: number
  batchBytes: number
}

/**
 * Makes batches of the spans in the buffer, and keeps those that could be neither sent nor spooled:
 *
 *     buffer ──fill──▶ writer ──seal──▶ batch ──▶ sent, or spooled
 *                                         ▲          │ neither
 *                                         └─ returned ◀
 */
export class Batches {
  private readonly options: BatchOptions
  private readonly buffer: SpanBuffer
  private readonly protocol: Protocol
  private readonly writer = new Writer(WRITER_BYTES)
  /** What the writer goes on in when its buffer is lent: new memory would have to be cleared for each batch. */
  private spare: Buffer | undefined
  /** How many spans are in the writer, and how many bytes have been encoded since `seal`, kept or not. */
  private begunSpans = 0
  private begunBytes = 0
  /** Sent before anything else. At most two: the batch that failed, and the one that the spool couldn't take. */
  private readonly returned: Batch[] = []

  constructor(options: BatchOptions, buffer: SpanBuffer, protocol: Protocol) {
    this.options = options
    this.buffer = buffer
    this.protocol = protocol
  }

  /** How many spans are in no batch yet, or in one that has only been begun. */
  get waiting(): number {
    return this.buffer.length + this.begunSpans
  }

  get hasReturned(): boolean {
    return this.returned.length > 0
  }

  /** How full the buffer is, from 0 to 1. A batch that has been begun still counts. */
  get fullness(): number {
    return this.buffer.fullnessWith(this.begunSpans, this.begunBytes)
  }

  get isHalfFull(): boolean {
    return this.fullness > 0.5
  }

  /** Whether the batch that has been begun takes no more. */
  get isFilled(): boolean {
    return this.begunSpans >= this.options.batchSpans || this.begunBytes >= this.options.batchBytes
  }

  /** Whether the next batch is worth sending at once. */
  get isDue(): boolean {
    const { batchSpans, batchBytes } = this.options
    // A span takes about four times as many bytes in memory as in a batch.
    const bytes = this.buffer.bytes / 4 + this.begunBytes
    return this.waiting >= batchSpans || bytes >= batchBytes || this.isHalfFull
  }

  nextReturned(): Batch | undefined {
    return this.returned.shift()
  }

  /** The next batch, encoded where none was returned: the work of one turn of the loop. */
  next(): Batch | undefined {
    const returned = this.returned.shift()
    if (returned !== undefined) return returned
    this.fill()
    return this.seal()
  }

  /** Puts a batch back, to be sent before all others. */
  giveBack(batch: Batch): void {
    this.returned.unshift(batch)
  }

  /** Puts batches back, to be sent after those that were put back before. */
  append(...batches: Batch[]): void {
    this.returned.push(...batches)
  }

  /** Takes all batches, the begun one too. The buffer's spans stay. */
  takeAll(): Batch[] {
    const begun = this.seal()
    if (begun !== undefined) this.returned.push(begun)
    return this.returned.splice(0)
  }

  /** Encodes spans of the buffer until the batch is full. */
  fill(): void {
    const { buffer, writer: w } = this
    while (!this.isFilled) {
      const span = buffer.take()
      if (span === undefined) break
      const start = w.pos
      let length = 0
      try {
        length = this.protocol.writeSpan(w, span)
        if (length > MAX_SPAN_BYTES) {
          this.begunBytes += length
          w.pos = start
          // Other exporters have the span as well.
          const whole = length
          length = this.protocol.writeSpan(w, span.stub(whole))
          if (length <= MAX_SPAN_BYTES) warn('sent as its name, times and ids alone', whole)
        }
      } catch (error) {
        // The application has set the name to something that isn't a string.
        w.pos = start
        buffer.ledger.settle(1, 'unencodable')
        logRarely('unencodable', 'warn', `a span was dropped because it can't be encoded: ${describe(error)}`)
        continue
      }
      this.begunBytes += length
      if (length > MAX_SPAN_BYTES) {
        w.pos = start
        buffer.ledger.settle(1, 'too_large')
        warn('dropped', length)
      } else this.begunSpans++
    }
  }

  /** Makes a batch of what has been encoded. */
  private seal(): Batch | undefined {
    const { writer, begunSpans: spans } = this
    this.begunSpans = this.begunBytes = 0
    const body = spans === 0 ? undefined : this.protocol.seal(writer)
    const { buf } = writer
    const lent = body?.buffer === buf.buffer ? buf : undefined
    if (lent !== undefined || buf.length > MAX_WRITER_BYTES) {
      writer.use(this.spare ?? Buffer.allocUnsafeSlow(WRITER_BYTES))
      this.spare = undefined
    }
    return body && { body, spans, refusals: 0, file: undefined, lent }
  }

  /** Takes the buffer of a batch back that is needed no more. */
  reuse({ lent }: Batch): void {
    if (lent !== undefined && lent.length <= MAX_WRITER_BYTES) this.spare = lent
  }
}

function warn(fate: string, bytes: number): void {
  logRarely(
    'too_large',
    'warn',
    `a span of ${bytes} bytes was ${fate}: the limit is ${MAX_SPAN_BYTES} bytes; record less on one span`,
  )
}
