import { clock } from '../process/genuine'

const CHECK_EVERY_MS = 1000
/** Date.now has whole milliseconds: a smaller difference is rounding, and not a step of the clock. */
const ROUNDING_US = 2000

/** Wall clock minus monotonic clock. It is looked up once a second, so that new traces follow a wall clock that was set. */
const offset = { us: 0, checkedAtMs: Number.NEGATIVE_INFINITY }

/** @returns microseconds to add to the monotonic clock's */
export function clockOffsetUs(monotonicMs: number): number {
  if (monotonicMs - offset.checkedAtMs >= CHECK_EVERY_MS) {
    offset.checkedAtMs = monotonicMs
    const seenUs = (clock.wallMs() - monotonicMs) * 1000
    const originUs = clock.timeOrigin * 1000
    if (Math.abs(seenUs - offset.us) > ROUNDING_US)
      offset.us = Math.abs(seenUs - originUs) > ROUNDING_US ? seenUs : originUs
  }
  return offset.us
}
