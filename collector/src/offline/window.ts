import type { AnalysedTrace } from './analysis'
import type { Counts } from './counts'
import { HOUR_US, type Hours, hourText } from './hours'

/** No clock is right that is in the year 10000: nothing has such hours. */
const LATEST_US = Date.UTC(10_000, 0) * 1000

/** What was read and what was left out, and of which hours: the results' first line. */
export class Window {
  readonly counts = {
    /** What is analysed. */
    traces: 0,
    spans: 0,
    /** All that were read. */
    records: 0,
    /** Lines of records. */
    lines: 0,
    /** Traces that were forced, and stand for none; and those whose probability is unknown, which stand for one. */
    forced: 0,
    unknown: 0,
    /** Traces whose root is missing. */
    rootless: 0,
    /** Traces that are analysed in part, and how many records of theirs aren't. */
    cutTraces: 0,
    cutRecords: 0,
    /** Records that came before with the same bytes. */
    repeatedRecords: 0,
    /** Traces that began in other hours. */
    outside: 0,
    /** Lines of which at least a part isn't a record of the trace in its key. */
    brokenLines: 0,
    longLines: 0,
    /** How many traces came after one with a greater key: some may be in two parts. */
    unsortedLines: 0,
    /** Lines that aren't partial results, where these were merged. */
    brokenPartials: 0,
  } satisfies Counts
  private fromUs = Number.POSITIVE_INFINITY
  private toUs = Number.NEGATIVE_INFINITY

  /** @param hours undefined if the traces tell */
  constructor(hours: Hours | undefined) {
    if (hours !== undefined) this.extend(hours.fromUs, hours.toUs)
  }

  add({ tree, probability, root }: AnalysedTrace): void {
    const { counts } = this
    counts.traces++
    counts.spans += tree.spans.length
    if (probability === 0) counts.forced++
    if (probability === null) counts.unknown++
    if (!root.isRoot) counts.rootless++
    if (root.startUs === null || !(root.startUs >= 0 && root.startUs < LATEST_US)) return
    const hour = Math.floor(root.startUs / HOUR_US) * HOUR_US
    this.extend(hour, hour + HOUR_US)
  }

  /** Adds counts by their names; others are ignored. */
  addCounts(more: Counts): void {
    for (const name of Object.keys(this.counts) as (keyof Window['counts'])[]) {
      const count = more[name]
      if (count === undefined) continue
      if (!(Number.isSafeInteger(count) && count >= 0)) throw new RangeError('not a count')
      this.counts[name] += count
    }
  }

  partial(): object {
    return { ...this.hours(), ...this.counts }
  }

  /** @throws RangeError if it isn't what partial() gave */
  merge(value: unknown): void {
    const { fromUs, toUs, ...counts } = value as Partial<Hours> & Counts
    this.addCounts(counts)
    if (fromUs !== undefined && toUs !== undefined) this.extend(fromUs, toUs)
  }

  result(): object {
    const { fromUs, toUs } = this.hours()
    const text = (us: number | undefined) => (us === undefined ? null : hourText(us))
    return { kind: 'window', from: text(fromUs), to: text(toUs), ...this.counts }
  }

  private hours(): Partial<Hours> {
    return this.fromUs < this.toUs ? { fromUs: this.fromUs, toUs: this.toUs } : {}
  }

  private extend(fromUs: number, toUs: number): void {
    this.fromUs = Math.min(this.fromUs, fromUs)
    this.toUs = Math.max(this.toUs, toUs)
  }
}
