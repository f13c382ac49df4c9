/** Results of offline analyses in the store: lines of JSON, by the window of time that was analysed. */

/** The window whose traces were analysed; microseconds since the epoch. */
export interface AnalysisWindow {
  fromUs: number
  /** Exclusive. */
  toUs: number
}

/** A window as addresses and messages have it: its first hour, and the one after its last, such as 2026-11-30T10..2026-11-30T12. */
export function windowId({ fromUs, toUs }: AnalysisWindow): string {
  const [from, to] = [fromUs, toUs].map(us => new Date(us / 1000).toISOString().slice(0, 13))
  return `${from}..${to}`
}

export interface StoredAnalysis extends AnalysisWindow {
  /** Microseconds since the epoch. */
  loadedUs: number
  /** The results' first line: a JSON document. */
  summary: string
}

/** Some of the lines of a kind that are about the same root operation. */
export interface AnalysisPiece {
  kind: string
  /** rootKey() of the root operation; 0 where the lines are about none. */
  root: bigint
  /** From 0, in the order of the lines. */
  piece: number
  /** Deflated: see lines.ts. */
  body: Buffer
}

/** Traces by their latency, as results divide them: those up to the median, and so on. */
export const BANDS = ['p50', 'p50-p95', 'p95-p99', 'p99'] as const
export type Band = (typeof BANDS)[number]

/** What is to be stored of a window. */
export interface Load extends StoredAnalysis {
  /** newLoad() */
  load: bigint
  pieces: AnalysisPiece[]
}

export interface AnalysisQuery extends AnalysisWindow {
  kinds: string[]
  /** rootKey(); without it, lines about all root operations are read. */
  root?: bigint
}

export interface AnalysisRead extends StoredAnalysis {
  /** Those of the pieces that were asked for, in order. */
  bodies: Buffer[]
}

/** Loads are made by load.ts, and what is read is decoded by lines.ts. */
export interface Analyses {
  /** Lists the windows that have results, those that end last first: at most MAX_WINDOWS. */
  analyses(): Promise<StoredAnalysis[]>
  /** Puts a load into the place of the results that the window had. Readers see all of those, or all of these. */
  saveAnalysis(load: Load): Promise<void>
  /** Reads results as they are at one moment. @returns undefined if the window has none */
  readAnalysis(query: AnalysisQuery): Promise<AnalysisRead | undefined>
  /** @returns whether the window had results */
  deleteAnalysis(window: AnalysisWindow): Promise<boolean>
}

/**
 * Says what is missing of a window's results; undefined if they are whole.
 * @param results how many there are between the first line and the last one
 * @param said how many the last line, of kind "end", says there are; undefined without such a line
 */
export function problemWithEnd(results: number, said: number | undefined): string | undefined {
  if (said === results) return undefined
  const what = said === undefined ? 'its last line is not of kind "end"' : `it has ${results} results of ${said}`
  return `it is not whole: ${what}. A copy was cut, or what wrote it failed: run milo-collector reduce --merge again`
}

export const MAX_WINDOWS = 1_000

/** Returns a number that no other load has; those of a later second are larger. */
export function newLoad(nowUs: number): bigint {
  return firstLoad(nowUs) + BigInt(Math.floor(Math.random() * LOADS_A_SECOND))
}

/** Returns the least number of a load of this second. */
export function firstLoad(us: number): bigint {
  return BigInt(Math.floor(us / 1e6)) * BigInt(LOADS_A_SECOND)
}

const LOADS_A_SECOND = 1_024_000_000
