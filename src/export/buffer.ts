import { spanDrop, tell } from '../trace/channels'
import type { Span } from '../trace/span'

/** Why a span was lost. Each has a counter. */
export type DropReason = 'buffer_full' | 'too_large' | 'unencodable' | 'refused' | 'spool_lost' | 'exit' | 'shutdown'

/** What became of the spans that ended: at any moment ended = sent + buffered + in flight + spooled + dropped. */
export interface SpanCounts {
  ended: number
  sent: number
  buffered: number
  /** Taken from the buffer, and neither answered by Scribe nor safe in the spool yet. */
  inFlight: number
  /** In files of the spool directory that this process wrote. */
  spooled: number
  dropped: number
  /** `dropped`, by reason. */
  drops: Record<DropReason, number>
}

/** What a span without texts takes in memory, about: the object, its trace, its numbers. */
const SPAN_BYTES = 400
/** What a text takes besides its characters. */
const TEXT_BYTES = 24

/**
 * Ended spans that wait to be sent, at most `maxSpans` of them and about `maxBytes`: when Scribe can't keep up, newer
 * ones are dropped and counted. Also the ledger of what became of each.
 */
export class SpanBuffer {
  /** How many wait, and about how many bytes they take. */
  length = 0
  bytes = 0
  /** A list through the spans themselves: an array of them would be copied whenever it grows. */
  private oldest: Span | undefined = undefined
  private newest: Span | undefined = undefined
  private maxSpans = 0
  private maxBytes = 0
  private ended = 0
  private sent = 0
  private inFlight = 0
  private spooled = 0
  private readonly drops: Record<DropReason, number> = {
    buffer_full: 0,
    too_large: 0,
    unencodable: 0,
    refused: 0,
    spool_lost: 0,
    exit: 0,
    shutdown: 0,
  }

  constructor(maxSpans: number, maxBytes = Number.POSITIVE_INFINITY) {
    this.limit(maxSpans, maxBytes)
  }

  /** What waits already stays, also where it is more. */
  limit(maxSpans: number, maxBytes: number): void {
    this.maxSpans = maxSpans
    this.maxBytes = maxBytes
  }

  /** How full it is: 0 to 1. */
  get fullness(): number {
    return this.fullnessWith(0, 0)
  }

  /** How full it would be with so many spans and bytes more. */
  fullnessWith(spans: number, bytes: number): number {
    return Math.min(1, Math.max((this.length + spans) / this.maxSpans, (this.bytes + bytes) / this.maxBytes))
  }

  add(span: Span): boolean {
    this.ended++
    const size = estimate(span)
    if (this.length >= this.maxSpans || this.bytes + size > this.maxBytes) {
      this.lose(1, 'buffer_full')
      return false
    }
    // Kept, so that what is added is what is subtracted again.
    span.bytes = size
    if (this.newest === undefined) this.oldest = span
    else this.newest.next = span
    this.newest = span
    this.length++
    this.bytes += size
    return true
  }

  /** Takes the oldest; it is in flight until `settle` says what became of it. */
  take(): Span | undefined {
    const span = this.oldest
    if (span === undefined) return undefined
    this.oldest = span.next
    if (this.oldest === undefined) this.newest = undefined
    span.next = undefined
    this.length--
    this.bytes -= span.bytes
    this.inFlight++
    return span
  }

  /** Ends the flight of `n` spans. */
  settle(n: number, outcome: 'sent' | 'spooled' | DropReason): void {
    this.inFlight -= n
    if (outcome === 'sent') this.sent += n
    else if (outcome === 'spooled') this.spooled += n
    else this.lose(n, outcome)
  }

  /** `n` spans have left the spool: to be sent, or for good. */
  unspool(n: number, to: 'flight' | 'spool_lost'): void {
    this.spooled -= n
    if (to === 'flight') this.inFlight += n
    else this.lose(n, to)
  }

  /** What is in the spool is another start's from now on: whoever sends it counts it as recovered. */
  leaveSpooled(): void {
    this.ended -= this.spooled
    this.spooled = 0
  }

  /** Gives up everything that waits. */
  drop(reason: DropReason): void {
    const n = this.length
    this.oldest = this.newest = undefined
    this.length = this.bytes = 0
    this.lose(n, reason)
  }

  counts(): SpanCounts {
    const { ended, sent, inFlight, spooled, drops } = this
    const dropped = Object.values(drops).reduce((sum, n) => sum + n, 0)
    return { ended, sent, buffered: this.length, inFlight, spooled, dropped, drops: { ...drops } }
  }

  private lose(count: number, reason: DropReason): void {
    this.drops[reason] += count
    if (spanDrop.hasSubscribers && count > 0) tell(spanDrop, { count, reason })
  }
}

/**
 * About how many bytes of memory a span takes. A character counts as two: whether it takes one can't be asked. Without
 * a look at the Span's texts themselves: a length is all that is read of each.
 */
function estimate(span: Span): number {
  let bytes = SPAN_BYTES + 2 * (span.name?.length ?? 0)
  const { annotations, counters, events } = span
  if (annotations !== undefined) for (const text of annotations) bytes += TEXT_BYTES + 2 * text.length
  if (counters !== undefined) {
    for (let i = 0; i < counters.length; i += 2) bytes += 2 * TEXT_BYTES + 2 * (counters[i] as string).length
  }
  if (events !== undefined) {
    for (let i = 1; i < events.length; i += 2) bytes += 2 * TEXT_BYTES + 2 * (events[i] as string).length
  }
  // NaN: a name that isn't a text, which the encoder refuses.
  return bytes > 0 ? bytes : SPAN_BYTES
}
