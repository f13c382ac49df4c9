import { MAX_LINE_BYTES, PIECE_BYTES, packLines, type ResultLine, rootKey } from './lines'
import { type AnalysisPiece, type Load, newLoad, problemWithEnd } from './model'
import { type LineOf, problemWith, type WindowLine, windowOf } from './result-lines'

/** Lines of all results of a window together. */
export const MAX_WINDOW_BYTES = 64 * 1024 * 1024
/** Lines that wait until there are enough for a piece; above, the largest heap becomes a piece. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024
const NEWLINE = Buffer.from('\n')

/** The results can't be loaded: says which line is wrong, and how to mend it. */
export class BadResults extends Error {}

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
 * Makes a load of results: checks each line, and packs lines together that are read together. Only a load that is whole reaches the
 * store, so a broken file changes nothing.
 *
 *     chunks ─ lines ─ checked ─┬ heap of (path, GET /checkout) ─ pieces, deflated
 *                               ├ heap of (edge) ─ pieces
 *                               └ …
 */
export class LoadMaker {
  private readonly name: string
  private rest: Buffer[] = []
  private restBytes = 0
  /** How many lines there were. */
  private line = 0
  /** How many results, without the window and the end. */
  private results = 0
  /** How many the last line says there are. */
  private said: number | undefined
  private bytes = 0
  private window: WindowLine | undefined
  private summary = ''
  private readonly heaps = new Map<string, Heap>()
  private waitingBytes = 0
  private readonly pieces: AnalysisPiece[] = []

  /** @param name of the file, for messages */
  constructor(name: string) {
    this.name = name
  }

  /** Takes the next bytes of the results. @throws BadResults */
  async add(chunk: Buffer): Promise<void> {
    this.bytes += chunk.length
    if (this.bytes > MAX_WINDOW_BYTES) {
      throw new BadResults(
        `${this.name}: more than ${MAX_WINDOW_BYTES / 1024 ** 2} MiB of results for one window: analyse fewer hours at a time, or fewer kinds (reduce --only)`,
      )
    }
    for (let from = 0; from < chunk.length; ) {
      const end = chunk.indexOf(NEWLINE, from)
      this.keep(chunk.subarray(from, end === -1 ? chunk.length : end))
      if (end === -1) return
      await this.endLine()
      from = end + 1
    }
  }

  /** Takes the last line, if no newline ended it. @throws BadResults */
  async finish(nowUs: number): Promise<Load & { results: number }> {
    await this.endLine()
    if (this.window === undefined) {
      throw new BadResults(`${this.name}: it has no results: give a file that milo-collector reduce --merge wrote`)
    }
    const problem = problemWithEnd(this.results, this.said)
    if (problem !== undefined) throw new BadResults(`${this.name}: ${problem}`)
    for (const heap of this.heaps.values()) await this.pack(heap)
    const { summary, pieces, results } = this
    return { ...windowOf(this.window)!, load: newLoad(nowUs), loadedUs: nowUs, summary, pieces, results }
  }

  private keep(part: Buffer): void {
    this.restBytes += part.length
    if (this.restBytes > MAX_LINE_BYTES) {
      throw this.bad(`it is longer than ${MAX_LINE_BYTES} bytes: give a file that milo-collector reduce --merge wrote`)
    }
    if (part.length > 0) this.rest.push(part)
  }

  private async endLine(): Promise<void> {
    const line = this.rest.length === 1 ? this.rest[0]! : Buffer.concat(this.rest)
    this.rest = []
    this.restBytes = 0
    this.line++
    if (line.length === 0 || line.toString('latin1').trim() === '') return
    const result = this.read(line)
    if (result.kind === 'window') {
      this.summary = line.toString()
      this.window = result as unknown as WindowLine
      return
    }
    // The end is kept as well: it tells whether all pieces are there.
    if (result.kind === 'end') this.said = (result as unknown as LineOf<'end'>).results
    else this.results++
    await this.put(result, line)
  }

  /** @throws BadResults */
  private read(line: Buffer): ResultLine {
    let result: ResultLine
    try {
      result = JSON.parse(line.toString())
    } catch (error) {
      throw this.bad(`it isn't JSON (${(error as Error).message})`)
    }
    const problem = problemWith(result)
    if (problem !== undefined) throw this.bad(problem)
    const isFirst = this.window === undefined
    if (isFirst !== (result.kind === 'window')) {
      throw this.bad(
        isFirst
          ? `the first line must be of kind "window", not "${result.kind}": give the results of milo-collector reduce --merge, not a part of them`
          : 'it begins the results of another window: load each file by itself',
      )
    }
    if (this.said !== undefined) throw this.bad('it comes after the end of the results: load each file by itself')
    return result
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

  private bad(problem: string): BadResults {
    return new BadResults(`${this.name}: line ${this.line + (this.restBytes > 0 ? 1 : 0)}: ${problem}`)
  }
}
