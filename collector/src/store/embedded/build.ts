import { EventType, readRecord, type SpanEvent, type SpanRecord } from '../../../../src/codec/span'
import type { IndexPolicy } from '../index-policy'
import { isError } from '../match'
import type { Entry } from '../pipeline'
import { Bytes } from './bytes'
import {
  BlockWriter,
  CHUNK_RECORDS,
  comparePlaces,
  encodeChunk,
  fieldBytes,
  joined,
  LONGEST_US,
  NO_DURATION,
  newColumns,
} from './format'
import type { SegmentRows } from './rows'
import type { Turns } from './turns'

/**
 * Makes a segment of messages.
 *
 *     records, as they come → columns, and for each record its terms' numbers
 *     sorted by place       → chunks; each term's ordinals, by going through the records in that order
 *     fields and terms sorted → blocks
 */
export async function buildSegment(
  entries: Entry[],
  options: BuildOptions,
  rows: SegmentRows,
  turns: Turns,
): Promise<void> {
  const draft = new Draft(entries, options)
  for (const [i] of entries.entries()) {
    draft.addEntry(i)
    if (turns.over()) await turns.next()
  }
  const order = draft.sortByPlace()
  for (let from = 0; from < order.length; from += CHUNK_RECORDS) {
    rows.putChunk(encodeChunk(draft.columns, i => order[from + i]!, Math.min(CHUNK_RECORDS, order.length - from)))
    if (turns.over()) await rows.write(turns)
  }
  await turns.next()
  const postings = draft.postings(order)
  const writer = new BlockWriter(row => rows.putBlock(row))
  const term = new Bytes()
  for (const { bytes, terms } of draft.sortedFields()) {
    writer.beginField(bytes)
    if (bytes[0] === TRACE[0]) {
      draft.addTraces(writer)
      continue
    }
    for (const word of sortedWords(terms)) {
      const number = terms.get(word)!
      term.pos = 0
      term.text(word)
      writer.addOrdinals(term.buf, 0, term.pos, postings.ordinals, postings.starts[number]!, postings.ends[number]!)
      if (turns.over()) await rows.write(turns)
    }
  }
  writer.finish()
  rows.records = order.length
  const { startHigh, startLow } = draft.columns
  const startOf = (i: number) => joined(startHigh[i]!, startLow[i]!)
  rows.firstUs = startOf(order[0]!)
  rows.lastUs = startOf(order.at(-1)!)
}

export interface BuildOptions {
  policy: IndexPolicy
  /** When a message was received, microseconds; by its id. */
  receivedUs(id: bigint): bigint
}

interface FieldTerms {
  bytes: Buffer
  /** Words and their numbers, which all fields share. */
  terms: Map<string, number>
}

const TRACE = fieldBytes('trace')

class Draft {
  readonly columns: ReturnType<typeof newColumns>
  private readonly entries: Entry[]
  private readonly options: BuildOptions
  private records = 0
  /** Where each record is: the entry, start and end in it. */
  private readonly entryOf: Uint32Array
  private readonly startOf: Uint32Array
  private readonly endOf: Uint32Array
  /** The terms of all records, one after the other, and where each record's end. */
  private recordTerms = new Uint32Array(64 * 1024)
  private termsEnd = 0
  private readonly termsEndOf: Uint32Array
  /** How many records each term has. */
  private counts = new Uint32Array(16 * 1024)
  private terms = 0

  private readonly names: FieldTerms = { bytes: fieldBytes('name'), terms: new Map() }
  private readonly services: FieldTerms = { bytes: fieldBytes('service'), terms: new Map() }
  private readonly keys: FieldTerms = { bytes: fieldBytes('key'), terms: new Map() }
  private readonly errors: FieldTerms = { bytes: fieldBytes('error'), terms: new Map() }
  /** By key; undefined for keys that aren't indexed. */
  private readonly values = new Map<string, FieldTerms | undefined>()

  constructor(entries: Entry[], options: BuildOptions) {
    this.entries = entries
    this.options = options
    let records = 0
    for (const { spans } of entries) records += spans
    this.columns = newColumns(records)
    this.entryOf = new Uint32Array(records)
    this.startOf = new Uint32Array(records)
    this.endOf = new Uint32Array(records)
    this.termsEndOf = new Uint32Array(records)
  }

  addEntry(entry: number): void {
    const { body, id } = this.entries[entry]!
    for (let pos = 0; pos < body.length; ) {
      const { record, end } = readRecord(body, pos)
      this.entryOf[this.records] = entry
      this.startOf[this.records] = pos
      this.endOf[this.records] = end
      this.addRecord(record, id)
      pos = end
    }
  }

  private addRecord(record: SpanRecord, messageId: bigint): void {
    const { columns, records } = this
    wide[0] = record.traceId!
    columns.traceHigh[records] = halves[HIGH]!
    columns.traceLow[records] = halves[LOW]!
    columns.durationUs[records] = readTimes(record.events) ? durationUs() : NO_DURATION
    if (columns.durationUs[records] === NO_DURATION) wide[0] = this.options.receivedUs(messageId)
    else wide[0] = firstUs
    columns.startHigh[records] = halves[HIGH]!
    columns.startLow[records] = halves[LOW]!

    const { policy } = this.options
    if (record.name !== undefined) this.addTerm(this.names, policy.cut(record.name))
    if (record.service !== undefined) this.addTerm(this.services, policy.cut(record.service))
    if (record.annotations !== undefined) {
      for (const [key, value] of record.annotations) {
        const field = this.valuesOf(key)
        if (field === undefined) continue
        this.addTerm(this.keys, policy.cut(key))
        this.addTerm(field, policy.cut(value))
      }
      if (isError(record)) this.addTerm(this.errors, '')
    }
    this.termsEndOf[records] = this.termsEnd
    this.records++
  }

