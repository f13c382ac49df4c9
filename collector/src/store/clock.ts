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

export function earlier(a: bigint, b: bigint): bigint {
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

/** A gap between two processes that is believed at once; a longer one only after the clock has stayed right for a while. */
const SHORT_GAP_US = 600_000_000n
const TRUST_US = 3_600_000_000n

export interface AgesState {
  ageUs: bigint
  wallUs: bigint
}

/**
 * The clock of retention. It counts time that is sure to have passed, so that a wall clock that jumps a year ahead removes
 * nothing, and one that jumps back keeps nothing for ever: while a process runs the steady clock counts. The time between two
 * processes is the wall clock's; where that is more than ten minutes, it counts once the process has run for an hour and the
 * clock hasn't gone back.
 */
export class Ages {
  private readonly clock: Clock
  private readonly startMs: number
  private ageUs: bigint
  /** The latest that the wall clock has been at the start of a process. */
  private wallUs: bigint
  /** Between the processes, and not counted yet. */
  private gapUs: bigint

  /** @param saved by the process before */
  constructor(clock: Clock, saved: AgesState) {
    const wallUs = clock.wallUs()
    this.clock = clock
    this.startMs = clock.steadyMs()
    this.ageUs = saved.ageUs
    this.wallUs = later(wallUs, saved.wallUs)
    this.gapUs = this.wallUs - saved.wallUs
    if (this.gapUs <= SHORT_GAP_US) this.countGap()
  }

  nowUs(): bigint {
    const elapsedUs = this.elapsedUs()
    if (this.gapUs > 0n && elapsedUs >= TRUST_US) {
      const wentBack = this.clock.wallUs() < this.wallUs + elapsedUs - SHORT_GAP_US
      if (wentBack) {
        this.wallUs -= this.gapUs
        this.gapUs = 0n
      } else this.countGap()
    }
    return this.ageUs + elapsedUs
  }

  /** The time of day, unless that is later than it can be. */
  wallAtMostUs(): bigint {
    return earlier(this.clock.wallUs(), this.state().wallUs)
  }

  /** For the next process. */
  state(): AgesState {
    const ageUs = this.nowUs()
    return { ageUs, wallUs: this.wallUs + this.elapsedUs() - this.gapUs }
  }

  private countGap(): void {
    this.ageUs += this.gapUs
    this.gapUs = 0n
  }

  private elapsedUs(): bigint {
    return BigInt(Math.floor((this.clock.steadyMs() - this.startMs) * 1000))
  }
}
