/**
 * Hours are those of messages' numbers (MessageNumbers), which rise by about a million a second from the time at which a collector
 * started. So an hour is a range of what stores are ordered by, and the same records are in it whenever it is read.
 */

export const HOUR_US = 3_600_000_000
/** How long after a number was taken its message may come, with a deadline of seconds to write it, and how far clocks may be apart. */
export const MARGIN_US = 120_000_000

/** A message, by its number and when it came. */
export interface Numbered {
  id: bigint
  receivedUs: bigint
}

/**
 * Returns the time up to which no message can be added any more.
 * @param newest the collector's newest message. On a machine that has slept, numbers are behind the clock by that time
 */
export function completeUntilUs(nowUs: number, newest: Numbered | undefined): number {
  const behindUs = newest === undefined ? 0 : Math.max(0, Number(newest.receivedUs - newest.id))
  return nowUs - behindUs - MARGIN_US
}
