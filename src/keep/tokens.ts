/**
 * Limits of what is kept. When more is asked for than the limit allows, each process refuses by itself; what is kept is whole only
 * if all of them refuse the same traces. So refusals follow the order of trace ids: under overload the traces below a floor are
 * refused, and the floor moves with the rate at which traces are asked for, which is about the same in all processes.
 */
export class OrderedBucket {
  private readonly perSecond: number
  private readonly burst: number
  private tokens: number
  private atMs = Number.NEGATIVE_INFINITY
  /** The rate at which traces are asked for, a second: what is a second older counts e times less. */
  private asked = 0
  private isOrdered = false

  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond
    this.burst = burst
    this.tokens = burst
  }

  /**
   * @param fraction the trace id's randomness, from 0 to 1
   * @param nowMs of any clock
   */
  take(fraction: number, nowMs: number): boolean {
    const { perSecond, burst } = this
    const ms = Math.max(0, nowMs - this.atMs)
    this.tokens = Math.min(burst, this.tokens + (ms / 1000) * perSecond)
    if (this.tokens < burst / 2) this.isOrdered = true
    const floor = this.floor(nowMs)
    if (floor === 0 && this.tokens >= burst / 2) this.isOrdered = false
    this.asked = this.askedAt(nowMs) + 1
    this.atMs = Math.max(nowMs, this.atMs)
    if (fraction < floor || this.tokens < 1) return false
    this.tokens--
    return true
  }

  /** @returns what has a lower fraction is refused: from 0 to 1 */
  floor(nowMs: number): number {
    // A little less than the rate allows, so that tokens are there for what the floor lets pass.
    return this.isOrdered ? Math.max(0, 1 - (0.9 * this.perSecond) / this.askedAt(nowMs)) : 0
  }

  private askedAt(nowMs: number): number {
    return this.asked * Math.exp(-Math.max(0, nowMs - this.atMs) / 1000)
  }
}

/** Bytes that may be sent: so many a second, and a burst of them after a quiet time. */
export class ByteBucket {
  private readonly perSecond: number
  private readonly burst: number
  private bytes: number
  private atMs = Number.NEGATIVE_INFINITY

  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond
    this.burst = burst
    this.bytes = burst
  }

  /** How many there are. */
  left(nowMs: number): number {
    const ms = Math.max(0, nowMs - this.atMs)
    this.atMs = Math.max(nowMs, this.atMs)
    this.bytes = Math.min(this.burst, this.bytes + (ms / 1000) * this.perSecond)
    return this.bytes
  }

  take(n: number, nowMs: number): boolean {
    if (n > this.left(nowMs)) return false
    this.bytes -= n
    return true
  }
}
