import type { Side } from 'milo/codec/events'
import { Turns } from '../../turns'
import type { Entry } from '../pipeline/entry'
import { type Counter, GROUPS, Weight } from './counter'
import {
  CALLEE_NAME,
  CALLER_NAME,
  CLIENT,
  CONSUMER,
  COUNTED,
  DURATION,
  EARLIER,
  EDGE,
  FAILED,
  FLAGS,
  HASH,
  KIND,
  NAME,
  NEXT,
  OTHER_SERVICE,
  PROBABILITY,
  type Ring,
  Rows,
  SERVER,
  SERVICE,
  START,
  spreadOf,
  TRACE,
  WIDTH,
} from './halves'
import { type Identities, put } from './identities'
import { isRoot, Joins, mayHaveEdge } from './joins'
import { type MeterStats, MINUTE_US, NO_STATS } from './model'
import { RowReader } from './row-reader'
import { type Delta, deltaSteps, edgeKey, minuteOf, operationKey } from './rows'
import { SettledWriter } from './settled-records'
import { Tally } from './tally'
import type { Words } from './words'

/** Of one trace, as all of them are looked at again whenever one more comes. */
const MAX_OF_TRACE = 10_000
/** No honest clock is wrong by more than this without being wrong by far more. */
const MAX_FUTURE_US = 10 * MINUTE_US
/**
 * How many minutes that are over for an hour a settling may count in: each costs a counter here, and rows of three grains later. A
 * sender that was cut off for eight hours needs 480.
 */
const MAX_OLD_MINUTES = 500
const OLD_US = 60 * MINUTE_US
/** A look at the clock costs a tenth of a record. Megabytes take a record at most, and a look follows. */
const BETWEEN_LOOKS = 64
const BYTES_BETWEEN_LOOKS = 64 * 1024

export interface Counted {
  /** What the meters learn from it, once it is stored. */
  recent: Buffer
  /** What it adds to the counters: see rows.ts. */
  delta: Buffer
  /** How many records have a name, service or annotation that isn't UTF-8. */
  notUtf8: number
  stats: MeterStats
}

/** What a meter knows, of which a settling changes nothing. The words only grow, as a cache does. */
interface Knowledge {
  words: Words
  identities: Identities
  waiting: Ring
}

/** Tables larger than this aren't kept for the next settling. In rows; a settling has 20,000 records. */
const MAX_KEPT_ROWS = 100_000

/** The tables of a settling, which are used again: to take and give back memory costs more than to count a few records. */
export class Scratch {
  /** The records, and what is known of their traces. */
  readonly rows = new Rows()
  readonly joins = new Joins(this.rows)
  readonly writer: SettledWriter
  members = new Int32Array(64)
  /** The first row of each trace, by its id; −1 in empty slots. */
  traceSlots = new Int32Array(64).fill(-1)
  /** The records' identities: see put(). */
  identities = new Int32Array(128)
  slots = 64

  constructor(words: Words) {
    this.writer = new SettledWriter(words)
  }

  /** Makes room for so many records. */
  reserve(records: number): void {
    this.rows.reserve(records)
    while (this.slots < 2 * records) this.slots *= 2
    if (this.slots <= this.traceSlots.length) return
    this.traceSlots = new Int32Array(this.slots).fill(-1)
    this.identities = new Int32Array(2 * this.slots)
  }

  /** @returns whether it should be kept */
  clear(): boolean {
    this.traceSlots.fill(-1, 0, this.slots)
    this.identities.fill(0, 0, 2 * this.slots)
    this.slots = 64
    this.rows.size = 0
    this.writer.clear()
    return this.rows.i32.length <= MAX_KEPT_ROWS * WIDTH
  }
}

/** One settling that is being counted. */
export class Settling {
  private readonly known: Knowledge
  private readonly oldestUs: number
  private readonly nowUs: number
  private readonly scratch: Scratch
  private readonly rows: Rows
  private readonly writer: SettledWriter
  private readonly joins: Joins
  private readonly reader: RowReader
  private traceSlots!: Int32Array
  private identities!: Int32Array
  private readonly firsts: number[] = []
  private readonly operations = new Tally()
  private readonly edges = new Tally()
  private readonly minutes = new Minutes()
  private readonly weight = new Weight()
  private waitingAdded = 0
  private notUtf8 = 0
  private readonly stats: MeterStats = { ...NO_STATS }
  private readonly turns = new Turns()

  constructor(known: Knowledge, scratch: Scratch, retentionUs: number, nowUs: number) {
    this.known = known
    this.scratch = scratch
    this.rows = scratch.rows
    this.writer = scratch.writer
    this.joins = scratch.joins
    this.nowUs = nowUs
    this.oldestUs = Math.max(0, nowUs - retentionUs)
    this.reader = new RowReader(this.rows, known.words)
  }

