import { type Counts, countsInWords, Reporter } from '../offline/counts'
import { BadInput } from '../offline/lines'
import { CommandError } from './command-error'

/** What a line program says on standard error. */
interface LineReport {
  /** To be called after each line. */
  now(): void
  end(): void
}

/**
 * Reports counters now and then if Hadoop Streaming runs the program, and a line of words at its end otherwise.
 * @param isReporter undefined to look for what Hadoop Streaming sets in the environment
 */
export function lineReport(
  program: string,
  counts: () => Counts,
  isReporter = process.env.mapreduce_job_id !== undefined,
): LineReport {
  const write = (text: string) => process.stderr.write(text)
  if (!isReporter) return { now() {}, end: () => write(`milo-collector ${program}: ${countsInWords(counts())}\n`) }
  const reporter = new Reporter(program, counts, write)
  return { now: () => reporter.now(), end: () => reporter.report() }
}

/** Runs a line program. @throws CommandError for an input that it can't go on with */
export function refusing(run: () => void): void {
  try {
    run()
  } catch (error) {
    throw error instanceof BadInput ? new CommandError(error.message) : error
  }
}
