import { Counter, GROUPS, type Weight } from '../store/activity/counter'
import { binOf, MAX_US, middleOf } from '../store/activity/sketch'
import { ExactSums } from './exact-sums'
import { Examples } from './examples'

/** Which sum is which. Of groups there are 32 each; bins are counted from that of less than a microsecond, which is −1. */
const [CALLS, ERRORS, SPREAD, DURATION] = [0, 1, 2, 3]
const CALL_GROUPS = 16
const ERROR_GROUPS = CALL_GROUPS + GROUPS
const DURATION_GROUPS = ERROR_GROUPS + GROUPS
const BINS = DURATION_GROUPS + GROUPS + 1

/** What a Counter of the live figures knows, in sums that are the same in any order. */
export class CallSums {
  private records = 0
  private unknown = 0
  private readonly sums: ExactSums
  private readonly examples: Examples

  constructor(sums = new ExactSums(), examples = new Examples()) {
    this.sums = sums
    this.examples = examples
  }

  /**
   * Counts a call, as Counter.add() does.
   * @param weight not 0
   * @param group the low five bits of the trace's id
   * @param durationUs NaN if it isn't known
   */
  add(weight: Weight, group: number, isError: boolean, durationUs: number): void {
    const { sums } = this
    const { value } = weight
    this.records++
    if (weight.unknown) this.unknown++
    sums.add(CALLS, value)
    sums.add(CALL_GROUPS + group, value)
    if (weight.spread !== 0) sums.add(SPREAD, weight.spread)
    if (isError) {
      sums.add(ERRORS, value)
      sums.add(ERROR_GROUPS + group, value)
    }
    if (Number.isNaN(durationUs)) return
    const us = Math.min(durationUs, MAX_US)
    sums.add(BINS + binOf(us), value)
    if (us < 1) return
    sums.add(DURATION, value * us)
    sums.add(DURATION_GROUPS + group, value * us)
  }

  /** Offers the call as an example. */
  show(traceId: string, startUs: number, durationUs: number, isError: boolean): void {
    this.examples.offer(traceId, startUs, durationUs, isError)
  }

  merge(other: CallSums): void {
    this.records += other.records
    this.unknown += other.unknown
    this.sums.merge(other.sums)
    this.examples.merge(other.examples)
  }

  /** Returns the counter that the live figures would have. */
  counter(): Counter {
    const { sums } = this
    const counter = new Counter()
    counter.records = this.records
    counter.unknown = this.unknown
    counter.calls = sums.get(CALLS)
    counter.errors = sums.get(ERRORS)
    counter.spread = sums.get(SPREAD)
    const groups = (from: number) => Float64Array.from({ length: GROUPS }, (_, g) => sums.get(from + g))
    counter.callGroups = groups(CALL_GROUPS)
    counter.errorGroups = groups(ERROR_GROUPS)
    counter.durationGroups = groups(DURATION_GROUPS)
    for (const [bin, weight] of this.bins()) counter.durations.add(middleOf(bin), weight)
    counter.durations.sum = sums.get(DURATION)
    return counter
  }

  /** The bins of durations that aren't empty, from short to long. */
  *bins(): Generator<[bin: number, weight: number], void> {
    for (const [i, weight] of this.sums.entries()) if (i >= BINS - 1) yield [i - BINS, weight]
  }

  list(medianUs: number | undefined) {
    return this.examples.list(medianUs)
  }

  toJSON(): object {
    const { records, unknown, sums, examples } = this
    return { records, unknown, sums, examples }
  }

  /** Reads what toJSON() gave. @throws if it isn't that */
  static read(json: unknown): CallSums {
    const { records, unknown, sums, examples } = json as Record<string, unknown>
    if (!Number.isSafeInteger(records) || !Number.isSafeInteger(unknown)) throw new RangeError('not sums of calls')
    const read = new CallSums(ExactSums.read(sums), Examples.read(examples))
    read.records = records as number
    read.unknown = unknown as number
    return read
  }
}
