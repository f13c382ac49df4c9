import { clock } from '../process/genuine'

const CHECK_EVERY_MS = 1000

/**
 * Wall clock minus monotonic clock. Node's own figure is off by milliseconds when a loaded machine interrupts the process's
 * start. So it is checked once a second, and new traces follow a wall clock that was set.
 */
export class WallClock {
  private us = Number.NaN
  private checkedAtMs = Number.NEGATIVE_INFINITY

  /**
   * @param monotonicMs what the monotonic clock said just now
   * @returns microseconds to add to it
   */
  offsetUs(monotonicMs: number): number {
    // A test's clock may have been ahead, and gone.
    if (monotonicMs - this.checkedAtMs >= CHECK_EVERY_MS || monotonicMs < this.checkedAtMs) {
      if (Number.isNaN(this.us)) this.us = clock.timeOrigin() * 1000
      this.checkedAtMs = monotonicMs
      const wallMs = clock.wallMs()
      // The wall clock shows whole milliseconds, and was read between the two readings of the other: the offset lies within.
      const lowestUs = (wallMs - clock.now()) * 1000
      const highestUs = (wallMs + 1 - monotonicMs) * 1000
      this.us = Math.min(Math.max(this.us, lowestUs), highestUs)
    }
    return this.us
  }
}
