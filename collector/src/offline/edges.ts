import { GROUPS, Weight } from '../store/activity/counter'
import { figuresOf } from '../store/activity/figures'
import {
  CONSUMER,
  COUNTED,
  DURATION,
  FAILED,
  FLAGS,
  HASH,
  KIND,
  PROBABILITY,
  Rows,
  SERVER,
  SERVICE,
  START,
  spreadOf,
  TRACE,
  WIDTH,
} from '../store/activity/halves'
import { put } from '../store/activity/identities'
import { Joins, mayHaveEdge } from '../store/activity/joins'
import { RowReader } from '../store/activity/row-reader'
import { Words } from '../store/activity/words'
import type { AnalysedTrace, Analysis } from './analysis'
import { CallSums } from './call-sums'
import { FairMap } from './fair-map'

const BOUNDS = { maxKeys: 6_000, maxGroups: 2_000 }
/** Above this, tables are given back after a trace. */
const MAX_KEPT_ROWS = 10_000

/**
 * Calls from one operation to another. Edges are found and counted by the code of the live figures, so that both have the same numbers:
 * see store/activity, and joins.ts there for what an edge is.
 */
export class Edges implements Analysis {
  /** By both services, then by both names. */
  private readonly edges = new FairMap<CallSums>(
    BOUNDS,
    () => new CallSums(),
    (to, from) => to.merge(from),
  )
  private readonly words = new Words()
  private rows = new Rows()
  private joins = new Joins(this.rows)
  private reader = new RowReader(this.rows, this.words)
  /** Where the records of the rows begin. */
  private readonly starts: number[] = []
  private members = new Int32Array(64)
  private identities = new Int32Array(128)
  private readonly weight = new Weight()

  add(trace: AnalysedTrace): void {
    const { words } = this
    const count = this.read(trace)
    if (count > 0) {
      this.joins.begin(this.members, count)
      for (let m = 0; m < count; m++) this.count(trace, this.members[m]!)
    }
    words.sweep()
    if (this.rows.size > MAX_KEPT_ROWS) {
      this.rows = new Rows()
      this.joins = new Joins(this.rows)
      this.reader = new RowReader(this.rows, words)
      this.members = new Int32Array(64)
      this.identities = new Int32Array(128)
    }
  }

  *partials(): Generator<[string, unknown], void> {
    const { limit } = this.edges
    for (const [services, names, sums] of this.edges.entries()) {
      yield [`${services}\0${names}`, { limit, services, names, sums }]
    }
  }

  merge(_: string, value: unknown): void {
    const { limit, services, names, sums } = value as Record<string, unknown>
    if (typeof limit !== 'number' || typeof services !== 'string' || typeof names !== 'string') {
      throw new RangeError('not an edge')
    }
    const read = CallSums.read(sums)
    this.edges.lower(limit)
    this.edges.get(services, names).merge(read)
  }

  *results(): Generator<object, void> {
    for (const [services, names, sums] of this.edges.entries()) {
      const [caller, callee = caller] = services.split('\0')
      const [callerName, calleeName = callerName] = names.split('\0')
      const counter = sums.counter()
      yield {
        kind: 'edge',
        caller,
        callerName,
        callee,
        calleeName,
        ...figuresOf(counter),
        sketch: [...sums.bins()],
        traces: sums.list(counter.durations.quantile(0.5)),
      }
    }
  }

  /** Makes rows of a trace's records. @returns how many; 0 if none may have an edge */
  private read({ records, halves }: AnalysedTrace): number {
    const { rows, reader } = this
    rows.size = this.starts.length = 0
    rows.reserve(halves.length)
    const view = new DataView(records.buffer, records.byteOffset, records.length)
    let mayHave = false
    for (let pos = 0; pos < records.length; ) {
      this.starts.push(pos)
      pos = reader.read(records, view, pos, Number.NaN)
      const at = (rows.size - 1) * WIDTH
      mayHave ||= mayHaveEdge(rows.i32, at)
    }
    if (!mayHave) return 0
    const { i32, f64 } = rows
    if (this.members.length < rows.size) {
      this.members = new Int32Array(2 * rows.size)
      this.identities = new Int32Array(8 * rows.size)
    } else this.identities.fill(0)
    let count = 0
    for (let at = 0; at < rows.size * WIDTH; at += WIDTH) {
      const [high, low] = [i32[at + HASH]!, i32[at + HASH + 1]!]
      if (!put(this.identities, high, low, spreadOf(high, low))) {
        this.repeat(records, at, count)
        continue
      }
      this.members[count++] = at
    }
    for (let m = 0; m < count; m++) {
      const at = this.members[m]!
      if (this.weight.set(f64[at / 2 + PROBABILITY]!).value > 0) i32[at + FLAGS]! |= COUNTED
    }
    return count
  }

  /** Of a record that a sender repeats in other bytes one counts, as in the live figures: the first in the order of their bytes. */
  private repeat(records: Buffer, at: number, count: number): void {
    const { i32 } = this.rows
    const isSame = (other: number) =>
      i32[other + HASH] === i32[at + HASH] && i32[other + HASH + 1] === i32[at + HASH + 1]
    const m = this.members.subarray(0, count).findIndex(isSame)
    const bytes = (at: number) => records.subarray(this.starts[at / WIDTH], this.starts[at / WIDTH + 1])
    if (bytes(at).compare(bytes(this.members[m]!)) < 0) this.members[m] = at
  }

  private count(trace: AnalysedTrace, at: number): void {
    const { joins, rows, weight } = this
    const { i32, f64 } = rows
    if (!(i32[at + FLAGS]! & COUNTED) || !joins.edgeOf(at)) return
    const { strings } = this.words
    const [own, other] = [strings[i32[at + SERVICE]!]!, strings[joins.other]!]
    const kind = i32[at + FLAGS]! & KIND
    const [caller, callee] = kind === SERVER || kind === CONSUMER ? [other, own] : [own, other]
    const key = `${strings[joins.callerName]}\0${strings[joins.calleeName]}`
    const sums = this.edges.get(`${caller}\0${callee}`, key)
    const isError = (i32[at + FLAGS]! & FAILED) !== 0
    const [startUs, durationUs] = [f64[at / 2 + START]!, f64[at / 2 + DURATION]!]
    weight.set(f64[at / 2 + PROBABILITY]!)
    sums.add(weight, i32[at + TRACE + 1]! & (GROUPS - 1), isError, durationUs)
    sums.show(trace.id, Number.isNaN(startUs) ? 0 : startUs, durationUs, isError)
  }
}
