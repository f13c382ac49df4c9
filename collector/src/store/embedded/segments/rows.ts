import type { Turns } from '../../../turns'
import type { EmbeddedFile } from '../file'
import type { BlockRow, ChunkRow } from './format'
import { SEGMENT_ROWS } from './format'

/** What is written in one transaction: everything else waits for it. */
const TRANSACTION_BYTES = 256 * 1024

/** The rows of a segment that is being made: put here one by one, written in small transactions. */
export class SegmentRows {
  /** Filled in by the code that makes the segment. */
  records = 0
  firstUs = 0n
  lastUs = 0n
  chunks = 0
  blocks = 0
  private readonly file: EmbeddedFile
  private readonly segment: bigint
  private waitingChunks: ChunkRow[] = []
  private waitingBlocks: (BlockRow & { number: number })[] = []
  private bytes = 0

  constructor(file: EmbeddedFile, segment: bigint) {
    this.file = file
    this.segment = segment
  }

  putChunk(row: Omit<ChunkRow, 'id'>): void {
    this.waitingChunks.push({ ...row, id: this.segment * SEGMENT_ROWS + BigInt(this.chunks++) })
    this.bytes += row.data.length
  }

  putBlock(row: BlockRow): void {
    this.waitingBlocks.push({ ...row, number: this.blocks++ })
    this.bytes += row.data.length
  }

  /** Ends the turn, and writes what waits if it is enough. */
  async write(turns: Turns): Promise<void> {
    if (this.bytes >= TRANSACTION_BYTES) {
      await turns.next()
      this.file.background(() => this.writeAll())
    }
    await turns.next()
  }

  /** Within a transaction. */
  writeAll(): void {
    const { insertChunk, insertBlock, insertDirectory } = this.file.sql
    for (const { id, firstUs, longestUs, data } of this.waitingChunks) {
      insertChunk.run([id, firstUs, BigInt(longestUs), data])
    }
    for (const { number, field, first, data } of this.waitingBlocks) {
      insertBlock.run([this.segment * SEGMENT_ROWS + BigInt(number), data])
      insertDirectory.run([this.segment, field, first, BigInt(number)])
    }
    this.waitingChunks = []
    this.waitingBlocks = []
    this.bytes = 0
  }
}
