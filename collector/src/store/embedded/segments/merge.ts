import type { Turns } from '../../../turns'
import { compareBytes } from '../../bytes'
import type { EmbeddedFile } from '../file'
import {
  type BlockReader,
  BlockWriter,
  CHUNK_RECORDS,
  comparePlaces,
  encodeChunk,
  FIELD,
  joined,
  newColumns,
} from './format'
import type { SegmentRows } from './rows'
import { type Chunk, readBlock, readChunk, type Segment } from './segments'

/**
 * Makes one segment of several, whose messages follow each other, without looking at the messages again.
 *
 *     chunks → merged by place, which gives every old ordinal its new one
 *     blocks → merged by field and term; a term's postings: renumbered, and put in order where they have to be
 */
export async function mergeSegments(
  file: EmbeddedFile,
  sources: Segment[],
  rows: SegmentRows,
  turns: Turns,
): Promise<void> {
  const renumbered = await mergeChunks(file, sources, rows, turns)
  await mergeBlocks(file, sources, renumbered, rows, turns)
}

async function mergeChunks(
  file: EmbeddedFile,
  sources: Segment[],
  rows: SegmentRows,
  turns: Turns,
): Promise<Uint32Array[]> {
  const renumbered = sources.map(({ records }) => new Uint32Array(records))
  // In the order of their next records.
  const cursors: ChunkCursor[] = []
  for (const [i, segment] of sources.entries()) insert(cursors, new ChunkCursor(file, segment, i), compareCursors)
  rows.firstUs = startOf(cursors[0]!.chunk, 0)
  const out = newColumns(CHUNK_RECORDS)
  const inOrder = (i: number) => i
  let n = 0
  while (cursors.length > 0) {
    const cursor = cursors[0]!
    const { chunk, at } = cursor
    out.startHigh[n] = chunk.startHigh[at]!
    out.startLow[n] = chunk.startLow[at]!
    out.traceHigh[n] = chunk.traceHigh[at]!
    out.traceLow[n] = chunk.traceLow[at]!
    out.span[n] = chunk.span[at]!
    out.durationUs[n] = chunk.durationUs[at]!
    renumbered[cursor.source]![cursor.ordinal] = rows.records++
    n++
    if (!cursor.next()) cursors.shift()
    else if (cursors.length > 1 && compareCursors(cursor, cursors[1]!) > 0) {
      cursors.shift()
      insert(cursors, cursor, compareCursors)
    }
    if (n === CHUNK_RECORDS || cursors.length === 0) {
      rows.putChunk(encodeChunk(out, inOrder, n))
      rows.lastUs = startOf(out, n - 1)
      n = 0
      if (turns.over()) await rows.write(turns)
    }
  }
  return renumbered
}

function startOf({ startHigh, startLow }: Pick<Chunk, 'startHigh' | 'startLow'>, i: number): bigint {
  return joined(startHigh[i]!, startLow[i]!)
}

class ChunkCursor {
  readonly source: number
  chunk: Chunk
  at = 0
  ordinal = 0
  private readonly file: EmbeddedFile
  private readonly segment: Segment

  constructor(file: EmbeddedFile, segment: Segment, source: number) {
    this.file = file
    this.segment = segment
    this.source = source
    this.chunk = readChunk(file, segment, 0)
  }

  next(): boolean {
    if (++this.ordinal === this.segment.records) return false
    if (++this.at === this.chunk.records) {
      this.chunk = readChunk(this.file, this.segment, this.ordinal / CHUNK_RECORDS)
      this.at = 0
    }
    return true
  }
}

function compareCursors(a: ChunkCursor, b: ChunkCursor): number {
  return comparePlaces(a.chunk, a.at, b.chunk, b.at)
}

function insert<C>(sorted: C[], cursor: C, compare: (a: C, b: C) => number): void {
  let i = 0
  while (i < sorted.length && compare(sorted[i]!, cursor) <= 0) i++
  sorted.splice(i, 0, cursor)
}

