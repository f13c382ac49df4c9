import { MULTIPLIER } from '../../record/seed'

/**
 * What joins need of a record, in a row of 32-bit integers; three doubles lie among them. Typed arrays, since there are
 * hundreds of thousands: objects would be ten times as large, and collecting garbage would take longer than counting.
 */
export const WIDTH = 24
export const TRACE = 0
export const ID = 2
/** 0 for none. */
export const PARENT = 4
/** The record's identity. */
export const HASH = 6
export const FLAGS = 8
/** Numbers of words. */
export const SERVICE = 9
export const NAME = 10
/** The name that the record gives to the other side, or 0. */
export const PEER = 11
/** The edge as it has been counted, if EDGE is set. The words of the record's own service aren't repeated. */
export const CALLER_NAME = 12
export const OTHER_SERVICE = 13
export const CALLEE_NAME = 14
/** These columns hold words. */
export const FIRST_WORD = SERVICE
export const LAST_WORD = CALLEE_NAME
export const NEXT = 15
/** In doubles, of which a row has WIDTH / 2: microseconds since the epoch. */
export const START = 8
/** In microseconds; NaN for none. */
export const DURATION = 9
/** As it was sent; NaN for none. */
export const PROBABILITY = 10
/** In seconds. */
export const SEEN = 22

/** What FLAGS holds: the kind in the lowest three bits. */
export const KIND = 7
export const LOCAL = 0
export const CLIENT = 1
export const SERVER = 2
export const PRODUCER = 3
export const CONSUMER = 4
export const FAILED = 8
/** Not of a forced trace, nor of a time that isn't counted. */
export const COUNTED = 16
export const EDGE = 32
/** Of an earlier settling. */
export const EARLIER = 64

/** Rows that are appended, and forgotten together. */
export class Rows {
  i32: Int32Array
  f64: Float64Array
  size = 0

  constructor(capacity = 256) {
    this.i32 = new Int32Array(capacity * WIDTH)
    this.f64 = new Float64Array(this.i32.buffer)
  }

  reserve(rows: number): void {
    if ((this.size + rows) * WIDTH <= this.i32.length) return
    const grown = new Int32Array(Math.max(2 * this.i32.length, (this.size + rows) * WIDTH))
    grown.set(this.i32)
    this.i32 = grown
    this.f64 = new Float64Array(grown.buffer)
  }
}

/** Where a trace's list begins: all tables by trace or span ids use it. */
export function spreadOf(high: number, low: number): number {
  const mixed = Math.imul(high ^ Math.imul(low, MULTIPLIER) ^ (low >>> 13), MULTIPLIER)
  return mixed ^ (mixed >>> 15)
}

/** Senders keep spans back for up to a minute. In seconds. */
const WAIT_S = 90
/**
 * How many records wait for others of their traces: those of a minute at 14,000 a second. They take 88 MB, of which the system
 * gives a page when it is first written: so nothing has to be moved when there are more.
 */
const MAX_WAITING = 840_000

/**
 * The halves of the last settlings, oldest first, in a ring. Each is in a list with others of its trace (and of the few traces
 * that share the list): at its end when it comes, and thus at its beginning when it leaves.
 */
export class Ring {
  readonly i32: Int32Array
  readonly f64: Float64Array
  size = 0
  private readonly capacity: number
  private oldest = 0
  /** First and last row of each list, plus 1; or 0. */
  private readonly lists: Int32Array

  constructor(capacity = MAX_WAITING) {
    this.capacity = capacity
    this.i32 = new Int32Array(capacity * WIDTH)
    this.f64 = new Float64Array(this.i32.buffer)
    this.lists = new Int32Array(2 * capacity)
  }

  /** Whether push() isn't possible. */
  isFull(): boolean {
    return this.size === this.capacity
  }

  /** Whether the oldest row has waited for long enough. @param nowS seconds since the epoch */
  isOld(nowS: number): boolean {
    return this.size > 0 && nowS - this.i32[this.first() + SEEN]! > WAIT_S
  }

  /** Returns how many rows that haven't waited for long enough would have to leave for `added` more. */
  tooMany(added: number, nowS: number): number {
    const surplus = this.size + added - this.capacity
    let old = 0
    while (old < surplus && old < this.size && nowS - this.i32[this.offset(old) + SEEN]! > WAIT_S) old++
    return Math.max(0, surplus - old)
  }

  /** Returns the offset of a new row, which has its trace id and nothing else yet. */
  push(traceHigh: number, traceLow: number): number {
    const at = this.offset(this.size++)
    this.i32[at + TRACE] = traceHigh
    this.i32[at + TRACE + 1] = traceLow
    this.link(at / WIDTH)
    return at
  }

  /** The offset of the oldest row. */
  first(): number {
    return this.oldest * WIDTH
  }

  /** The offset of the nth row, from the oldest one. */
  private offset(n: number): number {
    return ((this.oldest + n) % this.capacity) * WIDTH
  }

  shift(): void {
    const at = this.oldest * WIDTH
    const list = this.listOf(this.i32[at + TRACE]!, this.i32[at + TRACE + 1]!)
    const next = this.i32[at + NEXT]!
    this.lists[list] = next + 1
    if (next === -1) this.lists[list + 1] = 0
    this.oldest = (this.oldest + 1) % this.capacity
    this.size--
  }

  /** Returns the offset of the trace's first row, or −1. */
  firstOf(traceHigh: number, traceLow: number): number {
    return this.find(this.lists[this.listOf(traceHigh, traceLow)]! - 1, traceHigh, traceLow)
  }

  /** Returns the offset of the trace's next row, or −1. */
  nextOf(at: number): number {
    const { i32 } = this
    return this.find(i32[at + NEXT]!, i32[at + TRACE]!, i32[at + TRACE + 1]!)
  }

  private find(from: number, traceHigh: number, traceLow: number): number {
    const { i32 } = this
    for (let row = from; row !== -1; row = i32[row * WIDTH + NEXT]!) {
      const at = row * WIDTH
      if (i32[at + TRACE + 1] === traceLow && i32[at + TRACE] === traceHigh) return at
    }
    return -1
  }

  private listOf(traceHigh: number, traceLow: number): number {
    return 2 * ((spreadOf(traceHigh, traceLow) >>> 0) % this.capacity)
  }

  private link(row: number): void {
    const { i32, lists } = this
    const at = row * WIDTH
    const list = this.listOf(i32[at + TRACE]!, i32[at + TRACE + 1]!)
    i32[at + NEXT] = -1
    const last = lists[list + 1]! - 1
    if (last === -1) lists[list] = row + 1
    else i32[last * WIDTH + NEXT] = row
    lists[list + 1] = row + 1
  }
}
