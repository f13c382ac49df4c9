import type { LiveSpan } from '../trace/span'
import { type DropReason, Ledger, type SpanCounts } from './ledger'

/** About how much memory a span without strings takes, in bytes: the object, its trace, its numbers. */
const SPAN_BYTES = 400
/** The bytes that a string takes besides its characters. */
const STRING_BYTES = 24
/** How many spans a block has: twice as many as wait until a batch is begun, so that mostly one block is used. */
const BLOCK_SPANS = 64

/** A part of the queue. A single array would be copied whenever it grows. */
class Block {
  readonly spans: (LiveSpan | undefined)[] = new Array(BLOCK_SPANS).fill(undefined)
  next: Block | undefined = undefined
}

/**
 * Ended spans that wait to be sent, at most `maxSpans` of them and about `maxBytes`. When the exporter can't keep up, newer
 * spans are dropped and counted. A span may be in the buffers of several exporters.
 */
export class SpanBuffer {
  readonly ledger = new Ledger()
  /** How many spans wait, and about how many bytes they take. */
  length = 0
  bytes = 0
  /** Where the oldest span is, and where the next one goes. */
  private head = new Block()
  private headAt = 0
  private tail = this.head
  private tailAt = 0
  private maxSpans = 0
  private maxBytes = 0

  constructor(maxSpans: number, maxBytes = Number.POSITIVE_INFINITY) {
    this.limit(maxSpans, maxBytes)
  }

  /** Sets new limits. Spans that wait already stay, even when they exceed them. */
  limit(maxSpans: number, maxBytes: number): void {
    this.maxSpans = maxSpans
    this.maxBytes = maxBytes
  }

  /** How full the buffer is, from 0 to 1. */
  get fullness(): number {
    return this.fullnessWith(0, 0)
  }

  /** How full the buffer would be with this many more spans and bytes. */
  fullnessWith(spans: number, bytes: number): number {
    return Math.min(1, Math.max((this.length + spans) / this.maxSpans, (this.bytes + bytes) / this.maxBytes))
  }

  add(span: LiveSpan): boolean {
    this.ledger.end()
    const size = memoryOf(span)
    if (this.length >= this.maxSpans || this.bytes + size > this.maxBytes) {
      this.ledger.drop(1, 'buffer_full')
      return false
    }
    // The span keeps its size, so that `take` subtracts what was added. Each exporter's buffer finds the same size.
    span.bytes = size
    if (this.tailAt === BLOCK_SPANS) {
      this.tail = this.tail.next = new Block()
      this.tailAt = 0
    }
    this.tail.spans[this.tailAt++] = span
    this.length++
    this.bytes += size
    return true
  }

  /** Takes the oldest span. It is in flight until the ledger's `settle`. */
  take(): LiveSpan | undefined {
    if (this.length === 0) return undefined
    if (this.headAt === BLOCK_SPANS) {
      this.head = this.head.next!
      this.headAt = 0
    }
    const { spans } = this.head
    const span = spans[this.headAt]!
    spans[this.headAt++] = undefined
    this.bytes -= span.bytes
    // An empty block is filled from its beginning again.
    if (--this.length === 0) this.headAt = this.tailAt = 0
    this.ledger.fly()
    return span
  }

  /** Gives up every span that waits. */
  drop(reason: DropReason): void {
    const n = this.length
    this.head = this.tail = new Block()
    this.headAt = this.tailAt = 0
    this.length = this.bytes = 0
    this.ledger.drop(n, reason)
  }

  counts(): SpanCounts {
    return this.ledger.counts(this.length)
  }
}

/**
 * About how many bytes of memory a span takes. A character counts as two bytes, because JavaScript can't tell whether it
 * takes one. Only the strings' lengths are read, never their characters.
 */
export function memoryOf(span: LiveSpan): number {
  let bytes = SPAN_BYTES + 2 * (span.name?.length ?? 0)
  const { own: annotations, counters, events } = span
  if (annotations !== undefined) for (const string of annotations) bytes += STRING_BYTES + 2 * string.length
  if (counters !== undefined) {
    for (let i = 0; i < counters.length; i += 2) bytes += 2 * STRING_BYTES + 2 * (counters[i] as string).length
  }
  if (events !== undefined) {
    for (let i = 1; i < events.length; i += 2) bytes += 2 * STRING_BYTES + 2 * (events[i] as string).length
  }
  // NaN: the name isn't a string. The encoder refuses it.
  return bytes > 0 ? bytes : SPAN_BYTES
}
