import { Bytes, Cursor, compareBytes } from '../../bytes'

/**
 * What a segment is made of, byte by byte. Its records are numbered by their places: start, then trace id, both ascending
 * (signed); the number is the record's ordinal.
 *
 *     chunk  of 4096 records │ first start i64 │ wide u8 │ starts │ trace ids │ spans │ durations │
 *            starts: u32 µs behind the first, or the i64 itself where those don't do (wide)
 *            spans: u32, the halves of the span's id, one xor the other: tells a trace's spans apart
 *            durations: u32 µs; the two highest mean "as long or longer" and "none"
 *
 *     block  of about 16 KiB │ field │ terms │ postings │
 *            field:    varint length, bytes                      what kind of term, and for values the key
 *            terms:    varint count, varint bytes, then each     varint length, bytes; ascending as memcmp has it
 *            postings: for each term varint count, varint bytes, then
 *                      ordinals: varint gap × 2                  one, so many behind the last one's successor
 *                                varint gap × 2 + 1, varint n    a run of n + 2
 *                      pointers: varint message, start, length   of a trace's records; message behind the last one's
 *
 * Terms stand in full, so that a search for what they contain can pass a block over by a single search of its terms' bytes.
 * A term with more postings than fit goes on in the next block, as if it were another; gaps begin at 0 in each, and
 * messages at the segment's first.
 */

export const CHUNK_RECORDS = 4096
const BLOCK_BYTES = 16 * 1024
/** Rows of a segment are numbered from its id × this. */
export const SEGMENT_ROWS = 2n ** 24n

/** Durations from here on are the same to the index. */
export const LONGEST_US = 0xfffffffe
export const NO_DURATION = 0xffffffff

/** The first byte of a field. The key of `value` follows it. */
export const FIELD = { error: 'e', key: 'k', name: 'n', service: 's', trace: 't', value: 'v' } as const

export function fieldBytes(field: keyof typeof FIELD, key = ''): Buffer {
  return Buffer.from(FIELD[field] + key)
}

/** Records by ordinal, in columns. 64-bit numbers are in halves: the high one signed. */
export interface Columns {
  startHigh: Int32Array
  startLow: Uint32Array
  traceHigh: Int32Array
  traceLow: Uint32Array
  span: Uint32Array
  durationUs: Uint32Array
}

export function newColumns(records: number): Columns {
  return {
    startHigh: new Int32Array(records),
    startLow: new Uint32Array(records),
    traceHigh: new Int32Array(records),
    traceLow: new Uint32Array(records),
    span: new Uint32Array(records),
    durationUs: new Uint32Array(records),
  }
}

export function comparePlaces(a: Columns, i: number, b: Columns, j: number): number {
  return (
    a.startHigh[i]! - b.startHigh[j]! ||
    a.startLow[i]! - b.startLow[j]! ||
    a.traceHigh[i]! - b.traceHigh[j]! ||
    a.traceLow[i]! - b.traceLow[j]!
  )
}

export function joined(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low)
}

export interface ChunkRow {
  id: bigint
  firstUs: bigint
  longestUs: number
  data: Buffer
}

const CHUNK_HEADER = 9

/** @param order which records, in the order of their places; from ordinal `from` on */
export function encodeChunk(columns: Columns, order: (i: number) => number, n: number): Omit<ChunkRow, 'id'> {
  const first = order(0)
  const last = order(n - 1)
  const high = columns.startHigh[first]!
  const low = columns.startLow[first]!
  const wide = (columns.startHigh[last]! - high) * 2 ** 32 + columns.startLow[last]! - low >= 2 ** 32
  const out = new Bytes(CHUNK_HEADER + n * 24)
  out.i32(high)
  out.i32(low)
  out.buf[out.pos++] = wide ? 1 : 0
  let longestUs = 0
  for (let i = 0; i < n; i++) {
    const r = order(i)
    if (wide) out.i32(columns.startHigh[r]!)
    // Modulo 2^32 the difference of the low halves is all of it.
    out.i32(wide ? columns.startLow[r]! : columns.startLow[r]! - low)
  }
  for (let i = 0; i < n; i++) {
    const r = order(i)
    out.i32(columns.traceHigh[r]!)
    out.i32(columns.traceLow[r]!)
  }
  for (let i = 0; i < n; i++) out.i32(columns.span[order(i)]!)
  for (let i = 0; i < n; i++) {
    const durationUs = columns.durationUs[order(i)]!
    if (durationUs !== NO_DURATION && durationUs > longestUs) longestUs = durationUs
    out.i32(durationUs)
  }
  return { firstUs: joined(high, low), longestUs, data: out.taken() }
}

