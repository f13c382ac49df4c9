import { Bytes, Cursor } from '../bytes'
import { StoreError } from '../store'
import {
  CALLEE_NAME,
  CALLER_NAME,
  COUNTED,
  DURATION,
  EDGE,
  FLAGS,
  HASH,
  ID,
  NAME,
  OTHER_SERVICE,
  PARENT,
  PEER,
  PROBABILITY,
  type Rows,
  SERVICE,
  START,
  TRACE,
} from './halves'
import type { Words } from './words'

/**
 * What a settling tells the meters: which records it has counted, and what joins with later ones need of them. It is the
 * `recent` of a row of activity_settled.
 *
 *     version
 *     number of words          (length  UTF-8)*
 *     number of probabilities  f64*
 *     start                    the times below are counted from it
 *     number of lone records   hash*                                of these nothing else is needed
 *     number of traces         (trace id  number of records  record*)*
 *     number of changes        (trace id  hash  0 | 1 edge)*        edges of earlier records
 *     record = hash  id  flags  [parent's id]  service  name  [peer]  [edge]  [start  probability  [duration]]
 *     edge   = caller's name  other service  callee's name
 *
 * Ids and hashes have 8 bytes; other numbers are varints. Words are numbers of the list, 0 for the empty one.
 */
const VERSION = 1

/** Flags beside those of a row. */
const HAS_PARENT = 64
const HAS_PEER = 128
const HAS_DURATION = 256
const OF_ROW = 63

/** No record takes more bytes: 32 of ids and hash, six words, three numbers. */
const MAX_RECORD_BYTES = 32 + 6 * 5 + 3 * 8 + 2

export class SettledWriter {
  private readonly words: Words
  private readonly lone = new Bytes(256)
  private lones = 0
  private readonly traces = new Bytes()
  private traceCount = 0
  private readonly changes = new Bytes(1024)
  private changeCount = 0
  /** The place in the list of each word, by its number; 0 if it isn't in the list. */
  private places = new Int32Array(256)
  private readonly listed: number[] = []
  private readonly list = new Bytes(1024)
  private readonly probabilities = new Map<number, number>()
  private lastProbability = 0
  private lastPlace = -1
  private startUs = -1

  constructor(words: Words) {
    this.words = words
  }

  clear(): void {
    this.lone.pos = this.traces.pos = this.changes.pos = this.list.pos = 0
    this.lones = this.traceCount = this.changeCount = 0
    for (const word of this.listed) this.places[word] = 0
    this.listed.length = 0
    this.probabilities.clear()
    this.lastPlace = this.startUs = -1
  }

  /** A record that takes part in no join. */
  addLone({ i32 }: Rows, at: number): void {
    this.lone.i32(i32[at + HASH]!)
    this.lone.i32(i32[at + HASH + 1]!)
    this.lones++
  }

  /** Begins a trace, of which `records` are added next. */
  beginTrace(high: number, low: number, records: number): void {
    const { traces } = this
    traces.i32(high)
    traces.i32(low)
    traces.varint(records)
    this.traceCount++
  }

  add({ i32, f64 }: Rows, at: number): void {
    const { traces } = this
    traces.reserve(MAX_RECORD_BYTES)
    const { buf } = traces
    let pos = putI32(buf, traces.pos, i32[at + HASH]!)
    pos = putI32(buf, pos, i32[at + HASH + 1]!)
    pos = putI32(buf, pos, i32[at + ID]!)
    pos = putI32(buf, pos, i32[at + ID + 1]!)
    const doubles = at / 2
    const durationUs = f64[doubles + DURATION]!
    const hasParent = i32[at + PARENT] !== 0 || i32[at + PARENT + 1] !== 0
    const flags =
      (i32[at + FLAGS]! & OF_ROW) |
      (hasParent ? HAS_PARENT : 0) |
      (i32[at + PEER] !== 0 ? HAS_PEER : 0) |
      (Number.isNaN(durationUs) ? 0 : HAS_DURATION)
    pos = putSmall(buf, pos, flags)
    if (hasParent) {
      pos = putI32(buf, pos, i32[at + PARENT]!)
      pos = putI32(buf, pos, i32[at + PARENT + 1]!)
    }
    pos = putSmall(buf, pos, this.placeOf(i32[at + SERVICE]!))
    pos = putSmall(buf, pos, this.placeOf(i32[at + NAME]!))
    if (flags & HAS_PEER) pos = putSmall(buf, pos, this.placeOf(i32[at + PEER]!))
    if (flags & EDGE) {
      pos = putSmall(buf, pos, this.placeOf(i32[at + CALLER_NAME]!))
      pos = putSmall(buf, pos, this.placeOf(i32[at + OTHER_SERVICE]!))
      pos = putSmall(buf, pos, this.placeOf(i32[at + CALLEE_NAME]!))
    }
    traces.pos = pos
    if (!(flags & COUNTED)) return
    const startUs = f64[doubles + START]!
    if (this.startUs === -1) this.startUs = startUs
    const sinceUs = startUs - this.startUs
    traces.varint(sinceUs < 0 ? -2 * sinceUs - 1 : 2 * sinceUs)
    traces.varint(this.probability(f64[doubles + PROBABILITY]!))
    if (flags & HAS_DURATION) traces.varint(durationUs)
  }

