import type { Span } from './span'

/** Why a span was lost. Each has a counter. */
export type DropReason = 'buffer_full' | 'too_large' | 'refused' | 'exit' | 'shutdown'

/** What became of the spans that ended: at any moment ended = sent + buffered + in flight + dropped. */
export interface SpanCounts {
  ended: number
  sent: number
  buffered: number
  inFlight: number
  dropped: number
  /** `dropped`, by reason. */
  drops: Record<DropReason, number>
}

/**
 * Ended spans that wait to be sent, at most `maxSpans` of them: when Scribe can't keep up, newer ones are dropped and
 * counted. Also the ledger of what became of each.
 */
export class SpanBuffer {
  private waiting: Span[] = []
  private readonly maxSpans: number
  private ended = 0
  private sent = 0
  private inFlight = 0
  private readonly drops: Record<DropReason, number> = {
    buffer_full: 0,
    too_large: 0,
    refused: 0,
    exit: 0,
    shutdown: 0,
  }

  constructor(maxSpans: number) {
    this.maxSpans = maxSpans
  }

  get length(): number {
    return this.waiting.length
  }

  /** How full it is: 0 to 1. */
  get fullness(): number {
    return Math.min(1, this.waiting.length / this.maxSpans)
  }

  add(span: Span): boolean {
    this.ended++
    if (this.waiting.length >= this.maxSpans) {
      this.drops.buffer_full++
      return false
    }
    this.waiting.push(span)
    return true
  }

  /** Takes up to `n` of the oldest; they are in flight until `settle` says what became of them. */
  take(n: number): Span[] {
    const taken = this.waiting.splice(0, n)
    this.inFlight += taken.length
    return taken
  }

  /** Puts spans that were taken back in front of the others. */
  untake(spans: Span[]): void {
    this.inFlight -= spans.length
    this.waiting.unshift(...spans)
  }

  /** Ends the flight of `n` spans. */
  settle(n: number, outcome: 'sent' | DropReason): void {
    this.inFlight -= n
    if (outcome === 'sent') this.sent += n
    else this.drops[outcome] += n
  }

  /** Gives up everything that waits. */
  drop(reason: DropReason): void {
    this.drops[reason] += this.waiting.length
    this.waiting = []
  }

  counts(): SpanCounts {
    const { ended, sent, inFlight, drops } = this
    const dropped = Object.values(drops).reduce((sum, n) => sum + n, 0)
    return { ended, sent, buffered: this.waiting.length, inFlight, dropped, drops: { ...drops } }
  }
}