/** Reads single records of a chunk, without decoding all of it. */
export class ChunkReader {
  readonly records: number
  private readonly data: Buffer
  private readonly wide: boolean
  private readonly traces: number
  private readonly durations: number

  constructor(data: Buffer) {
    this.data = data
    this.wide = data[8] === 1
    this.records = (data.length - CHUNK_HEADER) / (this.wide ? 24 : 20)
    this.traces = CHUNK_HEADER + this.records * (this.wide ? 8 : 4)
    this.durations = this.traces + this.records * 12
  }

  startUs(i: number): bigint {
    const { data } = this
    if (this.wide) return data.readBigInt64BE(CHUNK_HEADER + 8 * i)
    return data.readBigInt64BE(0) + BigInt(data.readUInt32BE(CHUNK_HEADER + 4 * i))
  }

  traceId(i: number): bigint {
    return this.data.readBigInt64BE(this.traces + 8 * i)
  }

  traceHigh(i: number): number {
    return this.data.readInt32BE(this.traces + 8 * i)
  }

  traceLow(i: number): number {
    return this.data.readInt32BE(this.traces + 8 * i + 4)
  }

  span(i: number): number {
    return this.data.readInt32BE(this.traces + 8 * this.records + 4 * i)
  }

  durationUs(i: number): number {
    return this.data.readUInt32BE(this.durations + 4 * i)
  }
}

export function decodeChunk(data: Buffer): Columns & { records: number } {
  const wide = data[8] === 1
  const records = (data.length - CHUNK_HEADER) / (wide ? 24 : 20)
  const columns = newColumns(records)
  const high = data.readInt32BE(0)
  const low = data.readUInt32BE(4)
  let at = CHUNK_HEADER
  for (let i = 0; i < records; i++) {
    if (wide) {
      columns.startHigh[i] = data.readInt32BE(at)
      columns.startLow[i] = data.readUInt32BE(at + 4)
      at += 8
    } else {
      const sum = low + data.readUInt32BE(at)
      columns.startHigh[i] = sum >= 2 ** 32 ? high + 1 : high
      columns.startLow[i] = sum
      at += 4
    }
  }
  for (let i = 0; i < records; i++, at += 8) {
    columns.traceHigh[i] = data.readInt32BE(at)
    columns.traceLow[i] = data.readUInt32BE(at + 4)
  }
  for (let i = 0; i < records; i++, at += 4) columns.span[i] = data.readUInt32BE(at)
  for (let i = 0; i < records; i++, at += 4) columns.durationUs[i] = data.readUInt32BE(at)
  return { records, ...columns }
}

export interface BlockRow {
  data: Buffer
  field: Buffer
  first: Buffer
}

/** Makes the blocks of a segment: fields ascending, in each terms ascending. */
export class BlockWriter {
  private readonly put: (row: BlockRow) => void
  private field: Buffer = Buffer.alloc(0)
  private readonly terms = new Bytes()
  private readonly postings = new Bytes()
  private count = 0

  constructor(put: (row: BlockRow) => void) {
    this.put = put
  }

  beginField(field: Buffer): void {
    this.flush()
    this.field = field
  }

  /** @param ordinals of `from` to `to`: ascending, each once */
  addOrdinals(term: Uint8Array, start: number, end: number, ordinals: Uint32Array, from: number, to: number): void {
    const { postings } = this
    for (let i = from; i < to; ) {
      const begin = this.beginTerm(term, start, end)
      let next = 0
      let count = 0
      // Gap and run may take ten bytes.
      while (i < to && postings.pos < begin + BLOCK_BYTES) {
        const ordinal = ordinals[i]!
        let length = 1
        while (i + length < to && ordinals[i + length] === ordinal + length) length++
        const gap = 2 * (ordinal - next)
        if (length === 1) postings.varint(gap)
        else {
          postings.varint(gap + 1)
          postings.varint(length - 2)
        }
        next = ordinal + length
        count += length
        i += length
      }
      this.endTerm(begin, count)
    }
  }

