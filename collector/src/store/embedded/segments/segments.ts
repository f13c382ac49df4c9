import type { EmbeddedFile } from '../file'
import { BlockReader, type Columns, decodeChunk, SEGMENT_ROWS } from './format'

/** A segment, live or about to be removed. */
export interface Segment {
  id: bigint
  /** Messages. */
  first: bigint
  last: bigint
  records: number
  blocks: number
  firstUs: bigint
  lastUs: bigint
  /** When its last message was settled, by the clock of ages. */
  ageUs: bigint
  /** How many read it: its rows stay for so long. */
  readers: number
}

export type Chunk = Columns & { records: number }

export function readChunk(file: EmbeddedFile, segment: Segment, chunk: number): Chunk {
  const [data] = file.sql.selectChunk.get([segment.id * SEGMENT_ROWS + BigInt(chunk)]) as [Buffer]
  return decodeChunk(data)
}

/** @returns undefined behind the last one */
export function readBlock(file: EmbeddedFile, segment: Segment, block: number): BlockReader | undefined {
  if (block >= segment.blocks) return undefined
  const [data] = file.sql.selectBlock.get([segment.id * SEGMENT_ROWS + BigInt(block)]) as [Buffer]
  return new BlockReader(data)
}

/** The blocks of a field, from the one on in which `term` would begin. */
export function* blocksFrom(
  file: EmbeddedFile,
  segment: Segment,
  field: Buffer,
  term: Buffer,
): Generator<BlockReader, void> {
  const { selectBlockBefore, selectFirstBlock } = file.sql
  const row = (selectBlockBefore.get([segment.id, field, term]) ?? selectFirstBlock.get([segment.id, field])) as
    | [bigint]
    | undefined
  if (row === undefined) return
  for (let i = Number(row[0]); ; i++) {
    const block = readBlock(file, segment, i)
    if (block === undefined || !block.isOf(field)) return
    yield block
  }
}
