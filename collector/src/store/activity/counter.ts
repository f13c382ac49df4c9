import type { Bytes, Cursor } from '../bytes'
import { MAX_US, Sketch } from './sketch'

/**
 * What is known of the calls of one operation or edge in a stretch of time.
 *
 * Every number is divided by the probability p with which its trace was kept: a trace kept with 0.01 stands for w = 100. How far such
 * sums are from the truth can't be told from single calls, as all calls of a trace share one throw of the coin, and come or fail
 * together. So a trace belongs to one of 32 groups, by the low bits of its id (the sampler decides by the high ones), and each
 * group has sums of its own. How much these differ tells how uncertain their total is, whatever traces look like
 * (estimates.ts).
 */
export const GROUPS = 32

export interface Exemplar {
  traceId: bigint
  /** Microseconds since the epoch. */
  startUs: number
  durationUs: number | null
  kind: 'slow' | 'failed' | 'typical'
}

/**
 * OpenTelemetry's thresholds know no lower one. A span with less would stand for more calls than there are, and its squares be more
 * than a number holds.
 */
const LEAST_PROBABILITY = 2 ** -56

/** What a sampling probability means for a sum. One object serves for many spans: calls with the same p cost a comparison. */
export class Weight {
  /** How many calls one stands for: 1/p; 0 for a trace that was forced (p = 0), as it stands for none, not even itself. */
  value = 1
  /** w(w−1): the variance that sampling gives to a sum, if no other call shares the coin. */
  spread = 0
  /** The probability is absent, none at all, or too small for one; the call counts once. */
  unknown = true
  private p = Number.NaN

  /** @param p NaN if the span has none */
  set(p: number): this {
    if (p === this.p) return this
    this.p = p
    this.unknown = !(p === 0 || (p >= LEAST_PROBABILITY && p <= 1))
    if (this.unknown || p === 0) {
      this.value = this.unknown ? 1 : 0
      this.spread = 0
    } else {
      this.value = 1 / p
      this.spread = (1 - p) / (p * p)
    }
    return this
  }
}

export class Counter {
  /** How many spans were counted. */
  records = 0
  /** Σ w of all, of the failed, and of the roots of traces; what takes a message from a queue counts as one. */
  calls = 0
  errors = 0
  roots = 0
  /** How many of the spans have no sampling probability; each counts once. */
  unknown = 0
  /** Σ w(w−1). */
  spread = 0
  /** Σ w of each group; the same of its failed calls; and Σ w · duration. Undefined while there are none. */
  callGroups?: Float64Array
  errorGroups?: Float64Array
  durationGroups?: Float64Array
  readonly durations = new Sketch()
  private shown?: Shown

  /**
   * Counts a span. Spans of forced traces must not be counted at all: if the weight is 0, don't call this.
   * @param group the low five bits of the trace's id
   * @param durationUs NaN if it isn't known
   * @param sign −1 to take a span back
   */
  add(weight: Weight, group: number, isRoot: boolean, isError: boolean, durationUs: number, sign = 1): void {
    const { value } = weight
    const w = sign * value
    this.records += sign
    this.calls += w
    if (isError) this.errors += w
    if (isRoot) this.roots += w
    if (weight.unknown) this.unknown += sign
    const hasDuration = !Number.isNaN(durationUs)
    if (hasDuration) this.durations.add(durationUs, w)
    this.spread += sign * weight.spread
    this.callGroups ??= new Float64Array(GROUPS)
    this.callGroups[group]! += w
    if (isError) {
      this.errorGroups ??= new Float64Array(GROUPS)
      this.errorGroups[group]! += w
    }
    if (hasDuration && durationUs > 0) {
      this.durationGroups ??= new Float64Array(GROUPS)
      this.durationGroups[group]! += w * Math.min(durationUs, MAX_US)
    }
  }

  /**
   * Offers a span as an example. It becomes one of at most three: a slow, a failed and a typical one.
   * @param traceHigh,traceLow the halves of the trace's id, as 32-bit integers
   * @param durationUs NaN if it isn't known
   */
  show(traceHigh: number, traceLow: number, startUs: number, durationUs: number, isError: boolean): void {
    this.shown ??= new Shown()
    this.shown.offer(traceHigh, traceLow, startUs, durationUs, isError)
  }