  /** @param pointers message, start, length, and so on; messages ascending, from the segment's first as 0 */
  addPointers(term: Uint8Array, start: number, end: number, pointers: number[] | Float64Array, to: number): void {
    const { postings } = this
    for (let i = 0; i < to; ) {
      const begin = this.beginTerm(term, start, end)
      let message = 0
      let count = 0
      while (i < to && postings.pos < begin + BLOCK_BYTES) {
        postings.varint(pointers[i]! - message)
        postings.varint(pointers[i + 1]!)
        postings.varint(pointers[i + 2]!)
        message = pointers[i]!
        count++
        i += 3
      }
      this.endTerm(begin, count)
    }
  }

  finish(): void {
    this.flush()
  }

  private beginTerm(term: Uint8Array, start: number, end: number): number {
    if (this.terms.pos + this.postings.pos >= BLOCK_BYTES) this.flush()
    this.terms.varint(end - start)
    this.terms.copy(term, start, end)
    this.count++
    return this.postings.pos
  }

  /** Puts the count and the length before what has been written since `begin`. */
  private endTerm(begin: number, count: number): void {
    const { postings } = this
    const length = postings.pos - begin
    const head = varintLength(count) + varintLength(length)
    postings.reserve(head)
    postings.buf.copyWithin(begin + head, begin, postings.pos)
    postings.pos = begin
    postings.varint(count)
    postings.varint(length)
    postings.pos += length
  }

  private flush(): void {
    if (this.count === 0) return
    const { field, terms, postings } = this
    const out = new Bytes(field.length + terms.pos + postings.pos + 20)
    out.varint(field.length)
    out.copy(field, 0, field.length)
    out.varint(this.count)
    out.varint(terms.pos)
    out.copy(terms.buf, 0, terms.pos)
    out.copy(postings.buf, 0, postings.pos)
    const first = new Cursor(terms.buf)
    const length = first.varint()
    this.put({ data: out.taken(), field, first: Buffer.from(terms.buf.subarray(first.pos, first.pos + length)) })
    terms.pos = 0
    postings.pos = 0
    this.count = 0
  }
}

function varintLength(n: number): number {
  let length = 1
  for (; n > 127; n /= 128) length++
  return length
}

/** Goes through a block's terms, one after the other. */
export class BlockReader {
  readonly data: Buffer
  /** Where the field's bytes are. */
  readonly fieldStart: number
  readonly fieldEnd: number
  readonly terms: number
  readonly termsStart: number
  readonly termsEnd: number
  /** The current term's bytes. */
  termStart = 0
  termEnd = 0
  /** How many postings it has in this block, and where. */
  count = 0
  postingsStart = 0
  postingsEnd = 0
  private left: number
  private nextTerm: Cursor
  private nextPostings: Cursor

  constructor(data: Buffer) {
    this.data = data
    const cursor = new Cursor(data)
    const fieldLength = cursor.varint()
    this.fieldStart = cursor.pos
    this.fieldEnd = cursor.pos += fieldLength
    this.terms = this.left = cursor.varint()
    const length = cursor.varint()
    this.termsStart = cursor.pos
    this.termsEnd = cursor.pos + length
    this.nextTerm = cursor
    this.nextPostings = new Cursor(data, this.termsEnd)
  }

  isOf(field: Buffer): boolean {
    return compareBytes(field, 0, field.length, this.data, this.fieldStart, this.fieldEnd) === 0
  }

  /** @returns whether there is one more */
  next(): boolean {
    if (this.left === 0) return false
    this.left--
    const length = this.nextTerm.varint()
    this.termStart = this.nextTerm.pos
    this.termEnd = this.nextTerm.pos += length
    this.count = this.nextPostings.varint()
    const bytes = this.nextPostings.varint()
    this.postingsStart = this.nextPostings.pos
    this.postingsEnd = this.nextPostings.pos += bytes
    return true
  }

  /** Puts the current term's ordinals into `into` from `at` on; returns where they end. There has to be room. */
  ordinals(into: Uint32Array, at: number): number {
    const cursor = new Cursor(this.data, this.postingsStart)
    let next = 0
    while (cursor.pos < this.postingsEnd) {
      const v = cursor.varint()
      next += Math.floor(v / 2)
      into[at++] = next++
      if (v % 2 === 1) for (let n = cursor.varint() + 1; n > 0; n--) into[at++] = next++
    }
    return at
  }

  /** The current term's pointers: message behind the segment's first, start, length. */
  pointers(visit: (message: number, start: number, length: number) => void): void {
    const cursor = new Cursor(this.data, this.postingsStart)
    let message = 0
    while (cursor.pos < this.postingsEnd) {
      message += cursor.varint()
      const start = cursor.varint()
      visit(message, start, cursor.varint())
    }
  }
}
