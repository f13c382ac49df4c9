import { KEEP_BYTES } from 'milo/codec/keeps'
import { Turns } from '../turns'

/**
 * What processes should keep after the fact, as the latest few thousand entries, and the polls that wait for more.
 *
 *     add → entries, numbered ──→ polls that wait, all at once, but no more than 20,000 a second
 *                        └──────→ a poll that comes late
 *
 * Numbers are microseconds since the epoch, so that the number of one collector means the right time to another, to
 * which a process turns when the first one is gone.
 */

export interface FeedReply {
  next: number
  /** Entries of KEEP_BYTES, oldest first. */
  keeps: Buffer
}

/** A poll that waits. */
export interface Poll {
  /** Answers at once. */
  end(): void
}

interface Waiting extends Poll {
  since: number
  answer(reply: FeedReply): void
  timer: NodeJS.Timeout
}

const MAX_ENTRIES = 16_384
const MAX_REPLY_ENTRIES = 1_000
export const MAX_POLLS = 10_000
export const MAX_WAIT_MS = 30_000
/** Polls that wait are answered together, and then not for so long: at least, and for each poll. */
const PACE_MS = 5
const PACE_MS_A_POLL = 1 / 20
/**
 * Numbers are multiples of this plus a remainder by which a feed knows its own. Another feed's number may be ahead of what this one
 * has learnt, so that entries of so long before it are told again: who asks knows a trace that it has been asked for.
 */
const STEP = 64
const OVERLAP_US = 2_000_000
const ASKED_MS = 60_000

export class Feed {
  private readonly nowUs: () => number
  private readonly own: number
  /** A ring: entry i is at i % MAX_ENTRIES. */
  private readonly numbers = new Float64Array(MAX_ENTRIES)
  private readonly entries = Buffer.alloc(MAX_ENTRIES * KEEP_BYTES)
  private count = 0
  private last: number
  /** What waiting polls have been told. */
  private told: number
  private readonly waiting = new Set<Waiting>()
  private toldAtMs = Number.NEGATIVE_INFINITY
  private polledAtMs = Number.NEGATIVE_INFINITY
  private timer: NodeJS.Timeout | undefined
  private telling = false
  private closed = false
  /** The reply to the last `since`: many polls have the same one. */
  private made: { since: number; last: number; reply: FeedReply } | undefined

  /** @param own the remainder of its numbers, from 0 to 63 */
  constructor(nowUs: () => number = () => Date.now() * 1000, own = Math.floor(Math.random() * STEP)) {
    this.nowUs = nowUs
    this.own = own
    this.last = this.told = this.numberAt(nowUs())
  }

  get polls(): number {
    return this.waiting.size
  }

  /** Returns whether anybody has asked in the last minute. */
  isAsked(): boolean {
    return this.waiting.size > 0 || performance.now() - this.polledAtMs < ASKED_MS
  }

  /** @param n of an operation: how many traces to keep, up to 255 */
  add(kind: number, id: bigint, n = 0): void {
    this.last = Math.max(this.numberAt(this.nowUs()), this.last + STEP)
    const at = this.count++ % MAX_ENTRIES
    this.numbers[at] = this.last
    this.entries[at * KEEP_BYTES] = kind
    this.entries.writeBigInt64BE(BigInt.asIntN(64, id), at * KEEP_BYTES + 1)
    this.entries[at * KEEP_BYTES + 9] = n
    this.schedule()
  }

  /**
   * Answers with what came after `since`: at once if there is something, or once there is or the time is over.
   * @param since 0, or a number of this or another feed
   * @param answer called once
   * @returns the poll, if it waits; 'too many' when it isn't answered at all
   */
  poll(since: bigint, waitMs: number, answer: (reply: FeedReply) => void): Poll | 'too many' | undefined {
    this.polledAtMs = performance.now()
    const from = this.from(since)
    const ms = Math.min(waitMs, MAX_WAIT_MS)
    if (from < this.told || !(ms > 0) || this.closed) {
      answer(this.after(from))
      return undefined
    }
    if (this.waiting.size >= MAX_POLLS) return 'too many'
    const end = () => this.end(poll)
    const poll: Waiting = { since: from, answer, end, timer: setTimeout(end, ms) }
    this.waiting.add(poll)
    if (from < this.last) this.schedule()
    return poll
  }

  /** Answers all polls, and lets none wait any longer. */
  close(): void {
    this.closed = true
    clearTimeout(this.timer)
    for (const poll of this.waiting) this.end(poll)
  }

  private numberAt(us: number): number {
    return Math.floor(us / STEP) * STEP + this.own
  }

  private from(since: bigint): number {
    if (since <= 0n) return this.last
    // What is from the future comes from a clock that is ahead.
    const number = Math.min(Number(since), this.last)
    return Number(since) % STEP === this.own ? number : number - OVERLAP_US
  }

  private end(poll: Waiting): void {
    if (!this.waiting.delete(poll)) return
    clearTimeout(poll.timer)
    poll.answer(this.after(poll.since))
  }

  private schedule(): void {
    if (this.timer !== undefined || this.telling || this.waiting.size === 0 || this.closed) return
    const paceMs = Math.max(PACE_MS, this.waiting.size * PACE_MS_A_POLL)
    this.timer = setTimeout(() => void this.tell(), Math.max(0, this.toldAtMs + paceMs - performance.now()))
  }

  private async tell(): Promise<void> {
    this.timer = undefined
    this.telling = true
    this.told = this.last
    const turns = new Turns()
    for (const poll of [...this.waiting]) {
      this.end(poll)
      if (turns.over()) await turns.next()
    }
    this.telling = false
    this.toldAtMs = performance.now()
    if (this.told < this.last) this.schedule()
  }

  private after(since: number): FeedReply {
    if (this.made?.since === since && this.made.last === this.last) return this.made.reply
    const reply = this.read(since)
    this.made = { since, last: this.last, reply }
    return reply
  }

  private read(since: number): FeedReply {
    let low = Math.max(0, this.count - MAX_ENTRIES)
    let high = this.count
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.numbers[middle % MAX_ENTRIES]! > since) high = middle
      else low = middle + 1
    }
    const n = Math.min(this.count - low, MAX_REPLY_ENTRIES)
    const keeps = Buffer.allocUnsafe(n * KEEP_BYTES)
    for (let i = 0; i < n; i++) {
      const at = ((low + i) % MAX_ENTRIES) * KEEP_BYTES
      this.entries.copy(keeps, i * KEEP_BYTES, at, at + KEEP_BYTES)
    }
    return { next: low + n < this.count ? this.numbers[(low + n - 1) % MAX_ENTRIES]! : this.last, keeps }
  }
}
