import type { Address } from './connection'
import type { Answer } from './protocol'

export interface RouteOptions {
  addresses: Address[]
  firstPauseMs: number
  longestPauseMs: number
  /** How long another address serves before the first is tried again. */
  returnMs: number
}

/** How long a TRY_LATER counts as pressure when the peer takes spans again at once. */
const BUSY_MS = 1000

/**
 * Decides from answers and the clock which address is next, and when:
 *
 *     first ──failed──▶ second ──failed──▶ … ──all have failed──▶ a pause, longer each time ──▶ goes on where it was
 *       ▲                  │
 *       └── after returnMs ┘
 */
export class Routes {
  private readonly options: RouteOptions
  private readonly random: () => number
  /** The address in use, as an index. */
  private current = 0
  /** When the first address is tried again. */
  private returnAtMs = 0
  /** How many addresses have failed since the last OK or pause. */
  private failedInRound = 0
  private pauseMs: number
  private isRefusing = false
  private busyUntilMs = Number.NEGATIVE_INFINITY

  /** @param random a number from 0 to 1, below 1 */
  constructor(options: RouteOptions, random: () => number) {
    this.options = options
    this.random = random
    this.pauseMs = options.firstPauseMs
  }

  /** The address for a call that is made now. */
  choose(nowMs: number): Address {
    if (nowMs >= this.returnAtMs) this.current = 0
    return this.options.addresses[this.current]!
  }

  /** @returns how long to wait before the next call, in milliseconds */
  answered(code: Exclude<Answer['code'], 'stale'>, nowMs: number): number {
    const { addresses, firstPauseMs, longestPauseMs, returnMs } = this.options
    if (code === 'ok') {
      this.pauseMs = firstPauseMs
      this.failedInRound = 0
      this.isRefusing = false
      return 0
    }
    if (code === 'try_later') {
      this.isRefusing = true
      this.busyUntilMs = nowMs + BUSY_MS
    }
    if (this.current === 0) this.returnAtMs = nowMs + returnMs
    this.current = (this.current + 1) % addresses.length
    if (++this.failedInRound < addresses.length) return 0
    this.failedInRound = 0
    // Between half of the pause and all of it, so that a thousand processes don't come back in one instant.
    const pauseMs = this.pauseMs * (0.5 + this.random() / 2)
    this.pauseMs = Math.min(this.pauseMs * 2, longestPauseMs)
    return pauseMs
  }

  /** Whether the peer has more than it can take: from a TRY_LATER until an OK, and for a second at least. */
  isBusy(nowMs: number): boolean {
    return this.isRefusing || nowMs < this.busyUntilMs
  }
}
