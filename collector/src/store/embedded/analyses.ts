import { setImmediate } from 'node:timers/promises'
import {
  type AnalysisPiece,
  type AnalysisQuery,
  type AnalysisRead,
  type AnalysisWindow,
  type Load,
  MAX_WINDOWS,
  type StoredAnalysis,
} from '../analysis/model'
import type { EmbeddedFile } from './file'

/** Results of offline analyses, in the file. */

/** Bytes and rows of a transaction: acknowledgments wait for each. */
const WRITE_BYTES = 256 * 1024
const REMOVE_ROWS = 16
/** How often it is looked for what is too old. */
const EXPIRE_MS = 60_000

/** The owner's part. */
export class EmbeddedAnalyses {
  private readonly file: EmbeddedFile
  /** How many loads are being written: no window names them yet. */
  private writing = 0
  /** Whether there may be pieces that no window names: of what was replaced, or of a load that a crash ended. */
  private hasRemains = true
  private nextMs = Number.NEGATIVE_INFINITY
  private closing = false

  constructor(file: EmbeddedFile) {
    this.file = file
  }

  async save({ load, fromUs, toUs, loadedUs, summary, pieces }: Load): Promise<void> {
    const { insertPiece, replaceAnalysis } = this.file.sql
    this.writing++
    this.hasRemains = true
    try {
      for (let next = 0; next < pieces.length; ) {
        this.file.background(() => {
          for (let bytes = 0; next < pieces.length && bytes < WRITE_BYTES; next++) {
            const { kind, root, piece, body } = pieces[next]!
            insertPiece.run([load, kind, root, BigInt(piece), body])
            bytes += body.length
          }
        })
        await setImmediate()
      }
      this.file.durable(() =>
        replaceAnalysis.run([...keyOf({ fromUs, toUs }), load, BigInt(loadedUs), Buffer.from(summary)]),
      )
    } finally {
      this.writing--
    }
    await this.removeRemains()
  }

  async delete(window: AnalysisWindow): Promise<boolean> {
    let deleted = 0
    this.file.durable(() => {
      deleted = this.file.sql.deleteAnalysis.run(keyOf(window)).changes
    })
    if (deleted === 0) return false
    this.hasRemains = true
    await this.removeRemains()
    return true
  }

  /** Removes what was loaded before this time, now and then. */
  async expire(beforeUs: bigint): Promise<void> {
    if (performance.now() < this.nextMs) return
    this.nextMs = performance.now() + EXPIRE_MS
    this.file.background(() => {
      if (this.file.sql.expireAnalyses.run([beforeUs]).changes > 0) this.hasRemains = true
    })
    await this.removeRemains()
  }

  /** What isn't removed stays for the next start. */
  close(): void {
    this.closing = true
  }

  private async removeRemains(): Promise<void> {
    const { selectUnnamedLoads, deletePieces } = this.file.sql
    // What is written meanwhile isn't remains, but may become some.
    if (!this.hasRemains || this.writing > 0) return
    this.hasRemains = false
    for (const [load] of selectUnnamedLoads.all([]) as [bigint][]) {
      for (let removed = 1; removed > 0; ) {
        await setImmediate()
        if (this.closing) return
        this.file.background(() => {
          removed = deletePieces.run([load, BigInt(REMOVE_ROWS)]).changes
        })
      }
    }
  }
}

export function readEmbeddedAnalyses({ sql }: EmbeddedFile, limit = MAX_WINDOWS): StoredAnalysis[] {
  const rows = sql.selectAnalyses.all([BigInt(limit)]) as [bigint, bigint, bigint, Buffer][]
  return rows.map(([fromUs, toUs, loadedUs, summary]) => ({
    fromUs: Number(fromUs),
    toUs: Number(toUs),
    loadedUs: Number(loadedUs),
    summary: summary.toString(),
  }))
}

export function readEmbeddedAnalysis(
  file: EmbeddedFile,
  { kinds, root, fromUs, toUs }: AnalysisQuery,
): AnalysisRead | undefined {
  return file.snapshot(() => {
    const { selectAnalysis, selectPieces, selectPiecesOfRoot } = file.sql
    const row = selectAnalysis.get(keyOf({ fromUs, toUs })) as [bigint, bigint, Buffer] | undefined
    if (row === undefined) return undefined
    const [load, loadedUs, summary] = row
    const rows = kinds.flatMap(kind =>
      root === undefined ? selectPieces.all([load, kind]) : selectPiecesOfRoot.all([load, kind, root]),
    )
    const bodies = (rows as [Buffer][]).map(([body]) => body)
    return { fromUs, toUs, loadedUs: Number(loadedUs), summary: summary.toString(), bodies }
  })
}

/** Reads all pieces of a window. */
export function readEmbeddedPieces(file: EmbeddedFile, window: AnalysisWindow): AnalysisPiece[] | undefined {
  return file.snapshot(() => {
    const row = file.sql.selectAnalysis.get(keyOf(window)) as [bigint] | undefined
    if (row === undefined) return undefined
    const rows = file.sql.selectAllPieces.all([row[0]]) as [Buffer, bigint, bigint, Buffer][]
    return rows.map(([kind, root, piece, body]) => ({ kind: kind.toString(), root, piece: Number(piece), body }))
  })
}

function keyOf({ fromUs, toUs }: AnalysisWindow): [bigint, bigint] {
  return [BigInt(fromUs), BigInt(toUs)]
}