  private valuesOf(key: string): FieldTerms | undefined {
    let field = this.values.get(key)
    if (field !== undefined || this.values.has(key)) return field
    const { policy } = this.options
    const cut = policy.cut(key)
    if (cut !== key) field = this.valuesOf(cut)
    else if (policy.indexes(key)) field = { bytes: fieldBytes('value', key), terms: new Map() }
    this.values.set(key, field)
    return field
  }

  private addTerm({ terms }: FieldTerms, word: string): void {
    let number = terms.get(word)
    if (number === undefined) {
      number = this.terms++
      terms.set(word, number)
      if (number === this.counts.length) this.counts = grown(this.counts)
    }
    this.counts[number]!++
    if (this.termsEnd === this.recordTerms.length) this.recordTerms = grown(this.recordTerms)
    this.recordTerms[this.termsEnd++] = number
  }

  /** Records in the order of their ordinals. */
  sortByPlace(): Uint32Array {
    const { columns } = this
    return Uint32Array.from({ length: this.records }, (_, i) => i).sort((a, b) => comparePlaces(columns, a, columns, b))
  }

  /** Each term's ordinals: `ordinals` from starts[number] to ends[number]. */
  postings(order: Uint32Array): { ordinals: Uint32Array; starts: Uint32Array; ends: Uint32Array } {
    const starts = new Uint32Array(this.terms)
    let total = 0
    for (let number = 0; number < this.terms; number++) {
      starts[number] = total
      total += this.counts[number]!
    }
    const ordinals = new Uint32Array(total)
    const ends = starts.slice()
    for (const [ordinal, r] of order.entries()) {
      const to = this.termsEndOf[r]!
      for (let i = r === 0 ? 0 : this.termsEndOf[r - 1]!; i < to; i++) {
        const number = this.recordTerms[i]!
        const end = ends[number]!
        // Two long keys may be one term.
        if (end > starts[number]! && ordinals[end - 1] === ordinal) continue
        ordinals[end] = ordinal
        ends[number] = end + 1
      }
    }
    return { ordinals, starts, ends }
  }

  /** In the order of the blocks; the traces' without terms. */
  sortedFields(): FieldTerms[] {
    const values = new Set([...this.values.values()].filter(field => field !== undefined))
    const all = [this.errors, this.keys, this.names, this.services, { bytes: TRACE, terms: new Map() }, ...values]
    return all.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  }

  addTraces(writer: BlockWriter): void {
    const { traceHigh, traceLow } = this.columns
    const order = Uint32Array.from({ length: this.records }, (_, i) => i).sort(
      (a, b) => (traceHigh[a]! >>> 0) - (traceHigh[b]! >>> 0) || traceLow[a]! - traceLow[b]! || a - b,
    )
    const base = this.entries[0]!.id
    const messages = Float64Array.from(this.entries, ({ id }) => Number(id - base))
    const id = new Bytes(8)
    const pointers: number[] = []
    for (let i = 0; i < order.length; ) {
      const r = order[i]!
      id.pos = 0
      id.i32(traceHigh[r]!)
      id.i32(traceLow[r]!)
      pointers.length = 0
      for (; i < order.length; i++) {
        const other = order[i]!
        if (traceHigh[other] !== traceHigh[r] || traceLow[other] !== traceLow[r]) break
        const start = this.startOf[other]!
        pointers.push(messages[this.entryOf[other]!]!, start, this.endOf[other]! - start)
      }
      writer.addPointers(id.buf, 0, 8, pointers, pointers.length)
    }
  }
}

const wide = new BigInt64Array(1)
const halves = new Int32Array(wide.buffer)
const LOW = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 0 : 1
const HIGH = 1 - LOW

let firstUs = 0n
let lastUs = 0n

/** Finds first and last of the events that count, as recordStartUs and recordDurationUs do; false when there are none. */
function readTimes(events: SpanEvent[] | undefined): boolean {
  if (events === undefined) return false
  let found = false
  let ofCall = false
  for (const event of events) {
    const { timestamp, eventType = 0 } = event
    if (timestamp === undefined) continue
    const call = eventType >= EventType.CLIENT_SEND && eventType <= EventType.SERVER_RECV
    if (ofCall && !call) continue
    if (!found || (call && !ofCall)) {
      firstUs = lastUs = timestamp
      found = true
      ofCall = call
    } else if (timestamp < firstUs) firstUs = timestamp
    else if (timestamp > lastUs) lastUs = timestamp
  }
  return found
}

function durationUs(): number {
  return Math.min(Number(lastUs - firstUs), LONGEST_US)
}

function grown(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(array.length * 2)
  larger.set(array)
  return larger
}

/** As their bytes are in UTF-8, which is JavaScript's order but for what lies beyond its 16-bit characters. */
function sortedWords(terms: Map<string, number>): string[] {
  const words = [...terms.keys()].sort()
  if (!words.some(word => /[\ud800-\udfff]/.test(word))) return words
  return words
    .map(word => ({ word, bytes: Buffer.from(word) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ word }) => word)
}
