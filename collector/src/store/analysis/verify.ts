import { Turns } from '../../turns'
import type { Finding } from '../verify'
import { rootKey, unpackLines } from './lines'
import { type AnalysisPiece, type AnalysisWindow, problemWithEnd, type StoredAnalysis, windowId } from './model'
import { problemWith } from './result-lines'

/** What verifying reads of a store. */
export interface AnalysesToVerify {
  /** All windows that have results. */
  windows: StoredAnalysis[]
  /** Reads all pieces of a window, one kind and root operation after the other; undefined if it has gone meanwhile. */
  pieces(window: AnalysisWindow): Promise<AnalysisPiece[] | undefined>
}

/**
 * Reads all results of analyses: whether each line is where it is looked for, and as it was loaded, and whether all are there. The store has
 * nothing to make them anew from.
 * @param progress called with how many windows are done
 */
export async function verifyAnalyses(
  { windows, pieces }: AnalysesToVerify,
  report: (finding: Finding) => void,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const turns = new Turns()
  for (const [i, window] of windows.entries()) {
    const found = await pieces(window)
    const what = found && (await problemWithResults(window, found, turns))
    if (what !== undefined) {
      const where = `the results of ${windowId(window)}`
      report({ where, what: `${what}; or remove them by DELETE /api/analysis`, repaired: false })
    }
    progress(i + 1, windows.length)
  }
}

/** Says what is wrong, with a remedy. */
async function problemWithResults(
  window: StoredAnalysis,
  pieces: AnalysisPiece[],
  turns: Turns,
): Promise<string | undefined> {
  let results = 0
  let said: number | undefined
  try {
    const summary = problemWith(JSON.parse(window.summary))
    if (summary !== undefined) return `their first line: ${summary}`
    for (const { kind, root, body } of pieces) {
      for (const line of await unpackLines(body, window)) {
        const problem = problemWith(line)
        if (problem !== undefined) return `a line ${problem}`
        const isHere = line.kind === kind && root === (line.root === undefined ? 0n : rootKey(line.root))
        if (!isHere) return `a line of kind ${line.kind} is stored where no reader looks for it: load them again`
        if (kind === 'end') said = (line as unknown as { results: number }).results
        else results++
      }
      if (turns.over()) await turns.next()
    }
  } catch (error) {
    return (error as Error).message
  }
  return problemWithEnd(results, said)
}
