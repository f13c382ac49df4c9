import { createHash } from 'node:crypto'
import type { Analysis } from './analysis'
import type { Counts } from './counts'
import type { Hours } from './hours'
import { BadInput, type LineReader, type LineWriter } from './lines'
import { partialLine, readPartial } from './partial-line'
import { COUNTS_KEY, decodeInPlace, eachRecordAt, payloadAt } from './record-line'
import { type TraceLimits, TraceRecords } from './trace-records'
import { buildTraces } from './trees'
import { Window } from './window'

/** The name of the window's partial results. */
const WINDOW = 'window'

/**
 * The second of the two line programs: lines of records, those of a trace together, become partial results of all analyses. One trace is
 * in memory at most.
 */
export class Reducer {
  readonly window: Window
  private readonly analyses: ReadonlyMap<string, Analysis>
  private readonly hours: Hours | undefined
  private readonly records: TraceRecords
  private key = ''
  /** Of what is analysed: the same partial results, given twice, would count twice. */
  private readonly input = createHash('sha256')
  /** The halves of the trace id in the key. */
  private high = Number.NaN
  private low = Number.NaN

  /** @param hours only traces whose root began in these; undefined for all */
  constructor(analyses: ReadonlyMap<string, Analysis>, limits: TraceLimits, hours?: Hours) {
    this.analyses = analyses
    this.hours = hours
    this.window = new Window(hours)
    this.records = new TraceRecords(limits)
    this.input.update(JSON.stringify([...analyses.keys(), hours]))
  }

  /** Reads all lines. @param now is called after each */
  run(input: LineReader, output: LineWriter, now: () => void): void {
    const { counts, flow } = this.window
    while (input.next()) {
      if (input.end > input.start) this.line(input.buf, input.start, input.end)
      now()
    }
    counts.longLines += input.tooLong
    flow.lines += input.tooLong
    this.finish()
    for (const [name, analysis] of this.analyses) {
      for (const [key, value] of analysis.partials()) {
        output.text(partialLine(name, key, value))
        flow.partials++
      }
    }
    // It comes last: without it, or with fewer lines than it says, a part is missing.
    flow.partials++
    const digest = this.key === '' ? undefined : this.input.digest('hex').slice(0, 16)
    output.text(partialLine(WINDOW, '', { ...this.window.partial(), input: digest }))
    output.flush()
  }

  private line(buf: Buffer, start: number, end: number): void {
    const { counts, flow } = this.window
    const from = payloadAt(buf, start, end)
    const key = buf.toString('latin1', start, Math.max(start, from - 1))
    if (key === COUNTS_KEY) {
      try {
        this.window.addCounts(JSON.parse(buf.toString('utf8', from, end)))
      } catch {
        counts.brokenLines++
      }
      return
    }
    flow.lines++
    if (key !== this.key) {
      this.finish()
      if (key < this.key) counts.unsortedLines++
      this.key = key
      this.input.update(key)
      // What isn't 16 digits has the halves of no id.
      const isId = /^[0-9a-f]{16}$/.test(key)
      this.high = isId ? Number.parseInt(key.slice(0, 8), 16) | 0 : Number.NaN
      this.low = isId ? Number.parseInt(key.slice(8), 16) | 0 : Number.NaN
    }
    const to = decodeInPlace(buf, from, end)
    let isOfKey = true
    const isWhole =
      to !== -1 &&
      eachRecordAt(buf, from, to, (start, end, { traceIdAt, startAt }) => {
        if (int32(buf, traceIdAt) !== this.high || int32(buf, traceIdAt + 4) !== this.low) isOfKey = false
        else this.records.add(buf, start, end, startAt === -1 ? Number.NaN : timeAt(buf, startAt))
      })
    if (!isWhole || !isOfKey) counts.brokenLines++
  }