async function mergeBlocks(
  file: EmbeddedFile,
  sources: Segment[],
  renumbered: Uint32Array[],
  rows: SegmentRows,
  turns: Turns,
): Promise<void> {
  const writer = new BlockWriter(row => rows.putBlock(row))
  const postings = new Postings(rows.records)
  let open = sources.map((segment, i) => new TermCursor(file, segment, i)).filter(cursor => cursor.open)
  while (open.length > 0) {
    let field = open[0]!.field()
    for (const cursor of open) {
      const other = cursor.field()
      if (Buffer.compare(other, field) < 0) field = other
    }
    writer.beginField(field)
    const areTraces = field[0] === FIELD.trace.charCodeAt(0)
    // In the order of their terms; those with the same one in the order of their messages.
    const cursors: TermCursor[] = []
    for (const cursor of open) if (cursor.block.isOf(field)) insert(cursors, cursor, compareTerms)
    while (cursors.length > 0) {
      const { data, termStart, termEnd } = cursors[0]!.block
      let same = 0
      while (
        same < cursors.length &&
        (same === 0 || isTerm(cursors[same]!, data, termStart, termEnd)) // The first is itself.
      ) {
        same++
      }
      const done = same === 1 ? cursors : cursors.splice(0, same)
      for (let i = 0; i < same; i++) {
        const cursor = done[i]!
        // A term may go on in the next block.
        do {
          if (areTraces) postings.addPointers(cursor.block, Number(sources[cursor.source]!.first - sources[0]!.first))
          else postings.addOrdinals(cursor.block, renumbered[cursor.source]!)
          cursor.next(field)
        } while (cursor.inField && isTerm(cursor, data, termStart, termEnd))
      }
      if (areTraces) postings.writePointers(writer, data, termStart, termEnd)
      else postings.writeOrdinals(writer, data, termStart, termEnd)
      if (same > 1) {
        for (const cursor of done) if (cursor.inField) insert(cursors, cursor, compareTerms)
      } else {
        const cursor = cursors[0]!
        if (!cursor.inField) cursors.shift()
        else if (cursors.length > 1 && compareTerms(cursor, cursors[1]!) > 0) {
          cursors.shift()
          insert(cursors, cursor, compareTerms)
        }
      }
      if (turns.over()) await rows.write(turns)
    }
    open = open.filter(cursor => cursor.open)
  }
  writer.finish()
}

class TermCursor {
  readonly source: number
  open = true
  /** Whether the last next() stayed in the field. */
  inField = true
  block!: BlockReader
  private readonly file: EmbeddedFile
  private readonly segment: Segment
  private blocks = 0

  constructor(file: EmbeddedFile, segment: Segment, source: number) {
    this.file = file
    this.segment = segment
    this.source = source
    this.nextBlock()
  }

  field(): Buffer {
    return this.block.data.subarray(this.block.fieldStart, this.block.fieldEnd)
  }

  next(field: Buffer): void {
    this.inField = this.block.next() || (this.nextBlock() && this.block.isOf(field))
  }

  private nextBlock(): boolean {
    const block = readBlock(this.file, this.segment, this.blocks++)
    if (block === undefined) {
      this.open = false
      return false
    }
    this.block = block
    this.inField = true
    return block.next()
  }
}

function isTerm({ block }: TermCursor, data: Buffer, start: number, end: number): boolean {
  return compareBytes(block.data, block.termStart, block.termEnd, data, start, end) === 0
}

function compareTerms(a: TermCursor, b: TermCursor): number {
  const [x, y] = [a.block, b.block]
  return compareBytes(x.data, x.termStart, x.termEnd, y.data, y.termStart, y.termEnd) || a.source - b.source
}

/** One term's postings of all sources. */
class Postings {
  private readonly records: number
  private ordinals = new Uint32Array(4096)
  private count = 0
  private inOrder = true
  private pointers: number[] = []

  constructor(records: number) {
    this.records = records
  }

  addOrdinals(block: BlockReader, renumbered: Uint32Array): void {
    const from = this.count
    const to = from + block.count
    if (to > this.ordinals.length) {
      const larger = new Uint32Array(2 * to)
      larger.set(this.ordinals)
      this.ordinals = larger
    }
    const { ordinals } = this
    block.ordinals(ordinals, from)
    for (let i = from; i < to; i++) ordinals[i] = renumbered[ordinals[i]!]!
    if (from > 0 && ordinals[from]! < ordinals[from - 1]!) this.inOrder = false
    this.count = to
  }

  writeOrdinals(writer: BlockWriter, term: Buffer, start: number, end: number): void {
    if (!this.inOrder) this.sort()
    writer.addOrdinals(term, start, end, this.ordinals, 0, this.count)
    this.count = 0
    this.inOrder = true
  }

  /** @param base the first message of the source, from that of the merged segment on */
  addPointers(block: BlockReader, base: number): void {
    block.pointers((message, start, length) => this.pointers.push(base + message, start, length))
  }

  writePointers(writer: BlockWriter, term: Buffer, start: number, end: number): void {
    writer.addPointers(term, start, end, this.pointers, this.pointers.length)
    this.pointers.length = 0
  }

  private sort(): void {
    const { ordinals, count, records } = this
    if (count < records / 32) {
      ordinals.subarray(0, count).sort()
      return
    }
    const present = new Uint32Array(Math.ceil(records / 32))
    for (let i = 0; i < count; i++) present[ordinals[i]! >>> 5]! |= 1 << (ordinals[i]! & 31)
    let at = 0
    for (const [word, bits] of present.entries()) {
      for (let rest = bits; rest !== 0; rest &= rest - 1) ordinals[at++] = word * 32 + 31 - Math.clz32(rest & -rest)
    }
  }
}
