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

/** Of the buckets of `SharedBucket`, so many lie in each halving of a fraction's distance from 1, so many times. */
const PER_HALVING = 8
const HALVINGS = 16

/** How much of the rate a process's own traces and those of others may reach before it refuses its own. */
const OWN_PART = 0.8
/** With less than this part of the burst left, also what is asked for is refused in order. */
const SCARCE_PART = 0.1

/**
 * The limit of all traces that a process keeps, triggered here or asked for. Each process that triggers some refuses the lowest of them
 * before any other hears of them, so nobody knows the rate of all. But those above the floor are known to everybody: the floor is where
 * so many of them have come lately as may pass. Whoever has triggered a trace refuses it a little sooner than those that are asked for it:
 * what one keeps, all keep, although they don't see the same at the same moment.
 */
export class SharedBucket {
  private readonly perSecond: number
  private readonly burst: number
  private tokens: number
  private atMs = Number.NEGATIVE_INFINITY
  /** How many have come, by the distance of the id's fraction from 1, the highest fractions first: what is a second older counts e times less. */
  private readonly recent = new Float64Array(PER_HALVING * HALVINGS)
  private isScarce = false

  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond
    this.burst = burst
    this.tokens = burst
  }

  /**
   * @param fraction the trace id's randomness, from 0 to 1
   * @param nowMs of any clock
   * @param isAsked whether another has kept the trace
   */
  take(fraction: number, nowMs: number, isAsked: boolean): boolean {
    const { perSecond, burst, recent } = this
    const seconds = Math.max(0, nowMs - this.atMs) / 1000
    this.atMs = Math.max(nowMs, this.atMs)
    this.tokens = Math.min(burst, this.tokens + seconds * perSecond)
    const fading = Math.exp(-seconds)
    for (let i = 0; i < recent.length; i++) recent[i]! *= fading
    recent[bucketOf(fraction)]!++
    const floor = fractionAbove(recent, isAsked ? perSecond : OWN_PART * perSecond)
    if (this.tokens < SCARCE_PART * burst) this.isScarce = true
    else if (floor === 0) this.isScarce = false
    // The burst is for what is asked for: a process doesn't know yet how much that will be when its own traces begin to be many.
    if (((this.isScarce || !isAsked) && fraction < floor) || this.tokens < 1) return false
    this.tokens--
    return true
  }
}

/** For how long it counts how many bytes were wanted: what is so much older counts e times less. As long as it takes to fill a burst. */
const BYTES_SECONDS = 4
/** Between these parts of the bytes that may be sent, ids are taken to be spread as they are up to the floor. */
const FIRST_PART = 0.25
const SURE_PART = 0.75

/**
 * Which traces are refused when more bytes are wanted than may be sent: a `ByteBucket` alone refuses whatever comes when it is empty, which
 * is another trace in each process. As with `SharedBucket`, the floor is where the bytes of those above it are as many as may be sent,
 * and whoever has triggered a trace refuses it a little sooner. So processes with about as much to send for a trace agree. What is
 * triggered here is counted with what is asked for: to others all of it is asked for.
 */
export class ByteOrder {
  private readonly most: number
  private readonly recent = new Float64Array(PER_HALVING * HALVINGS)
  private atMs = Number.NEGATIVE_INFINITY

  constructor(perSecond: number) {
    this.most = perSecond * BYTES_SECONDS
  }

  /** Notes that so many bytes of a trace are wanted. */
  note(fraction: number, bytes: number, nowMs: number): void {
    const { recent } = this
    const fading = Math.exp(-Math.max(0, nowMs - this.atMs) / 1000 / BYTES_SECONDS)
    this.atMs = Math.max(nowMs, this.atMs)
    if (fading < 1) for (let i = 0; i < recent.length; i++) recent[i]! *= fading
    recent[bucketOf(fraction)]! += bytes
  }

  /**
   * @param isAsked whether it is for what others have kept
   * @param left how much of a burst may still be sent of what others have kept: from 0 to 1
   * @returns what has a lower fraction is refused: from 0 to 1
   */
  floor(isAsked: boolean, left: number): number {
    // What others have let pass is let pass while it can be.
    if (isAsked && left >= SCARCE_PART) return 0
    const most = (isAsked ? 1 : OWN_PART) * this.most
    if (fractionAbove(this.recent, most) === 0) return 0
    // Near their floors, others refuse more or less than this process: so its own is drawn from where all have let all pass.
    const first = fractionAbove(this.recent, FIRST_PART * most)
    const sure = fractionAbove(this.recent, SURE_PART * most)
    return Math.max(0, sure - ((first - sure) * (1 - SURE_PART)) / (SURE_PART - FIRST_PART))
  }
}

/** The fraction above which there is so much; 0 if there is no more. */
function fractionAbove(recent: Float64Array, most: number): number {
  let sum = 0
  for (let i = 0; i < recent.length; i++) {
    const here = recent[i]!
    if (sum + here > most) return 1 - distanceOf(i + (most - sum) / here)
    sum += here
  }
  return 0
}

function bucketOf(fraction: number): number {
  const n = PER_HALVING * (HALVINGS + Math.log2(Math.max(1 - fraction, Number.MIN_VALUE)))
  return Math.min(Math.max(Math.floor(n), 0), PER_HALVING * HALVINGS - 1)
}

/** Where a bucket begins. */
function distanceOf(bucket: number): number {
  return 2 ** (bucket / PER_HALVING - HALVINGS)
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

  /** @param spare how many have to be there for others */
  take(n: number, nowMs: number, spare = 0): boolean {
    if (n + spare > this.left(nowMs)) return false
    this.bytes -= n
    return true
  }

  /** Takes what has to be sent in any case: what comes later waits for it. */
  owe(n: number, nowMs: number): void {
    this.bytes = this.left(nowMs) - n
  }
}
