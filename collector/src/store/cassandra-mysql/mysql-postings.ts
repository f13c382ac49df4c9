import { Reader } from 'milo/codec/binary'
import { isErrorAt } from '../../record/half'
import { RecordReader } from '../../record/reader'
import type { Entry } from '../pipeline/entry'
import type { IndexPolicy } from '../search/index-policy'
import { WINDOW_BITS } from '../search/window'
import { type Block, blocksOf, DURATION_SIZE, SPAN_SIZE } from './mysql-blocks'
import { KeyWord, MAX_DURATION_US, type Word, type Words } from './mysql-terms'
import { slotOf } from './span-rows'

/**
 * What messages that are indexed together can be found by: the places of each term, and the terms of each trace.
 *
 * There are hundred thousands of places at once, and as objects they would cost more to collect than to make. So what is known of
 * records and places is in arrays of numbers, and a word's places are a chain: the word has the number of its last one, and
 * each place that of the one before.
 */

/** A trace, in the messages that came in one second. */
export interface TraceTerms {
  id: bigint
  /** The second. */
  slot: bigint
  /** A key's values follow the key. */
  words: Word[]
  /** Of the longest record; -1 when none has times. */
  durationUs: number
}

const FLIP = 0x8000_0000 | 0

export class Postings {
  /** The words that have places. */
  readonly placed: Word[] = []
  private readonly words: Words
  private readonly number: number
  private readonly entries: Entry[] = []
  /** The records of each trace. */
  private readonly traces = new Map<string, number[]>()

  // Of each record: its message, its start and its trace id in two halves each, and its longest duration.
  private readonly entryOf: number[] = []
  private readonly startHigh: number[] = []
  private readonly startLow: number[] = []
  private readonly traceHigh: number[] = []
  private readonly traceLow: number[] = []
  private readonly durationUs: number[] = []
  /** Where its span's id is, and its name. */
  private readonly idAt: number[] = []
  private readonly nameOf: (Word | undefined)[] = []
  /** Where its words end in `found`. */
  private readonly foundEnd: number[] = []
  private readonly found: Word[] = []

  // Of each place: its newest record, the duration of the longest one, and the word's place before it.
  private readonly newest: number[] = []
  private readonly longest: number[] = []
  private readonly before: number[] = []

  private packed = Buffer.alloc(SPAN_SIZE)

  /** @param words nobody else may collect places of them at the same time */
  constructor(words: Words) {
    this.words = words
    this.number = words.mark()
  }

  /** Reads the records of messages, one at each step. */
  *read(entries: Entry[], policy: IndexPolicy): Generator<void, void> {
    const reader = new RecordReader()
    for (const entry of entries) {
      const { body, end } = entry
      const text = new Reader(body)
      const number = this.entries.push(entry) - 1
      let trace: number[] | undefined
      let traceAt = 0
      for (let pos = entry.start; pos < end; yield) {
        pos = reader.read(body, pos)
        const at = reader.traceIdAt
        // Most records follow others of their trace.
        if (trace === undefined || body.compare(body, traceAt, traceAt + 8, at, at + 8) !== 0) {
          const id = body.toString('latin1', at, at + 8)
          trace = this.traces.get(id)
          if (trace === undefined) this.traces.set(id, (trace = []))
        }
        traceAt = at
        trace.push(this.add(number, reader, text, policy))
      }
    }
  }

  /** Adds the record in `reader`. @returns its number */
  private add(entry: number, reader: RecordReader, text: Reader, policy: IndexPolicy): number {
    const { words, found } = this
    const { annotations, firstAt, lastAt, traceIdAt } = reader
    const { buf } = text
    const stringAt = (at: number) => {
      text.pos = at - 4
      return text.string()
    }
    found.push(words.every)
    const name = reader.nameAt === -1 ? undefined : words.name(stringAt(reader.nameAt))
    if (name !== undefined) found.push(name)
    if (reader.serviceAt !== -1) found.push(words.service(stringAt(reader.serviceAt)))
    for (let i = 0; i < annotations.length; i += 4) {
      const keyText = stringAt(annotations[i]!)
      if (!policy.indexes(keyText)) continue
      const key = words.key(keyText)
      found.push(key, words.value(key, keyText, policy.cut(stringAt(annotations[i + 2]!))))
    }
    if (isErrorAt(buf, reader)) found.push(words.error)
    this.foundEnd.push(found.length)
    this.nameOf.push(name)
    this.idAt.push(reader.idAt)
    this.traceHigh.push(buf.readInt32BE(traceIdAt))
    this.traceLow.push(buf.readInt32BE(traceIdAt + 4))
    if (firstAt === -1) {
      const { receivedUs } = this.entries[entry]!
      this.startHigh.push(Number(BigInt.asIntN(32, receivedUs >> 32n)))
      this.startLow.push(Number(BigInt.asIntN(32, receivedUs)))
      this.durationUs.push(-1)
    } else {
      const [high, low] = [buf.readInt32BE(firstAt), buf.readInt32BE(firstAt + 4)]
      this.startHigh.push(high)
      this.startLow.push(low)
      const durationUs = (buf.readInt32BE(lastAt) - high) * 2 ** 32 + (buf.readUInt32BE(lastAt + 4) - (low >>> 0))
      this.durationUs.push(Math.min(durationUs, MAX_DURATION_US))
    }
    return this.entryOf.push(entry) - 1
  }

