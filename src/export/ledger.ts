import { spanDrop, tell } from '../trace/channels'

/** Why a span was lost. Each reason has a counter. */
export type DropReason = 'buffer_full' | 'too_large' | 'unencodable' | 'refused' | 'spool_lost' | 'exit' | 'shutdown'

/** What became of the spans that ended: at any moment ended = sent + buffered + in flight + spooled + dropped. */
export interface SpanCounts {
  ended: number
  sent: number
  buffered: number
  /** Taken from the buffer, and neither answered by Scribe nor safe in the spool yet. */
  inFlight: number
  /** Spans in files of the spool directory that this process wrote. */
  spooled: number
  dropped: number
  /** `dropped`, by reason. */
  drops: Record<DropReason, number>
}

/**
 * Counts what became of each span that ended:
 *
 *     ended ──▶ buffered ──▶ in flight ──▶ sent
 *         │         │         │      ▲
 *         │         │         │      ▼
 *         ▼         ▼         ▼    spooled
 *       dropped ◀───────────────────┘
 */
export class Ledger {
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

  /** A span has ended: it is buffered, or dropped next. */
  end(): void {
    this.ended++
  }

  /** A buffered span has been taken; it is in flight until `settle`. */
  fly(): void {
    this.inFlight++
  }

  /** Ends the flight of `n` spans. */
  settle(n: number, outcome: 'sent' | 'spooled' | DropReason): void {
    this.inFlight -= n
    if (outcome === 'sent') this.sent += n
    else if (outcome === 'spooled') this.spooled += n
    else this.drop(n, outcome)
  }

  /** `n` spans have left the spool, to be sent or for good. */
  unspool(n: number, to: 'flight' | 'spool_lost'): void {
    this.spooled -= n
    if (to === 'flight') this.inFlight += n
    else this.drop(n, to)
  }

  /** Forgets what is in the spool: the next emitter that sends it counts it as recovered. */
  leaveSpooled(): void {
    this.ended -= this.spooled
    this.spooled = 0
  }

  /** Counts `count` spans as lost that were buffered or have just ended. */
  drop(count: number, reason: DropReason): void {
    this.drops[reason] += count
    if (spanDrop.hasSubscribers && count > 0) tell(spanDrop, { count, reason })
  }

  counts(buffered: number): SpanCounts {
    const { ended, sent, inFlight, spooled, drops } = this
    const dropped = Object.values(drops).reduce((sum, n) => sum + n, 0)
    return { ended, sent, buffered, inFlight, spooled, dropped, drops: { ...drops } }
  }
}
