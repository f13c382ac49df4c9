/**
 * So many traces a second. Above that, traces are refused in the order of their ids' randomness, the lowest first: processes limit what
 * they keep in the same order, so that they have what is announced.
 */
export class OrderedLimit {
  private readonly aSecond: number
  private readonly burst: number
  private tokens: number
  private readonly nowMs: () => number
  private atMs: number
  /** About how many came in the last second. */
  private came = 0
  private ordered = false

  constructor(aSecond: number, burst: number, nowMs = () => performance.now()) {
    this.aSecond = aSecond
    this.burst = this.tokens = burst
    this.nowMs = nowMs
    this.atMs = nowMs()
  }

  take(traceId: bigint): boolean {
    const nowMs = this.nowMs()
    const seconds = (nowMs - this.atMs) / 1000
    this.atMs = nowMs
    this.tokens = Math.min(this.burst, this.tokens + seconds * this.aSecond)
    this.came = this.came * Math.exp(-seconds) + 1
    const floor = 1 - (0.9 * this.aSecond) / this.came
    if (this.tokens < this.burst / 2) this.ordered = true
    else if (floor <= 0) this.ordered = false
    if (this.tokens < 1 || (this.ordered && randomnessOf(traceId) < floor)) return false
    this.tokens--
    return true
  }
}

/** From 0 to 1: the low 56 bits of a trace id are random. */
function randomnessOf(traceId: bigint): number {
  return Number(BigInt.asUintN(56, traceId)) / 2 ** 56
}
