import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeAnalyses } from '../../../collector/src/offline/analyses'
import { type Hours, parseHours } from '../../../collector/src/offline/hours'
import { LineReader, LineWriter } from '../../../collector/src/offline/lines'
import { Mapper } from '../../../collector/src/offline/map'
import { COUNTS_KEY, MAX_LINE_BYTES } from '../../../collector/src/offline/record-line'
import { PartialMerger, Reducer } from '../../../collector/src/offline/reduce'
import { encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { hex } from '../support'

/** The line programs, run in this process on files. */

/** Runs a program with these lines as its input. @returns the lines that it wrote */
function run(
  input: string | Buffer,
  program: (input: LineReader, output: LineWriter) => void,
  maxLine = MAX_LINE_BYTES,
) {
  const directory = mkdtempSync(join(tmpdir(), 'milo-program-'))
  const [inputFile, outputFile] = [join(directory, 'input'), join(directory, 'output')]
  writeFileSync(inputFile, input)
  const [inputFd, outputFd] = [openSync(inputFile, 'r'), openSync(outputFile, 'w')]
  try {
    program(new LineReader(inputFd, maxLine), new LineWriter(outputFd))
    return readFileSync(outputFile, 'utf8').split('\n').slice(0, -1)
  } finally {
    closeSync(inputFd)
    closeSync(outputFd)
    rmSync(directory, { recursive: true })
  }
}

/** A line of records, as export and map write it. */
export function lineOf(records: SpanRecord[], key = hex(records[0]!.traceId!)): string {
  return `${key}\t${Buffer.concat(records.map(encodeRecord)).toString('base64')}`
}

/** Maps lines. @returns all that was written, and the lines of traces among it */
export function map(input: string | Buffer, maxLine?: number) {
  let counts: Mapper['counts'] | undefined
  const lines = run(
    input,
    (input, output) => {
      const mapper = new Mapper(input, output)
      mapper.run(() => {})
      counts = mapper.counts
    },
    maxLine,
  )
  return { lines, traces: lines.filter(line => !line.startsWith(COUNTS_KEY)), counts: counts! }
}

interface ReduceOptions {
  hours?: string
  maxSpans?: number
  maxBytes?: number
  only?: string[]
}

export function reduce(lines: string[], { hours, maxSpans = 100_000, maxBytes = 2 ** 30, only }: ReduceOptions = {}) {
  const limits = { records: maxSpans, bytes: maxBytes }
  const within: Hours | undefined = hours === undefined ? undefined : parseHours(hours)
  return run(text(lines), (input, output) =>
    new Reducer(makeAnalyses(only), limits, within).run(input, output, () => {}),
  )
}

/** Merges partial results. @returns the results' lines */
export function merge(partials: string[], only?: string[]): string[] {
  return run(text(partials), (input, output) => new PartialMerger(makeAnalyses(only)).run(input, output, () => {}))
}

/** What all three programs make of these lines: results by kind. */
export function resultsOf(lines: string[], options?: ReduceOptions): Record<string, any[]> {
  const results: Record<string, any[]> = {}
  const mapped = map(text(lines)).lines.sort()
  for (const line of merge(reduce(mapped, options))) {
    const result = JSON.parse(line)
    results[result.kind] ??= []
    results[result.kind]!.push(result)
  }
  return results
}

export function text(lines: string[]): string {
  return lines.map(line => `${line}\n`).join('')
}
