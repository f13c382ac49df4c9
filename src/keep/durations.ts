/** Samples without which nothing is slow. */
const LEAST_SAMPLES = 100
const MINUTE_S = 60
/**
 * About so many of the two minutes are slow, because no more may be kept than a trace a second. Of an operation that is called a thousand
 * times a second, 1 % would be ten times more than that: then it would be chance whether the slowest of them is kept.
 */
const MOST_SLOW = 16
/** Eight for each power of two, up to 2^31 µs. */
const BUCKETS = 240

/**
 * The durations of one operation in this minute and the one before, in buckets that are an eighth wide: what is slow lies above 99 %
 * of them, or all but some 16 if these are fewer, and took twice as long as half of them.
 */
export class Durations {
  private now = new Uint32Array(BUCKETS)
  private before = new Uint32Array(BUCKETS)
  private minute = 0
  private samples = 0
  private samplesBefore = 0
  private limitUs = Number.POSITIVE_INFINITY
  /** With how many samples the limit is learnt anew. */
  private learnAt = LEAST_SAMPLES

  /** Whether enough is known, by those added before, to say that a duration isn't slow. */
  isOrdinary(us: number): boolean {
    return us <= this.limitUs && this.limitUs !== Number.POSITIVE_INFINITY
  }

  /** Adds a duration. @returns whether it is slow, by those before it */
  add(us: number, nowS: number): boolean {
    const minute = Math.floor(nowS / MINUTE_S)
    // The clock may have been set back.
    if (minute !== this.minute) this.turn(minute)
    const isSlow = us > this.limitUs
    this.now[bucketOf(us)]!++
    if (++this.samples + this.samplesBefore >= this.learnAt) this.learn()
    return isSlow
  }

  private turn(minute: number): void {
    const isNext = minute === this.minute + 1
    const { now } = this
    this.now = this.before.fill(0)
    this.before = isNext ? now : now.fill(0)
    this.samplesBefore = isNext ? this.samples : 0
    this.samples = 0
    this.minute = minute
    this.learnAt = LEAST_SAMPLES
    if (this.samplesBefore >= LEAST_SAMPLES) this.learn()
    // With too few samples, the last minute's limit holds until more are there.
    else if (!isNext) this.limitUs = Number.POSITIVE_INFINITY
  }

  private learn(): void {
    const total = this.samples + this.samplesBefore
    this.learnAt = total + Math.max(50, total >> 4)
    const most = total * 0.99
    const allButFew = total - MOST_SLOW
    let sum = 0
    let medianUs = 0
    let limitUs = 0
    for (let i = 0; i < BUCKETS && (sum < most || sum < allButFew); i++) {
      const isMost = sum >= most
      sum += this.now[i]! + this.before[i]!
      if (medianUs === 0 && sum >= total / 2) medianUs = upperUs(i)
      if (!isMost) limitUs = upperUs(i)
      // Of many that take the same time, and are fewer than 1 %, all are slow: then tokens decide.
      else if (sum >= allButFew) limitUs = upperUs(i - 1)
    }
    this.limitUs = Math.max(limitUs, 2 * medianUs)
  }
}

function bucketOf(us: number): number {
  const n = us < 0x7fffffff ? us | 0 : 0x7fffffff
  if (n < 8) return n
  const exponent = 31 - Math.clz32(n)
  return (exponent - 2) * 8 + ((n >>> (exponent - 3)) & 7)
}

/** Where the next bucket begins, in µs. */
function upperUs(bucket: number): number {
  const next = bucket + 1
  return next < 8 ? next : (8 + (next & 7)) * 2 ** ((next >> 3) - 1)
}
