import { setFlagsFromString } from 'node:v8'
import { ANALYSIS_NAMES, makeAnalyses } from '../offline/analyses'
import { parseHours } from '../offline/hours'
import { LineReader, LineWriter } from '../offline/lines'
import { MAX_LINE_BYTES } from '../offline/record-line'
import { PartialMerger, Reducer } from '../offline/reduce'
import { UsageError } from './command-error'
import { lineReport, refusing } from './line-report'

export interface ReduceOptions {
  merge?: boolean
  hours?: string
  only?: string[]
  maxSpans: number
  reporter?: boolean
}

/** How many bytes of a trace's records are analysed at most. */
const MAX_BYTES = 24 * 1024 * 1024

/**
 * Reduces the lines of standard input to partial results or, with `merge`, those to the results: see Reducer and PartialMerger.
 * @throws UsageError
 */
export function reduce({ merge, hours, only, maxSpans, reporter }: ReduceOptions): void {
  for (const name of only ?? []) {
    if (!ANALYSIS_NAMES.includes(name)) {
      throw new UsageError(`there is no analysis '${name}': give some of ${ANALYSIS_NAMES.join(', ')}`)
    }
  }
  if (merge && hours !== undefined) {
    throw new UsageError('--hours chooses traces, and partial results have none: give it to reduce without --merge')
  }
  // The space for new objects stays at 1 MiB in place of growing to 32, which are as fast here, and are a fifth of a giant trace's memory.
  setFlagsFromString('--semi-space-growth-factor=1')
  // Otherwise garbage is collected when the heap has grown to several times what is live.
  setFlagsFromString('--heap-growing-percent=20')
  const analyses = makeAnalyses(only)
  const [input, output] = [new LineReader(0, MAX_LINE_BYTES), new LineWriter(1)]
  if (merge) {
    const merger = new PartialMerger(analyses)
    const report = lineReport('merge', () => merger.counts, reporter)
    refusing(() => merger.run(input, output, () => report.now()))
    report.end()
    warnOfNothing('merge', merger.counts)
    return
  }
  const reducer = new Reducer(analyses, { records: maxSpans, bytes: MAX_BYTES }, hoursOf(hours))
  const { window } = reducer
  const report = lineReport('reduce', () => ({ ...window.counts, lines: window.flow.lines }), reporter)
  refusing(() => reducer.run(input, output, () => report.now()))
  report.end()
  warnOfNothing('reduce', window.counts, window.outsideHours())
}

/** One of several reducers may get nothing, and an hour without traffic has nothing. So it is no error. */
function warnOfNothing(
  program: string,
  { traces, outside }: { traces: number; outside: number },
  hours?: string,
): void {
  if (traces > 0) return
  const others =
    hours === undefined ? 'in other hours than reduce --hours says' : `in other hours, ${hours}: see --hours`
  const why = outside === 0 ? 'none has come' : `all ${outside} began ${others}`
  process.stderr.write(`milo-collector ${program}: warning: no trace is analysed: ${why}\n`)
}

function hoursOf(text: string | undefined) {
  try {
    return text === undefined ? undefined : parseHours(text)
  } catch (error) {
    throw new UsageError(`--hours ${(error as Error).message}`)
  }
}
