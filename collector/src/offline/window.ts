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
  /** Lines that were written and read on the way here, which shows whether all have come. Results don't have it: it depends on the division. */
  readonly flow = {
    /** Runs of `map` that have begun and ended, and the lines that those which ended have written. */
    mapsBegun: 0,
    mapsEnded: 0,
    mapped: 0,
    /** Lines of records that were read. */
    lines: 0,
    /** Lines of partial results that were written. */
    partials: 0,
  } satisfies Counts
  private readonly stretch = new Stretch()
  /** Of traces that began in other hours. */
  private readonly outside = new Stretch()

  /** @param hours undefined if the traces tell */
  constructor(hours: Hours | undefined) {
    if (hours !== undefined) this.stretch.extend(hours)
  }

  add({ tree, probability, root }: AnalysedTrace): void {
    const { counts } = this
    counts.traces++
    counts.spans += tree.spans.length
    if (probability === 0) counts.forced++
    if (probability === null) counts.unknown++
    if (!root.isRoot) counts.rootless++
    this.stretch.add(root.startUs)
  }

  /** Counts a trace that began in other hours. */
  leaveOut(startUs: number | null): void {
    this.counts.outside++
    this.outside.add(startUs)
  }

  /** Returns FROM..TO of the traces that were left out; undefined if they have no times. */
  outsideHours(): string | undefined {
    const { hours } = this.outside
    return hours && `${hourText(hours.fromUs)}..${hourText(hours.toUs)}`
  }

  /** Adds counts by their names; others are ignored. */
  addCounts(more: Counts): void {
    for (const count of Object.values(more)) {
      if (!(Number.isSafeInteger(count) && count >= 0)) throw new RangeError('not a count')
    }
    for (const counts of [this.counts, this.flow] as Counts[]) {
      for (const name of Object.keys(counts)) counts[name]! += more[name] ?? 0
    }
  }

  partial(): object {
    return { ...this.stretch.hours, ...this.counts, ...this.flow }
  }

  /** @throws RangeError if it isn't what partial() gave */
  merge(value: unknown): void {
    const { fromUs, toUs, ...counts } = value as Partial<Hours> & Counts
    const hasHours = fromUs !== undefined && toUs !== undefined
    if (hasHours && !(fromUs >= 0 && fromUs < toUs && toUs <= LATEST_US)) throw new RangeError('not hours')
    this.addCounts(counts)
    if (hasHours) this.stretch.extend({ fromUs, toUs })
  }

  result(): object {
    const { hours } = this.stretch
    const text = (us: number | undefined) => (us === undefined ? null : hourText(us))
    return { kind: 'window', from: text(hours?.fromUs), to: text(hours?.toUs), ...this.counts }
  }
}

/** The hours from the first to the last of some times. */
class Stretch {
  hours: Hours | undefined

  add(us: number | null): void {
    if (us === null || !(us >= 0 && us < LATEST_US)) return
    const fromUs = Math.floor(us / HOUR_US) * HOUR_US
    this.extend({ fromUs, toUs: fromUs + HOUR_US })
  }

  extend({ fromUs, toUs }: Hours): void {
    const { hours } = this
    this.hours =
      hours === undefined
        ? { fromUs, toUs }
        : { fromUs: Math.min(hours.fromUs, fromUs), toUs: Math.max(hours.toUs, toUs) }
  }
}