  /** Analyses the trace whose records have come. */
  private finish(): void {
    const { records, window, hours } = this
    if (records.total === 0) return
    const { counts } = window
    records.take()
    counts.records += records.total
    if (records.isCut) {
      counts.cutTraces++
      counts.cutRecords += records.total - records.count
    } else counts.repeatedRecords += records.repeated
    for (const trace of buildTraces(records.buf.subarray(0, records.size), records.isCut)) {
      const { startUs } = trace.root
      if (hours !== undefined && !(startUs !== null && startUs >= hours.fromUs && startUs < hours.toUs)) {
        window.leaveOut(startUs)
        continue
      }
      window.add(trace)
      for (const analysis of this.analyses.values()) analysis.add(trace)
    }
    records.clear()
  }
}

function int32(buf: Buffer, at: number): number {
  return (buf[at]! << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!
}

/** Reads a time in microseconds. */
function timeAt(buf: Buffer, at: number): number {
  return int32(buf, at) * 2 ** 32 + (int32(buf, at + 4) >>> 0)
}

const AGAIN = 'see what ended before its time, and run it again'

/**
 * Adds up partial results, which may come in any order, and writes the results: JSON documents, one a line. The last one says how many there
 * are, so that a part of them isn't taken for the whole.
 */
export class PartialMerger {
  readonly counts = { lines: 0, brokenLines: 0, longLines: 0, traces: 0, outside: 0, results: 0 } satisfies Counts
  private readonly analyses: ReadonlyMap<string, Analysis>
  private readonly window = new Window(undefined)
  /** What has been merged. */
  private readonly inputs = new Set<string>()
  private isRepeated = false

  constructor(analyses: ReadonlyMap<string, Analysis>) {
    this.analyses = analyses
  }

  /**
   * @param now is called after each line
   * @throws BadInput, and writes nothing, unless all lines have come that `map` and `reduce` wrote, and none twice
   */
  run(input: LineReader, output: LineWriter, now: () => void): void {
    const { counts, window } = this
    while (input.next()) {
      if (input.end > input.start && !this.line(input.buf.toString('utf8', input.start, input.end)))
        counts.brokenLines++
      now()
    }
    counts.longLines = input.tooLong
    if (this.isRepeated)
      throw new BadInput('the same partial results have come twice: give what each reduce wrote once')
    const missing = this.missing()
    if (missing !== undefined) throw new BadInput(`${missing}: ${AGAIN}`)
    window.addCounts({ brokenPartials: counts.brokenLines + counts.longLines })
    counts.traces = window.counts.traces
    counts.outside = window.counts.outside
    output.text(JSON.stringify(window.result()))
    for (const analysis of this.analyses.values()) {
      for (const result of analysis.results()) {
        output.text(JSON.stringify(result))
        counts.results++
      }
    }
    output.text(JSON.stringify({ kind: 'end', results: counts.results }))
    output.flush()
  }

  /** Says which lines are missing; undefined if none are. Lines that are too many are counted as broken, or hold records that came before. */
  private missing(): string | undefined {
    const { lines, brokenLines, longLines } = this.counts
    const { partials, mapped, mapsBegun, mapsEnded, lines: reduced } = this.window.flow
    if (lines + longLines === 0) return 'no partial results have come: what should write them has failed'
    // Those that are broken came, and are counted.
    if (lines + longLines < partials) return `of ${partials} lines of partial results ${lines + longLines} have come`
    if (lines - brokenLines > partials) {
      return `a reduce, or a copy of what it wrote, has ended before its last line: of ${lines - brokenLines} partial results ${partials} are whole`
    }
    if (mapsEnded < mapsBegun) return `of ${mapsBegun} runs of map ${mapsEnded} have come to their end`
    if (reduced < mapped) return `of ${mapped} lines of map ${reduced} have come to reduce`
    return undefined
  }

  private mergeWindow({ input, ...window }: { input?: string }): void {
    this.window.merge(window)
    if (input === undefined) return
    this.isRepeated ||= this.inputs.has(input)
    this.inputs.add(input)
  }

  private line(line: string): boolean {
    this.counts.lines++
    try {
      const { name, key, value } = readPartial(line)
      if (name === WINDOW) this.mergeWindow(value as { input?: string })
      else this.analyses.get(name)?.merge(key, value)
      return true
    } catch {
      return false
    }
  }
}