  async count(entries: Entry[]): Promise<Counted> {
    const { turns, scratch, writer, stats } = this
    scratch.reserve(entries.reduce((sum, entry) => sum + entry.spans, 0))
    this.traceSlots = scratch.traceSlots.subarray(0, scratch.slots)
    this.identities = scratch.identities.subarray(0, 2 * scratch.slots)
    for (const entry of entries) {
      for (let pos = entry.start; pos < entry.end; ) {
        pos = this.readSome(entry, pos)
        if (turns.over()) await turns.next()
      }
    }
    let joined = 0
    for (let i = 0; i < this.firsts.length; i++) {
      joined += this.join(this.firsts[i]!)
      if (joined < BETWEEN_LOOKS) continue
      joined = 0
      if (turns.over()) await turns.next()
    }
    stats.waitingDropped += this.known.waiting.tooMany(this.waitingAdded, this.nowUs / 1e6)
    const delta: Delta = new Map()
    for (const tally of [this.operations, this.edges]) {
      for (let i = 0; i < tally.size; i++) {
        this.put(delta, tally, i)
        if (i % BETWEEN_LOOKS === 0 && turns.over()) await turns.next()
      }
    }
    const body = await turns.take(deltaSteps(delta), BETWEEN_LOOKS)
    return { recent: writer.taken(), delta: body, notUtf8: this.notUtf8, stats }
  }

  /** @returns where it stopped */
  private readSome({ body, end, receivedUs }: Entry, from: number): number {
    const view = new DataView(body.buffer, body.byteOffset, body.length)
    const received = Number(receivedUs)
    let pos = from
    for (let i = 0; i < BETWEEN_LOOKS && pos < end && pos - from < BYTES_BETWEEN_LOOKS; i++) {
      pos = this.reader.read(body, view, pos, received)
      if (!this.take((this.rows.size - 1) * WIDTH, received)) this.rows.size--
    }
    return pos
  }

  /** Counts a record as a call of its operation. @returns whether its row is needed any longer */
  private take(at: number, receivedUs: number): boolean {
    const { i32, f64 } = this.rows
    const { stats, weight } = this
    const [hashHigh, hashLow] = [i32[at + HASH]!, i32[at + HASH + 1]!]
    if (
      this.known.identities.has(hashHigh, hashLow) ||
      !put(this.identities, hashHigh, hashLow, spreadOf(hashHigh, hashLow))
    ) {
      stats.repeated++
      return false
    }
    if (this.reader.notUtf8) this.notUtf8++
    weight.set(f64[at / 2 + PROBABILITY]!)
    const startUs = f64[at / 2 + START]!
    if (weight.value === 0) stats.forced++
    else if (startUs < this.oldestUs || startUs > receivedUs + MAX_FUTURE_US) stats.outOfTime++
    else {
      const minute = this.minutes.place(startUs, startUs < this.nowUs - OLD_US)
      if (minute === -1) {
        stats.overrun++
        return false
      }
      i32[at + FLAGS]! |= COUNTED
      stats.counted++
      if (weight.unknown) stats.unknown++
      const counter = this.operations.get(minute, i32[at + SERVICE]!, i32[at + NAME]!, sideAt(i32, at), 0)
      // The work for a message begins with who takes it, as that of a trace does with its root.
      this.add(counter, at, isRoot(i32, at) || (i32[at + FLAGS]! & KIND) === CONSUMER, 1)
    }
    this.link(at)
    return true
  }

  /** Puts a row into the list of its trace. */
  private link(at: number): void {
    const { i32 } = this.rows
    const { traceSlots } = this
    const [high, low] = [i32[at + TRACE]!, i32[at + TRACE + 1]!]
    const mask = traceSlots.length - 1
    let slot = spreadOf(high, low) & mask
    let first = traceSlots[slot]!
    while (first !== -1 && (i32[first + TRACE + 1] !== low || i32[first + TRACE] !== high)) {
      slot = (slot + 1) & mask
      first = traceSlots[slot]!
    }
    if (first === -1) {
      traceSlots[slot] = at
      i32[at + NEXT] = -1
      this.firsts.push(at)
    } else {
      i32[at + NEXT] = i32[first + NEXT]!
      i32[first + NEXT] = at
    }
  }

  /**
   * Finds the edges of a trace, with what is known of it from earlier settlings, and writes its records.
   * @returns how many records it looked at
   */
  private join(first: number): number {
    const { writer, rows } = this
    const { size } = rows
    const [high, low] = [rows.i32[first + TRACE]!, rows.i32[first + TRACE + 1]!]
    const earlier = this.collectEarlier(high, low)
    let count = earlier
    let mayHave = false
    for (let at = first; at !== -1; at = rows.i32[at + NEXT]!) {
      if (count === MAX_OF_TRACE) {
        // Those that were first stay: a trace without end is no trace.
        this.stats.waitingDropped++
        writer.addLone(rows, at)
      } else this.member(count++, at)
    }
    const { members } = this.scratch
    for (let m = 0; m < count; m++) mayHave ||= mayHaveEdge(rows.i32, members[m]!)
    if (mayHave) {
      this.joins.begin(members, count)
      for (let m = 0; m < count; m++) this.correct(members[m]!)
    }
    rows.size = size
    if (count === earlier) return count
    this.waitingAdded += count - earlier
    writer.beginTrace(high, low, count - earlier)
    for (let m = earlier; m < count; m++) writer.add(rows, members[m]!)
    return count
  }

