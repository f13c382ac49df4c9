import { MAX_LINE_BYTES, type ResultLine } from './lines'
import { type AnalysisWindow, problemWithEnd } from './model'
import { type LineOf, problemWith, type WindowLine, windowOf } from './result-lines'

/** Lines of all results of a window together. */
const MAX_WINDOW_BYTES = 64 * 1024 * 1024
const NEWLINE = 10

/** The results aren't what they should be: says which line is wrong, and how to mend it. */
export class BadResults extends Error {}

/** Reads the results of one window, and checks each line and that they are whole. */
export class ResultReader {
  private readonly name: string
  private rest: Buffer[] = []
  private restBytes = 0
  /** How many lines there were. */
  private line = 0
  private bytes = 0
  private first: WindowLine | undefined
  /** How many results the last line says there are. */
  private said: number | undefined
  /** How many results there are, without the window and the end. */
  results = 0
  /** The first line. */
  summary = ''

  /** @param name of the file, for messages */
  constructor(name: string) {
    this.name = name
  }

  /** What the results are about, once they have been read. */
  get window(): AnalysisWindow {
    return windowOf(this.first!)!
  }

  /** Takes the next bytes. @returns the lines that they complete, without the first. @throws BadResults */
  *add(chunk: Buffer): Generator<{ result: ResultLine; line: Buffer }> {
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
      yield* this.endLine()
      from = end + 1
    }
  }

  /** Takes the last line, if no newline ended it. @throws BadResults if these aren't all results of a window */
  *end(): Generator<{ result: ResultLine; line: Buffer }> {
    yield* this.endLine()
    if (this.first === undefined) {
      throw new BadResults(`${this.name}: it has no results: give a file that milo-collector reduce --merge wrote`)
    }
    const problem = problemWithEnd(this.results, this.said)
    if (problem !== undefined) throw new BadResults(`${this.name}: ${problem}`)
  }

  private keep(part: Buffer): void {
    this.restBytes += part.length
    if (this.restBytes > MAX_LINE_BYTES) {
      throw this.bad(`it is longer than ${MAX_LINE_BYTES} bytes: give a file that milo-collector reduce --merge wrote`)
    }
    if (part.length > 0) this.rest.push(part)
  }

  private *endLine(): Generator<{ result: ResultLine; line: Buffer }> {
    const line = this.rest.length === 1 ? this.rest[0]! : Buffer.concat(this.rest)
    this.rest = []
    this.restBytes = 0
    this.line++
    if (line.length === 0 || line.toString('latin1').trim() === '') return
    const result = this.read(line)
    if (result.kind === 'window') {
      this.summary = line.toString()
      this.first = result as unknown as WindowLine
      return
    }
    // The end is a line of its window as well: it tells whether all are there.
    if (result.kind === 'end') this.said = (result as unknown as LineOf<'end'>).results
    else this.results++
    yield { result, line }
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
    const isFirst = this.first === undefined
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

  private bad(problem: string): BadResults {
    return new BadResults(`${this.name}: line ${this.line + (this.restBytes > 0 ? 1 : 0)}: ${problem}`)
  }
}
