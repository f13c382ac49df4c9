import { ERROR_KEYS } from '../../../record/half'
import { RecordReader } from '../../../record/reader'
import type { Turns } from '../../../turns'
import { Bytes, compareBytes } from '../../bytes'
import type { Entry } from '../../pipeline/entry'
import type { IndexPolicy } from '../../search/index-policy'
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
import { KEY_BITS, sortedNumbers } from './sort'
import { grown, VALUES, Words } from './words'

/**
 * Makes a segment of messages.
 *
 *     records, as they come   → columns, and for each record its terms' numbers
 *     sorted by place         → chunks; each term's ordinals, by going through the records in that order
 *     fields and terms sorted → blocks
 */
export async function buildSegment(
  entries: Entry[],
  policy: IndexPolicy,
  rows: SegmentRows,
  turns: Turns,
): Promise<void> {
  const draft = new Draft(entries, policy)
  for (const [i] of entries.entries()) {
    draft.addEntry(i)
    if (turns.over()) await turns.next()
  }
  const order = draft.sortByPlace()
  for (let from = 0; from < order.length; from += CHUNK_RECORDS) {
    rows.putChunk(encodeChunk(draft.columns, i => order[from + i]!, Math.min(CHUNK_RECORDS, order.length - from)))
    if (turns.over()) await rows.write(turns)
  }
  const postings = draft.postings(order)
  if (turns.over()) await turns.next()
  const writer = new BlockWriter(row => rows.putBlock(row))
  for (const { bytes, terms } of draft.sortedFields()) {
    writer.beginField(bytes)
    if (terms === undefined) {
      draft.addTraces(writer)
      if (turns.over()) await rows.write(turns)
      continue
    }
    for (const term of draft.words.sorted(terms)) {
      draft.words.read(term, (buf, start, end) => {
        writer.addOrdinals(buf, start, end, postings.ordinals, postings.starts[term]!, postings.ends[term]!)
      })
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

/** Fields by number; those of keys' values follow, from VALUES + the key's term on. */
const NAMES = 0
const SERVICES = 1
const KEYS = 2
const ERRORS = 3

class Draft {
  readonly columns: ReturnType<typeof newColumns>
  readonly words: Words
  private readonly entries: Entry[]
  private readonly policy: IndexPolicy
  private readonly reader = new RecordReader()
  private records = 0
  /** Where each record is: the entry, start and end in it. */
  private readonly entryOf: Uint32Array
  private readonly startOf: Uint32Array
  private readonly endOf: Uint32Array
  /** The terms of all records, one after the other, and where each record's end. */
  private recordTerms = new Uint32Array(64 * 1024)
  private termsEnd = 0
  private readonly termsEndOf: Uint32Array
  /** The kind of each key's term: 1 indexed, 2 not, 4 an error as well. */
  private readonly keyKinds: number[] = []
  /** The record in which each key was last, as which of its annotations, and where the value's term stands. */
  private readonly keyRecords: number[] = []
  private readonly keyAnnotations: number[] = []
  private readonly keySlots: number[] = []

  constructor(entries: Entry[], policy: IndexPolicy) {
    this.entries = entries
    this.policy = policy
    this.words = new Words(policy)
    let records = 0
    for (const { spans } of entries) records += spans
    this.columns = newColumns(records)
    this.entryOf = new Uint32Array(records)
    this.startOf = new Uint32Array(records)
    this.endOf = new Uint32Array(records)
    this.termsEndOf = new Uint32Array(records)
  }

  addEntry(entry: number): void {
    const { body, start, end: last, receivedUs } = this.entries[entry]!
    for (let pos = start; pos < last; ) {
      const end = this.reader.read(body, pos)
      this.entryOf[this.records] = entry
      this.startOf[this.records] = pos
      this.endOf[this.records] = end
      this.addRecord(body, receivedUs)
      pos = end
    }
  }

  private addRecord(buf: Buffer, receivedUs: bigint): void {
    const { columns, reader, records, words } = this
    columns.traceHigh[records] = buf.readInt32BE(reader.traceIdAt)
    columns.traceLow[records] = buf.readUInt32BE(reader.traceIdAt + 4)
    columns.span[records] = buf.readInt32BE(reader.idAt) ^ buf.readInt32BE(reader.idAt + 4)
    const { firstAt, lastAt } = reader
    if (firstAt === -1) {
      columns.durationUs[records] = NO_DURATION
      columns.startHigh[records] = Number(receivedUs >> 32n)
      columns.startLow[records] = Number(receivedUs & 0xffffffffn)
    } else {
      const high = buf.readInt32BE(firstAt)
      const low = buf.readUInt32BE(firstAt + 4)
      columns.startHigh[records] = high
      columns.startLow[records] = low
      const durationUs = (buf.readInt32BE(lastAt) - high) * 2 ** 32 + (buf.readUInt32BE(lastAt + 4) - low)
      columns.durationUs[records] = Math.min(durationUs, LONGEST_US)
    }
    if (reader.nameAt !== -1) this.addTerm(words.add(NAMES, buf, reader.nameAt, reader.nameEnd))
    if (reader.serviceAt !== -1) this.addTerm(words.add(SERVICES, buf, reader.serviceAt, reader.serviceEnd))
    const { annotations } = reader
    let isError = false
    for (let i = 0; i < annotations.length; i += 4) {
      const key = words.add(KEYS, buf, annotations[i]!, annotations[i + 1]!)
      const kind = (this.keyKinds[key] ??= this.kindOf(key))
      if (kind >= 4) isError = true
      if ((kind & 1) === 0) continue
      const value = words.add(VALUES + key, buf, annotations[i + 2]!, annotations[i + 3]!)
      if (this.keyRecords[key] !== records) this.addTerm(key)
      // The same key again, and not two long ones that are cut to the same: its last value counts.
      else if (isSame(buf, annotations, this.keyAnnotations[key]!, i)) {
        this.recordTerms[this.keySlots[key]!] = value
        continue
      }
      this.keyRecords[key] = records
      this.keyAnnotations[key] = i
      this.keySlots[key] = this.termsEnd
      this.addTerm(value)
    }
    if (isError) this.addTerm(words.add(ERRORS, buf, 0, 0))
    this.termsEndOf[records] = this.termsEnd
    this.records++
  }

  private kindOf(key: number): number {
    const word = this.words.read(key, (buf, start, end) => buf.toString('utf8', start, end))
    const error = ERROR_KEYS.includes(word) ? 4 : 0
    return (this.policy.indexes(word) ? 1 : 2) + error
  }

  private addTerm(term: number): void {
    if (this.termsEnd === this.recordTerms.length) this.recordTerms = grown(this.recordTerms)
    this.recordTerms[this.termsEnd++] = term
  }

  /** Records in the order of their ordinals. */
  sortByPlace(): Uint32Array {
    const { columns, records } = this
    const { startHigh, startLow } = columns
    const start = (i: number) => startHigh[i]! * 2 ** 32 + startLow[i]!
    let first = Infinity
    let last = -Infinity
    for (let i = 0; i < records; i++) {
      first = Math.min(first, start(i))
      last = Math.max(last, start(i))
    }
    // Doubles, and coarser ones for more than 12 days, keep the order; what becomes equal is compared in full.
    const scale = Math.max(1, (last - first) / 2 ** (KEY_BITS - 1))
    return sortedNumbers(
      records,
      i => Math.floor((start(i) - first) / scale),
      (a, b) => comparePlaces(columns, a, columns, b),
    )
  }

  /** Each term's ordinals: `ordinals` from starts[term] to ends[term]. */
  postings(order: Uint32Array): { ordinals: Uint32Array; starts: Uint32Array; ends: Uint32Array } {
    const { recordTerms, termsEnd } = this
    const starts = new Uint32Array(this.words.termCount + 1)
    for (let i = 0; i < termsEnd; i++) starts[recordTerms[i]! + 1]!++
    for (let term = 1; term < starts.length; term++) starts[term]! += starts[term - 1]!
    const ordinals = new Uint32Array(termsEnd)
    const ends = starts.slice(0, -1)
    for (let ordinal = 0; ordinal < order.length; ordinal++) {
      const r = order[ordinal]!
      const to = this.termsEndOf[r]!
      for (let i = r === 0 ? 0 : this.termsEndOf[r - 1]!; i < to; i++) {
        const term = recordTerms[i]!
        const end = ends[term]!
        // Two long values may be one term.
        if (end > starts[term]! && ordinals[end - 1] === ordinal) continue
        ordinals[end] = ordinal
        ends[term] = end + 1
      }
    }
    return { ordinals, starts, ends }
  }

  /** The fields in the order of the blocks; the traces' has no terms. */
  sortedFields(): { bytes: Buffer; terms: Uint32Array | undefined }[] {
    const byField = new Map<number, number[]>()
    for (let term = 0; term < this.words.termCount; term++) {
      const field = this.words.fieldOf(term)
      // Keys that aren't indexed have been numbered all the same.
      if (field === KEYS && (this.keyKinds[term]! & 1) === 0) continue
      const terms = byField.get(field)
      if (terms === undefined) byField.set(field, [term])
      else terms.push(term)
    }
    const fields: { bytes: Buffer; terms: Uint32Array | undefined }[] = [
      { bytes: fieldBytes('trace'), terms: undefined },
    ]
    for (const [field, terms] of byField) fields.push({ bytes: this.bytesOf(field), terms: Uint32Array.from(terms) })
    return fields.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  }

  private bytesOf(field: number): Buffer {
    if (field < VALUES) return fieldBytes((['name', 'service', 'key', 'error'] as const)[field]!)
    return this.words.read(field - VALUES, (buf, start, end) => fieldBytes('value', buf.toString('utf8', start, end)))
  }

  addTraces(writer: BlockWriter): void {
    const { traceHigh, traceLow } = this.columns
    const order = sortedNumbers(
      this.records,
      i => (traceHigh[i]! >>> 0) * 256 + (traceLow[i]! >>> 24),
      (a, b) => traceLow[a]! - traceLow[b]! || a - b,
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

/** Whether two annotations have the same key. */
function isSame(buf: Buffer, annotations: number[], i: number, j: number): boolean {
  return compareBytes(buf, annotations[i]!, annotations[i + 1]!, buf, annotations[j]!, annotations[j + 1]!) === 0
}