  /** The edge of an earlier record, as it is in its row now. */
  change(i32: Int32Array, at: number): void {
    const { changes } = this
    changes.i32(i32[at + TRACE]!)
    changes.i32(i32[at + TRACE + 1]!)
    changes.i32(i32[at + HASH]!)
    changes.i32(i32[at + HASH + 1]!)
    const hasEdge = (i32[at + FLAGS]! & EDGE) !== 0
    changes.varint(hasEdge ? 1 : 0)
    if (hasEdge) {
      changes.varint(this.placeOf(i32[at + CALLER_NAME]!))
      changes.varint(this.placeOf(i32[at + OTHER_SERVICE]!))
      changes.varint(this.placeOf(i32[at + CALLEE_NAME]!))
    }
    this.changeCount++
  }

  taken(): Buffer {
    const { list, lone, traces, changes } = this
    const head = new Bytes(64 + 8 * this.probabilities.size)
    const parts: Uint8Array[] = []
    const cut = () => {
      parts.push(head.buf.subarray(from, head.pos))
      from = head.pos
    }
    let from = 0
    head.varint(VERSION)
    head.varint(this.listed.length)
    cut()
    parts.push(list.buf.subarray(0, list.pos))
    head.varint(this.probabilities.size)
    for (const probability of this.probabilities.keys()) head.f64(probability)
    head.varint(Math.max(0, this.startUs))
    head.varint(this.lones)
    cut()
    parts.push(lone.buf.subarray(0, lone.pos))
    head.varint(this.traceCount)
    cut()
    parts.push(traces.buf.subarray(0, traces.pos))
    head.varint(this.changeCount)
    cut()
    parts.push(changes.buf.subarray(0, changes.pos))
    return Buffer.concat(parts)
  }

  private placeOf(word: number): number {
    if (word === 0) return 0
    const place = word < this.places.length ? this.places[word]! : 0
    return place === 0 ? this.addWord(word) : place
  }

  private addWord(word: number): number {
    if (word >= this.places.length) {
      const grown = new Int32Array(Math.max(2 * this.places.length, word + 1))
      grown.set(this.places)
      this.places = grown
    }
    const bytes = Buffer.from(this.words.strings[word]!)
    this.list.varint(bytes.length)
    this.list.copy(bytes, 0, bytes.length)
    return (this.places[word] = this.listed.push(word))
  }

  private probability(p: number): number {
    if (this.lastPlace !== -1 && Object.is(p, this.lastProbability)) return this.lastPlace
    let place = this.probabilities.get(p)
    if (place === undefined) this.probabilities.set(p, (place = this.probabilities.size))
    this.lastProbability = p
    return (this.lastPlace = place)
  }
}

function putI32(buf: Buffer, pos: number, n: number): number {
  buf[pos] = n >>> 24
  buf[pos + 1] = n >>> 16
  buf[pos + 2] = n >>> 8
  buf[pos + 3] = n
  return pos + 4
}

/** A varint below 2^31. */
function putSmall(buf: Buffer, pos: number, n: number): number {
  while (n > 127) {
    buf[pos++] = (n & 127) | 128
    n >>>= 7
  }
  buf[pos] = n
  return pos + 1
}