  /** Yields the terms of each trace. Afterwards, its places are there. */
  *termsOfTraces(): Generator<TraceTerms> {
    for (const records of this.traces.values()) {
      if (records.length > 1) records.sort((a, b) => this.compare(b, a))
      this.addPlaces(records)
      const slot = this.slotOf(records[0]!)
      if (records.every(record => this.slotOf(record) === slot)) {
        yield this.termsOf(records, slot)
        continue
      }
      const slots = new Set(records.map(record => this.slotOf(record)))
      for (const slot of slots) {
        yield this.termsOf(
          records.filter(record => this.slotOf(record) === slot),
          slot,
        )
      }
    }
  }

  /** Yields the rows of a word in post. */
  blocksOf(word: Word): Generator<Block> {
    const places: number[] = []
    for (let place = word.place; place !== -1; place = this.before[place]!) places.push(place)
    if (places.length > 1) places.sort((a, b) => this.compare(this.newest[b]!, this.newest[a]!))
    const size = word.key === undefined ? DURATION_SIZE : SPAN_SIZE
    if (this.packed.length < places.length * size) this.packed = Buffer.alloc(2 * places.length * size)
    let at = 0
    for (const place of places) {
      if (word.key === undefined) this.packDuration(place, at)
      else this.packSpan(place, at)
      at += size
    }
    return blocksOf(this.packed.subarray(0, at), size)
  }

  private slotOf(record: number): bigint {
    return slotOf(this.entries[this.entryOf[record]!]!.id)
  }

  /** Adds the places of a trace. @param records the newest first */
  private addPlaces(records: number[]): void {
    const { found } = this
    let [windowHigh, windowLow, window] = [0, 0, 0]
    for (const record of records) {
      const high = this.startHigh[record]!
      const low = this.startLow[record]! >> WINDOW_BITS
      if (window === 0 || high !== windowHigh || low !== windowLow) {
        ;[windowHigh, windowLow, window] = [high, low, this.words.mark()]
      }
      const durationUs = this.durationUs[record]!
      for (let i = record === 0 ? 0 : this.foundEnd[record - 1]!; i < this.foundEnd[record]!; i++) {
        const word = found[i]!
        if (word.window === window) {
          if (durationUs > this.longest[word.place]!) this.longest[word.place] = durationUs
          continue
        }
        word.window = window
        if (word.postings !== this.number) {
          word.postings = this.number
          word.place = -1
          this.placed.push(word)
        }
        this.before.push(word.place)
        this.longest.push(durationUs)
        word.place = this.newest.push(record) - 1
      }
    }
  }

  private termsOf(records: number[], slot: bigint): TraceTerms {
    const mark = this.words.mark()
    let durationUs = -1
    const noted: Word[] = []
    let hasValues = false
    for (const record of records) {
      if (this.durationUs[record]! > durationUs) durationUs = this.durationUs[record]!
      for (let i = record === 0 ? 0 : this.foundEnd[record - 1]!; i < this.foundEnd[record]!; i++) {
        const word = this.found[i]!
        if (word.trace === mark || word === this.words.every) continue
        word.trace = mark
        if (word.key !== undefined) {
          word.key.noted.push(word)
          hasValues = true
        } else noted.push(word)
        if (word instanceof KeyWord) word.noted = []
      }
    }
    const words = hasValues ? noted.flatMap(word => (word instanceof KeyWord ? [word, ...word.noted] : word)) : noted
    const id = (BigInt(this.traceHigh[records[0]!]!) << 32n) | BigInt(this.traceLow[records[0]!]! >>> 0)
    return { id, slot, words, durationUs }
  }

  /** Orders records by start, and then by trace. */
  private compare(a: number, b: number): number {
    return (
      this.startHigh[a]! - this.startHigh[b]! ||
      (this.startLow[a]! >>> 0) - (this.startLow[b]! >>> 0) ||
      this.traceHigh[a]! - this.traceHigh[b]! ||
      (this.traceLow[a]! >>> 0) - (this.traceLow[b]! >>> 0)
    )
  }

  /** Parts of a place are more by 2^63: see mysql-terms.ts. */
  private pack(record: number, at: number): void {
    const { packed } = this
    write32(packed, this.startHigh[record]! ^ FLIP, at)
    write32(packed, this.startLow[record]!, at + 4)
    write32(packed, this.traceHigh[record]! ^ FLIP, at + 8)
    write32(packed, this.traceLow[record]!, at + 12)
  }

  private packDuration(place: number, at: number): void {
    this.pack(this.newest[place]!, at)
    const value = this.longest[place]! + 1
    write24(this.packed, Math.floor(value / 2 ** 32), at + 16)
    write32(this.packed, value | 0, at + 19)
  }

  private packSpan(place: number, at: number): void {
    const record = this.newest[place]!
    this.pack(record, at)
    const { packed } = this
    const { body } = this.entries[this.entryOf[record]!]!
    const idAt = this.idAt[record]!
    for (let i = 0; i < 8; i++) packed[at + 16 + i] = body[idAt + i]!
    const name = this.nameOf[record]
    write24(packed, name?.termHigh ?? 0, at + 24)
    write32(packed, name?.termLow ?? 0, at + 27)
  }
}

// Unlike a Buffer's own methods, these check nothing.
function write32(buf: Buffer, value: number, at: number): void {
  buf[at] = value >> 24
  write24(buf, value, at + 1)
}

function write24(buf: Buffer, value: number, at: number): void {
  buf[at] = value >> 16
  buf[at + 1] = value >> 8
  buf[at + 2] = value
}