  /** @param sign −1 to take the other's counts away; its exemplars stay away too then */
  merge(other: Counter, sign = 1): void {
    this.records += sign * other.records
    this.calls += sign * other.calls
    this.errors += sign * other.errors
    this.roots += sign * other.roots
    this.unknown += sign * other.unknown
    this.spread += sign * other.spread
    this.callGroups = addGroups(this.callGroups, other.callGroups, sign)
    this.errorGroups = addGroups(this.errorGroups, other.errorGroups, sign)
    this.durationGroups = addGroups(this.durationGroups, other.durationGroups, sign)
    this.durations.merge(other.durations, sign)
    if (sign > 0 && other.shown !== undefined) {
      this.shown ??= new Shown()
      this.shown.merge(other.shown)
    }
  }

  /** Whether corrections took back all that was counted. */
  isNothing(): boolean {
    return Math.abs(this.calls) < 1e-6
  }

  exemplars(): Exemplar[] {
    return this.shown?.list(this.durations.quantile(0.5)) ?? []
  }

  write(bytes: Bytes): void {
    const slots = this.shown?.slots(this.durations.quantile(0.5)) ?? []
    const groups = [this.callGroups, this.errorGroups, this.durationGroups]
    let parts = 0
    for (let i = 0; i < 3; i++) if (groups[i]?.some(sum => sum !== 0)) parts |= 1 << i
    for (let i = 0; i < slots.length; i++) if (slots[i] !== NO_SLOT) parts |= 8 << i
    bytes.varint(parts)
    bytes.number(this.records)
    bytes.number(this.calls)
    bytes.number(this.errors)
    bytes.number(this.roots)
    bytes.number(this.unknown)
    bytes.number(this.spread)
    for (let i = 0; i < 3; i++) if (parts & (1 << i)) writeGroups(bytes, groups[i]!)
    this.durations.write(bytes)
    for (const slot of slots) if (slot !== NO_SLOT) this.shown!.write(bytes, slot)
  }

  /** Adds a written counter, which costs less than to read and merge it. @throws RangeError if these bytes aren't a counter */
  mergeWritten(cursor: Cursor, sign = 1): void {
    const parts = cursor.varint()
    if (!(parts < 64)) throw new RangeError('not a counter')
    this.records += sign * finite(cursor.number())
    this.calls += sign * finite(cursor.number())
    this.errors += sign * finite(cursor.number())
    this.roots += sign * finite(cursor.number())
    this.unknown += sign * finite(cursor.number())
    this.spread += sign * finite(cursor.number())
    if (parts & 1) readGroups(cursor, (this.callGroups ??= new Float64Array(GROUPS)), sign)
    if (parts & 2) readGroups(cursor, (this.errorGroups ??= new Float64Array(GROUPS)), sign)
    if (parts & 4) readGroups(cursor, (this.durationGroups ??= new Float64Array(GROUPS)), sign)
    this.durations.mergeWritten(cursor, sign)
    for (let kind = 0; kind < 3; kind++) {
      if (!(parts & (8 << kind))) continue
      if (sign > 0) this.shown ??= new Shown()
      readSlot(cursor, sign > 0 ? this.shown : undefined, kind)
    }
  }

  static read(cursor: Cursor): Counter {
    const counter = new Counter()
    counter.mergeWritten(cursor)
    return counter
  }
}

function addGroups(to: Float64Array | undefined, from: Float64Array | undefined, sign: number) {
  if (from === undefined) return to
  to ??= new Float64Array(GROUPS)
  for (let g = 0; g < GROUPS; g++) to[g]! += sign * from[g]!
  return to
}

/** A bit for each group that isn't zero, and those: as varints if all are whole, or else as 32-bit floats, as errors need no more. */
function writeGroups(bytes: Bytes, sums: Float64Array): void {
  let some = 0
  let isWhole = 1
  for (let g = 0; g < GROUPS; g++) {
    if (sums[g] !== 0) some |= 1 << g
    if (!(Math.abs(sums[g]!) < MAX_WHOLE && Math.floor(sums[g]!) === sums[g])) isWhole = 0
  }
  bytes.i32(some)
  bytes.varint(isWhole)
  for (let g = 0; g < GROUPS; g++) {
    if (sums[g] === 0) continue
    if (isWhole) bytes.number(sums[g]!)
    else bytes.f32(sums[g]!)
  }
}

/** Larger numbers take no fewer bytes as varints than as floats. */
const MAX_WHOLE = 2 ** 24

function readGroups(cursor: Cursor, to: Float64Array, sign: number): void {
  const some = cursor.i32()
  const isWhole = cursor.varint() === 1
  for (let g = 0; g < GROUPS; g++)
    if (some & (1 << g)) to[g]! += sign * finite(isWhole ? cursor.number() : cursor.f32())
}

