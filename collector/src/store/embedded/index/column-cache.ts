import { IdMap } from '../../../record/ids'
import type { EmbeddedFile } from '../file'
import { PART_ROWS, ROW_BYTES } from './columns'

/** How many bytes of chunks are kept: the columns of 5.6 million records. */
const MAX_BYTES = 128 * 1024 * 1024

/** A record's columns: where in which buffer. */
export interface Row {
  buf: Buffer
  at: number
}

/** The columns of records by part and number, read chunk by chunk. */
export class ColumnCache {
  private readonly file: EmbeddedFile
  private readonly parts = new IdMap<PartChunks>()
  private readonly chunks = new Map<number, Buffer>()
  /** The ids of the chunks, in no order. */
  private readonly ids: number[] = []
  private bytes = 0

  constructor(file: EmbeddedFile) {
    this.file = file
  }

  /** Learns what has been added. Parts that are gone are forgotten. */
  refresh(parts: bigint[]): void {
    for (const part of this.parts.keys()) if (!parts.includes(part)) this.parts.delete(part)
    for (const part of parts) {
      const known = this.parts.get(part) ?? { firsts: [], end: 1 }
      this.parts.set(part, known)
      const base = part * PART_ROWS
      const from = known.firsts.at(-1) ?? 0
      for (const [id, rows] of this.file.sql.selectChunksFrom.all([base + BigInt(from), base + PART_ROWS]) as [
        bigint,
        bigint,
      ][]) {
        const first = Number(id - base)
        if (first !== known.firsts.at(-1)) known.firsts.push(first)
        // What was short may have grown.
        else if (first + Number(rows) !== known.end) this.drop(this.ids.lastIndexOf(Number(id)))
        known.end = first + Number(rows)
      }
    }
  }

  /** Behind the last record's number. */
  end(part: bigint): number {
    return this.parts.get(part)!.end
  }

  /** Calls `visit` with the columns of each row; ascending or not. */
  each(part: bigint, rows: Iterable<number>, visit: (row: number, buf: Buffer, at: number) => void): void {
    const { firsts, end } = this.parts.get(part)!
    let chunk = -1
    let from = 0
    let to = 0
    let buf!: Buffer
    for (const row of rows) {
      if (row < from || row >= to) {
        chunk = chunk + 1 < firsts.length && row === firsts[chunk + 1] ? chunk + 1 : lastBelow(firsts, row + 1)
        from = firsts[chunk]!
        to = firsts[chunk + 1] ?? end
        buf = this.chunk(part, from)
      }
      visit(row, buf, (row - from) * ROW_BYTES)
    }
  }

  private chunk(part: bigint, first: number): Buffer {
    const id = part * PART_ROWS + BigInt(first)
    const key = Number(id)
    let data = this.chunks.get(key)
    if (data === undefined) {
      data = (this.file.sql.selectChunk.get([id]) as [Buffer])[0]
      // Any others: if the oldest ones went, a second scan of slightly more than there is room for would find none.
      while (this.ids.length > 0 && this.bytes + data.length > MAX_BYTES) {
        this.drop(Math.floor(Math.random() * this.ids.length))
      }
      this.chunks.set(key, data)
      this.ids.push(key)
      this.bytes += data.length
    }
    return data
  }

  /** @param index in `ids`; -1 is none */
  private drop(index: number): void {
    const id = this.ids[index]
    if (id === undefined) return
    this.bytes -= this.chunks.get(id)!.length
    this.chunks.delete(id)
    const last = this.ids.pop()!
    if (index < this.ids.length) this.ids[index] = last
  }
}

interface PartChunks {
  /** The number of each chunk's first record. */
  firsts: number[]
  end: number
}

/** The last index whose number is below `bound`. */
export function lastBelow(numbers: ArrayLike<number>, bound: number): number {
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (numbers[middle]! < bound) low = middle + 1
    else high = middle
  }
  return low - 1
}