/** Takes what a settling tells. */
export interface SettledReader {
  /** A record that takes part in no join. */
  lone(hashHigh: number, hashLow: number): void
  /**
   * Returns where to put a record of a trace: the offset of a row. The row's columns TRACE, NEXT and SEEN aren't touched.
   */
  record(traceHigh: number, traceLow: number, hashHigh: number, hashLow: number): { i32: Int32Array; f64: Float64Array }
  /** Where in the arrays. */
  readonly at: number
  /** Called when the record is in its row. */
  recorded(): void
  /** An earlier record has another edge, or none: the words are 0 then. */
  change(
    traceHigh: number,
    traceLow: number,
    hashHigh: number,
    hashLow: number,
    hasEdge: boolean,
    callerName: number,
    other: number,
    calleeName: number,
  ): void
}

/** Reads in small steps. @throws StoreError if the bytes aren't what a SettledWriter has written */
export function* readSettled(recent: Buffer, words: Words, to: SettledReader): Generator<void, void> {
  const cursor = new Cursor(recent)
  if (cursor.varint() !== VERSION) throw damaged()
  /** Returns a number of things, each of which has `size` bytes at least. */
  const count = (size: number) => {
    const n = cursor.varint()
    if (!(n * size <= recent.length - cursor.pos)) throw damaged()
    return n
  }
  const list = new Int32Array(count(1) + 1)
  for (let i = 1; i < list.length; i++) {
    const end = count(1) + cursor.pos
    list[i] = words.find(recent, cursor.pos, end)
    cursor.pos = end
    if (i % STEP === 0) yield
  }
  const probabilities = new Float64Array(count(8))
  for (let i = 0; i < probabilities.length; i++) probabilities[i] = cursor.f64()
  const firstUs = cursor.varint()
  for (let left = count(8); left > 0; left--) {
    to.lone(cursor.i32(), cursor.i32())
    if (left % STEP === 0) yield
  }
  const word = () => {
    const place = cursor.varint()
    if (!(place < list.length)) throw damaged()
    return list[place]!
  }
  let records = 0
  for (let traces = count(9); traces > 0; traces--) {
    const [traceHigh, traceLow] = [cursor.i32(), cursor.i32()]
    for (let left = count(19); left > 0; left--) {
      const [hashHigh, hashLow] = [cursor.i32(), cursor.i32()]
      const { i32, f64 } = to.record(traceHigh, traceLow, hashHigh, hashLow)
      const { at } = to
      i32[at + HASH] = hashHigh
      i32[at + HASH + 1] = hashLow
      i32[at + ID] = cursor.i32()
      i32[at + ID + 1] = cursor.i32()
      const flags = cursor.varint()
      i32[at + FLAGS] = flags & OF_ROW
      i32[at + PARENT] = flags & HAS_PARENT ? cursor.i32() : 0
      i32[at + PARENT + 1] = flags & HAS_PARENT ? cursor.i32() : 0
      i32[at + SERVICE] = word()
      i32[at + NAME] = word()
      i32[at + PEER] = flags & HAS_PEER ? word() : 0
      i32[at + CALLER_NAME] = flags & EDGE ? word() : 0
      i32[at + OTHER_SERVICE] = flags & EDGE ? word() : 0
      i32[at + CALLEE_NAME] = flags & EDGE ? word() : 0
      const doubles = at / 2
      f64[doubles + START] = f64[doubles + DURATION] = f64[doubles + PROBABILITY] = Number.NaN
      if (flags & COUNTED) {
        const since = cursor.varint()
        f64[doubles + START] = firstUs + (since % 2 === 1 ? -(since + 1) / 2 : since / 2)
        f64[doubles + PROBABILITY] = probabilities[cursor.varint()]!
        if (flags & HAS_DURATION) f64[doubles + DURATION] = cursor.varint()
      }
      if (cursor.pos > recent.length) throw damaged()
      to.recorded()
      if (++records % STEP === 0) yield
    }
  }
  for (let left = count(17); left > 0; left--) {
    const [traceHigh, traceLow, hashHigh, hashLow] = [cursor.i32(), cursor.i32(), cursor.i32(), cursor.i32()]
    const hasEdge = cursor.varint() === 1
    const [caller, other, callee] = hasEdge ? [word(), word(), word()] : [0, 0, 0]
    to.change(traceHigh, traceLow, hashHigh, hashLow, hasEdge, caller, other, callee)
    if (left % STEP === 0) yield
  }
  if (cursor.pos !== recent.length) throw damaged()
}

/** How many records make a step. */
const STEP = 64

function damaged(): StoreError {
  return new StoreError(
    'MILO_STORE_DAMAGED',
    "what a settling tells the meters isn't what was written: restore the store from a backup, or remove the row; spans aren't touched",
  )
}
