import type { AnalysedWindow } from '../../http/answers'
import { HttpError, quote } from '../../http/errors'
import { type Analyses, type AnalysisWindow, type StoredAnalysis, windowId } from '../../store/analysis/model'
import type { AskStore } from '../ask-store'
import { parsed } from '../parameters'

const WINDOW_REMEDY = 'give the id of a window, as GET /api/analysis lists them, such as 2026-11-30T10..2026-11-30T12'

export const windowParameter = parsed(parseWindow, WINDOW_REMEDY, 'MILO_BAD_WINDOW')

/** Reads what windowId() wrote. */
function parseWindow(id: string): AnalysisWindow | undefined {
  const [fromUs, toUs] = id.split('..').map(hour => Date.parse(`${hour}:00Z`) * 1000)
  if (!Number.isSafeInteger(fromUs) || !Number.isSafeInteger(toUs)) return undefined
  const window = { fromUs: fromUs!, toUs: toUs! }
  return windowId(window) === id ? window : undefined
}

export function windowAnswer(stored: StoredAnalysis): AnalysedWindow {
  const { kind, from, to, ...counts } = JSON.parse(stored.summary)
  return { id: windowId(stored), from: stored.fromUs, to: stored.toUs, loaded: stored.loadedUs, counts }
}

/** Returns the window that was asked for, or else the latest one. @throws HttpError if there is none */
export async function windowOrLatest(
  askStore: AskStore<Analyses>,
  given: AnalysisWindow | undefined,
): Promise<AnalysisWindow> {
  if (given !== undefined) return given
  const [latest] = await askStore(store => store.analyses())
  if (latest === undefined) {
    throw new HttpError(
      404,
      'MILO_NO_ANALYSIS',
      'nothing is analysed yet: run milo-collector export, map, reduce and load',
    )
  }
  return latest
}

export function noSuchAnalysis(window: AnalysisWindow): HttpError {
  const message = `${quote(windowId(window))} is not analysed, or its results are removed: GET /api/analysis lists the windows`
  return new HttpError(404, 'MILO_NO_SUCH_ANALYSIS', message)
}
