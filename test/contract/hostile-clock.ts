import type { Clock } from '../../collector/src/store/pipeline/clock'

const SECOND_US = 1_000_000n
const JUMPS_US = [1n, 30n, 3_600n, 86_400n, 20n * 86_400n, 366n * 86_400n].map(seconds => seconds * SECOND_US)

/** A clock that a test moves. The process's own shows the same time of day. */
export class HostileClock implements Clock {
  private skewUs = 0n
  private passedUs = 0n
  private readonly startUs = BigInt(Date.now()) * 1000n
  private readonly now = Date.now

  constructor() {
    Date.now = () => Number(this.wallUs() / 1000n)
  }

  wallUs(): bigint {
    return this.startUs + this.skewUs + this.passedUs
  }

  steadyMs(): number {
    return Number(this.passedUs) / 1000
  }

  /** Somebody sets the time of day. */
  jump(us: bigint): void {
    this.skewUs += us
  }

  isRight(): void {
    this.skewUs = 0n
  }

  /** Time goes by. */
  pass(us: bigint): void {
    this.passedUs += us
  }

  restore(): void {
    Date.now = this.now
  }
}

export function randomJump(random: () => number): bigint {
  const us = JUMPS_US[Math.floor(random() * JUMPS_US.length)]!
  return random() < 0.5 ? us : -us
}
