import { PIECE_BYTES, packLines, type ResultLine, rootKey } from './lines'
import { type AnalysisPiece, type Load, newLoad } from './model'
import { ResultReader } from './result-reader'

/** Lines that wait until there are enough for a piece; above, the largest heap becomes a piece. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024
const NEWLINE = Buffer.from('\n')

/** Lines of a kind that are about the same root operation, and aren't in a piece yet. */
interface Heap {
  kind: string
  root: bigint
  /** How many pieces there are of it. */
  pieces: number
  lines: Buffer[]
  bytes: number
}

/**
 * Makes a load of results: packs lines together that are read together. Only a load that is whole reaches the store, so a broken file
 * changes nothing.
 *
 *     chunks ─ checked lines ─┬ heap of (path, GET /checkout) ─ pieces, deflated
 *                             ├ heap of (edge) ─ pieces
 *                             └ …
 */
export class LoadMaker {
  private readonly reader: ResultReader
  private readonly heaps = new Map<string, Heap>()
  private waitingBytes = 0
  private readonly pieces: AnalysisPiece[] = []

  /** @param name of the file, for messages */
  constructor(name: string) {
    this.reader = new ResultReader(name)
  }

  /** Takes the next bytes of the results. @throws BadResults */
  async add(chunk: Buffer): Promise<void> {
    for (const { result, line } of this.reader.add(chunk)) await this.put(result, line)
  }

  /** Takes the last line, if no newline ended it. @throws BadResults */
  async finish(nowUs: number): Promise<Load & { results: number }> {
    for (const { result, line } of this.reader.end()) await this.put(result, line)
    for (const heap of this.heaps.values()) await this.pack(heap)
    const { window, summary, results } = this.reader
    return { ...window, load: newLoad(nowUs), loadedUs: nowUs, summary, pieces: this.pieces, results }
  }

  private async put({ kind, root }: ResultLine, line: Buffer): Promise<void> {
    const key = root === undefined ? 0n : rootKey(root)
    const name = `${kind} ${key}`
    let heap = this.heaps.get(name)
    if (heap === undefined) {
      heap = { kind, root: key, pieces: 0, lines: [], bytes: 0 }
      this.heaps.set(name, heap)
    }
    heap.lines.push(Buffer.concat([line, NEWLINE]))
    heap.bytes += line.length + 1
    this.waitingBytes += line.length + 1
    if (heap.bytes >= PIECE_BYTES) await this.pack(heap)
    else if (this.waitingBytes > MAX_WAITING_BYTES) {
      await this.pack([...this.heaps.values()].reduce((a, b) => (b.bytes > a.bytes ? b : a)))
    }
  }

  private async pack(heap: Heap): Promise<void> {
    const { kind, root, lines, bytes } = heap
    if (bytes === 0) return
    this.pieces.push({ kind, root, piece: heap.pieces++, body: await packLines(lines) })
    this.waitingBytes -= bytes
    heap.lines = []
    heap.bytes = 0
  }
}