  /** Copies rows of earlier settlings to the others. @returns how many */
  private collectEarlier(high: number, low: number): number {
    const { rows } = this
    const { waiting } = this.known
    let count = 0
    for (let from = waiting.firstOf(high, low); from !== -1; from = waiting.nextOf(from)) {
      rows.reserve(1)
      const at = rows.size++ * WIDTH
      for (let i = 0; i < WIDTH; i++) rows.i32[at + i] = waiting.i32[from + i]!
      rows.i32[at + FLAGS]! |= EARLIER
      this.member(count++, at)
    }
    return count
  }

  private member(place: number, at: number): void {
    const { scratch } = this
    if (place === scratch.members.length) {
      const grown = new Int32Array(2 * place)
      grown.set(scratch.members)
      scratch.members = grown
    }
    scratch.members[place] = at
  }

  /** Counts the edge of a record if it is new, and takes another one back that it had. */
  private correct(at: number): void {
    const { joins } = this
    const { i32 } = this.rows
    const flags = i32[at + FLAGS]!
    if (!(flags & COUNTED)) return
    const had = (flags & EDGE) !== 0
    const has = joins.edgeOf(at)
    if (!had && !has) return
    const { callerName, other, calleeName } = joins
    if (had && has && i32[at + CALLER_NAME] === callerName) {
      if (i32[at + OTHER_SERVICE] === other && i32[at + CALLEE_NAME] === calleeName) return
    }
    if (had) this.add(this.edgeCounter(at), at, false, -1)
    i32[at + FLAGS] = has ? flags | EDGE : flags & ~EDGE
    i32[at + CALLER_NAME] = has ? callerName : 0
    i32[at + OTHER_SERVICE] = has ? other : 0
    i32[at + CALLEE_NAME] = has ? calleeName : 0
    if (has) this.add(this.edgeCounter(at), at, false, 1)
    if (flags & EARLIER) this.writer.change(i32, at)
  }

  /** Returns the counter of the edge that the row has. */
  private edgeCounter(at: number): Counter {
    const { i32, f64 } = this.rows
    const minute = this.minutes.place(f64[at / 2 + START]!, false)
    const kind = i32[at + FLAGS]! & KIND
    const [service, other] = [i32[at + SERVICE]!, i32[at + OTHER_SERVICE]!]
    const [callerName, calleeName] = [i32[at + CALLER_NAME]!, i32[at + CALLEE_NAME]!]
    return kind === SERVER || kind === CONSUMER
      ? this.edges.get(minute, other, callerName, service, calleeName)
      : this.edges.get(minute, service, callerName, other, calleeName)
  }

  private add(counter: Counter, at: number, root: boolean, sign: number): void {
    const { i32, f64 } = this.rows
    const failed = (i32[at + FLAGS]! & FAILED) !== 0
    const traceLow = i32[at + TRACE + 1]!
    const durationUs = f64[at / 2 + DURATION]!
    counter.add(this.weight.set(f64[at / 2 + PROBABILITY]!), traceLow & (GROUPS - 1), root, failed, durationUs, sign)
    if (sign > 0) counter.show(i32[at + TRACE]!, traceLow, f64[at / 2 + START]!, durationUs, failed)
  }

  private put(delta: Delta, tally: Tally, place: number): void {
    const minute = this.minutes.list[tally.key(place, 0)]!
    const of = minuteOf(delta, minute)
    const { strings } = this.known.words
    const word = (i: number) => strings[tally.key(place, i)]!
    const counter = tally.counters[place]!
    if (tally === this.operations) {
      const side = SIDES[tally.key(place, 3)]!
      of.operations.set(operationKey({ service: word(1), name: word(2), side }), counter)
    } else if (counter.records !== 0 || !counter.isNothing()) {
      const key = edgeKey({ caller: word(1), callerName: word(2), callee: word(3), calleeName: word(4) })
      of.edges.set(key, counter)
    }
  }
}

/** The minutes that are counted in: numbers from 0, as tallies need them. */
class Minutes {
  readonly list: number[] = []
  private readonly places = new Map<number, number>()
  private old = 0
  private last = Number.NaN
  private lastPlace = -1

  /** Returns the place of a time's minute; −1 if it is one too many of the old ones. */
  place(us: number, isOld: boolean): number {
    const minute = Math.floor(us / MINUTE_US)
    if (minute === this.last) return this.lastPlace
    let place = this.places.get(minute)
    if (place === undefined) {
      if (isOld && ++this.old > MAX_OLD_MINUTES) return -1
      this.places.set(minute, (place = this.list.length))
      this.list.push(minute)
    }
    this.last = minute
    return (this.lastPlace = place)
  }
}

const SIDES: readonly Side[] = ['local', 'client', 'server']

/** The place in SIDES. */
function sideAt(i32: Int32Array, at: number): number {
  const kind = i32[at + FLAGS]! & KIND
  return kind === CLIENT ? 1 : kind === SERVER ? 2 : 0
}
