/**
 * The one place where a store gets numbers from time. The wall clock says when something happened and may jump either way
 * at any moment: at start, while the process runs, between collectors. So it is used for data alone; durations, deadlines and
 * ages come from the steady clock, and the order of messages comes from MessageNumbers.
 */
export interface Clock {
  /** Microseconds since the epoch. */
  wallUs(): bigint
  /** Milliseconds since some moment. It never goes back and never jumps; it may stand still while a machine sleeps. */
  steadyMs(): number
}

export const systemClock: Clock = {
  wallUs: () => BigInt(Date.now()) * 1000n,
  steadyMs: () => performance.now(),
}

function earlier(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

function later(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

/**
 * Numbers of messages. Each is higher than all before it, also those of earlier processes, and they rise by about a million
 * each second, whatever the wall clock does: it is asked once, at the start.
 */
export class MessageNumbers {
  private readonly clock: Clock
  private readonly startUs: bigint
  private readonly startMs: number
  private last: bigint

  /** @param last no number up to this is given */
  constructor(clock: Clock, last: bigint) {
    this.clock = clock
    const wallUs = clock.wallUs()
    this.startUs = later(wallUs, last)
    this.startMs = clock.steadyMs()
    this.last = last
  }

  /** The first of `count` numbers in a row. */
  take(count: number): bigint {
    const now = this.startUs + BigInt(Math.floor((this.clock.steadyMs() - this.startMs) * 1000))
    const first = later(now, this.last + 1n)
    this.last = first + BigInt(count - 1)
    return first
  }
}

/** A jump, or a gap between two processes, that is too short to matter. */
const SHORT_US = 600_000_000n
/** A wall clock that hasn't jumped for so long is believed. */
const TRUST_US = 3_600_000_000n

export interface AgesState {
  ageUs: bigint
  wallUs: bigint
}

/**
 * The clock of retention. It counts time that is sure to have passed, so that a wall clock that jumps a year ahead removes
 * nothing, and one that jumps back keeps nothing for ever: while a process runs the steady clock counts. The time between two
 * processes is the wall clock's; where that is more than ten minutes, it counts once the wall clock hasn't jumped for an hour.
 */
export class Ages {
  private readonly clock: Clock
  private ageUs: bigint
  /** The time of day, by a clock that was believed when an earlier process ended, and by the steady clock since. */
  private sureUs: bigint
  /** How far the wall clock has jumped ahead while this process ran: such time hasn't passed. */
  private skippedUs = 0n
  /** Whether the time between the processes isn't counted yet. */
  private gapIsOpen = true
  private seenUs: bigint
  private seenMs: number
  /** Since the last jump. */
  private calmUs = 0n

  /** @param saved by the process before */
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

  /** The time of day, unless that is later than it can be. */
  wallAtMostUs(): bigint {
    this.look()
    return earlier(this.seenUs, this.sureUs)
  }

  /** The state that the next process begins with. */
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
