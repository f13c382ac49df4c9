/**
 * The only source of times in a store. The wall clock says when something happened, and may jump either way at any moment: at
 * start, while the process runs, between collectors. So it is used only for data; durations, deadlines and ages come from the
 * steady clock, and the order of messages comes from MessageNumbers.
 */
export interface Clock {
  /** Microseconds since the epoch. */
  wallUs(): bigint
  /** Milliseconds since an arbitrary moment. It never goes back or jumps; it may stand still while the machine sleeps. */
  steadyMs(): number
}

export const systemClock: Clock = {
  wallUs: () => BigInt(Date.now()) * 1000n,
  steadyMs: () => performance.now(),
}

export function earlier(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

export function later(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

/**
 * Assigns numbers to messages. Each number is higher than all before it, also those of earlier processes, and they rise by about
 * a million per second whatever the wall clock does: it is read only once, at the start.
 */
export class MessageNumbers {
  private readonly clock: Clock
  private readonly startUs: bigint
  private readonly startMs: number
  private last: bigint

  /** @param last the highest number that is already in use */
  constructor(clock: Clock, last: bigint) {
    this.clock = clock
    const wallUs = clock.wallUs()
    this.startUs = later(wallUs, last)
    this.startMs = clock.steadyMs()
    this.last = last
  }

  /** Reserves `count` consecutive numbers. @returns the first one */
  take(count: number): bigint {
    const byClock = this.startUs + BigInt(Math.floor((this.clock.steadyMs() - this.startMs) * 1000))
    const first = later(byClock, this.last + 1n)
    this.last = first + BigInt(count - 1)
    return first
  }
}

/** A shorter jump, or a shorter gap between two processes, doesn't matter. */
const SHORT_US = 600_000_000n
/** The wall clock is trusted after this time without a jump. */
const TRUST_US = 3_600_000_000n

export interface AgesState {
  ageUs: bigint
  wallUs: bigint
}

/**
 * The clock of retention. It counts only time that has certainly passed, so that a wall clock that jumps a year ahead deletes
 * nothing, and a clock that jumps back doesn't keep data forever. While a process runs, the steady clock counts. The time
 * between two processes comes from the wall clock; if it is more than ten minutes, it counts once the wall clock hasn't jumped
 * for an hour.
 */
export class Ages {
  private readonly clock: Clock
  private ageUs: bigint
  /** The time of day: the trusted time at the end of an earlier process, advanced by the steady clock. */
  private sureUs: bigint
  /** How far the wall clock has jumped ahead while this process ran. That time hasn't passed. */
  private skippedUs = 0n
  /** Whether the time between the processes is still uncounted. */
  private gapIsOpen = true
  private seenUs: bigint
  private seenMs: number
  /** The time since the last jump. */
  private calmUs = 0n

  /** @param saved the state that the previous process saved */
  constructor(clock: Clock, saved: AgesState) {
    this.clock = clock
    this.seenUs = clock.wallUs()
    this.seenMs = clock.steadyMs()
    this.ageUs = saved.ageUs
    this.sureUs = saved.wallUs
    const gapUs = this.seenUs - saved.wallUs
    if (gapUs >= 0n && gapUs <= SHORT_US) this.believe()
  }

  nowUs(): bigint {
    this.look()
    return this.ageUs
  }

  /** Returns the time of day, but never later than it can be. */
  wallAtMostUs(): bigint {
    this.look()
    return earlier(this.seenUs, this.sureUs)
  }

  /** Returns the state that the next process starts with. */
  state(): AgesState {
    this.look()
    return { ageUs: this.ageUs, wallUs: this.sureUs + this.skippedUs }
  }

  private look(): void {
    const passedUs = BigInt(Math.floor((this.clock.steadyMs() - this.seenMs) * 1000))
    const wallUs = this.clock.wallUs()
    const jumpUs = wallUs - this.seenUs - passedUs
    this.seenUs = wallUs
    this.seenMs += Number(passedUs) / 1000
    this.ageUs += passedUs
    this.sureUs += passedUs
    this.calmUs += passedUs
    if (jumpUs > SHORT_US || jumpUs < -SHORT_US) {
      this.calmUs = 0n
      const aheadUs = wallUs - this.sureUs - this.skippedUs
      if (aheadUs > 0n) this.skippedUs += earlier(jumpUs, aheadUs)
    } else if (this.calmUs >= TRUST_US) this.believe()
  }

  private believe(): void {
    const gapUs = this.seenUs - this.sureUs - this.skippedUs
    if (this.gapIsOpen && gapUs > 0n) this.ageUs += gapUs
    this.gapIsOpen = false
    this.sureUs = this.seenUs
    this.skippedUs = 0n
  }
}