const KINDS = ['slow', 'failed', 'typical'] as const
/** Each example is four numbers: both halves of the trace's id, start, duration. */
const SLOT = 4
const NO_SLOT = -1
/** The slots of the slow and the failed one; others are the latest, of which the one nearest to the median is typical. */
const [SLOW, FAILED, LATEST] = [0, 1, 2]
const SLOTS = 6

/** The examples of a counter. Numbers in one array, as this is written with every span. */
class Shown {
  private readonly numbers = new Float64Array(SLOTS * SLOT)
  private hasSlow = false
  private hasFailed = false
  /** How many were put into the latest ones. */
  private latest = 0

  offer(high: number, low: number, startUs: number, durationUs: number, isError: boolean): void {
    this.put(SLOW, high, low, startUs, durationUs)
    if (isError) this.put(FAILED, high, low, startUs, durationUs)
    this.put(LATEST, high, low, startUs, durationUs)
  }

  /** @param kind the slow one's place is only for a slower one, and the failed one's for a later one */
  put(kind: number, high: number, low: number, startUs: number, durationUs: number): void {
    const { numbers } = this
    let at = kind * SLOT
    if (kind === SLOW) {
      // One without a duration gives way to any.
      if (this.hasSlow && !(durationUs > numbers[at + 3]! || Number.isNaN(numbers[at + 3]))) return
      this.hasSlow = true
    } else if (kind === FAILED) {
      if (this.hasFailed && startUs < numbers[at + 2]!) return
      this.hasFailed = true
    } else {
      at += (this.latest++ & (SLOTS - LATEST - 1)) * SLOT
    }
    numbers[at] = high
    numbers[at + 1] = low
    numbers[at + 2] = startUs
    numbers[at + 3] = durationUs
  }

  merge({ numbers, hasSlow, hasFailed, latest }: Shown): void {
    const put = (kind: number, slot: number) => {
      const at = slot * SLOT
      this.put(kind, numbers[at]!, numbers[at + 1]!, numbers[at + 2]!, numbers[at + 3]!)
    }
    if (hasSlow) put(SLOW, SLOW)
    if (hasFailed) put(FAILED, FAILED)
    for (let slot = LATEST; slot < LATEST + latest && slot < SLOTS; slot++) put(LATEST, slot)
  }

  /** The slots of the slow, the failed and the typical one. */
  slots(medianUs: number | undefined): number[] {
    let typical = NO_SLOT
    let least = Number.POSITIVE_INFINITY
    for (let slot = LATEST; slot < LATEST + this.latest && slot < SLOTS; slot++) {
      const durationUs = this.numbers[slot * SLOT + 3]!
      const distance = medianUs === undefined ? 0 : Math.abs(durationUs - medianUs)
      // One without a duration is better than none.
      if (typical !== NO_SLOT && !(distance < least)) continue
      typical = slot
      if (!Number.isNaN(distance)) least = distance
    }
    return [this.hasSlow ? SLOW : NO_SLOT, this.hasFailed ? FAILED : NO_SLOT, typical]
  }

  list(medianUs: number | undefined): Exemplar[] {
    const { numbers } = this
    return this.slots(medianUs).flatMap((slot, kind) => {
      if (slot === NO_SLOT) return []
      const [high, low, startUs, durationUs] = numbers.subarray(slot * SLOT, (slot + 1) * SLOT)
      const traceId = (BigInt(high! | 0) << 32n) | BigInt(low! >>> 0)
      return [
        { traceId, startUs: startUs!, durationUs: Number.isNaN(durationUs) ? null : durationUs!, kind: KINDS[kind]! },
      ]
    })
  }

  write(bytes: Bytes, slot: number): void {
    const at = slot * SLOT
    bytes.i32(this.numbers[at]!)
    bytes.i32(this.numbers[at + 1]!)
    bytes.number(this.numbers[at + 2]!)
    const durationUs = this.numbers[at + 3]!
    bytes.number(Number.isNaN(durationUs) ? -1 : Math.max(0, durationUs))
  }
}

/** @param to where to put it; undefined to skip it */
function readSlot(cursor: Cursor, to: Shown | undefined, kind: number): void {
  const [high, low] = [cursor.i32(), cursor.i32()]
  const [startUs, durationUs] = [finite(cursor.number()), finite(cursor.number())]
  to?.put(kind, high, low, startUs, durationUs < 0 ? Number.NaN : durationUs)
}

function finite(n: number): number {
  if (!Number.isFinite(n)) throw new RangeError('not a number')
  return n
}
