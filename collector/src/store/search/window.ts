/**
 * An index may list the records of a trace that begin in the same window of time as one, at the newest of their starts. A time range
 * that ends where a window ends misses none of them, and within it, a trace's first place is that of its newest record.
 */

/** A window is 2^20 µs, about a second. Since it is a power of two, the last window ends where 64 bits do. */
export const WINDOW_BITS = 20

/** Returns the last microsecond of the window that contains `us`. */
export function endOfWindow(us: bigint): bigint {
  return us | (2n ** BigInt(WINDOW_BITS) - 1n)
}
