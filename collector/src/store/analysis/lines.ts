import { promisify } from 'node:util'
import { deflate, inflate } from 'node:zlib'
import type { Turns } from '../../turns'
import { hash64 } from '../hash64'
import { StoreError } from '../store'
import { type Analyses, type AnalysisWindow, type StoredAnalysis, windowId } from './model'
import type { LineKind, LineOf } from './result-lines'

/** The root operation that a line is about. A service is null where it is unknown. */
export interface Root {
  service: string | null
  name: string
}

/** A line that problemWith() has found nothing wrong with. */
export interface ResultLine {
  kind: string
  root?: Root
}

/** A piece has about this many bytes of lines, before they are deflated. */
export const PIECE_BYTES = 128 * 1024
/** A line that is added to a piece may be as long as this. */
export const MAX_LINE_BYTES = 64 * 1024
/** Of JSON, a fast level makes a tenth. */
const DEFLATE = { level: 3 }
const INFLATE = { maxOutputLength: PIECE_BYTES + MAX_LINE_BYTES }

export function rootKey({ service, name }: Root): bigint {
  // 0 is for lines without a root.
  return hash64(JSON.stringify([service, name])) || 1n
}

export function packLines(lines: Buffer[]): Promise<Buffer> {
  return promisify<Buffer, object, Buffer>(deflate)(Buffer.concat(lines), DEFLATE)
}

/** What to do with lines, by their kind: only lines of these kinds are read. */
export type Visitors = { [K in LineKind]?: (line: LineOf<K>) => void }

/**
 * Reads lines as they are at one moment.
 * @param root only those about this root operation
 * @returns undefined if the window has no results
 * @throws StoreError for what isn't as it was written
 */
export async function readLines(
  analyses: Pick<Analyses, 'readAnalysis'>,
  window: AnalysisWindow,
  root: Root | undefined,
  visitors: Visitors,
  turns: Turns,
): Promise<StoredAnalysis | undefined> {
  const kinds = Object.keys(visitors)
  const read = await analyses.readAnalysis({ ...window, kinds, ...(root && { root: rootKey(root) }) })
  if (read === undefined) return undefined
  for (const body of read.bodies) {
    for (const line of await unpackLines(body, window)) {
      // Another root may have the same key.
      if (root !== undefined && (line.root?.name !== root.name || line.root.service !== root.service)) continue
      visitors[line.kind as LineKind]?.(line as never)
    }
    if (turns.over()) await turns.next()
  }
  return read
}

/** Reads a piece. @throws StoreError if it isn't as it was written */
export async function unpackLines(body: Buffer, window: AnalysisWindow): Promise<ResultLine[]> {
  try {
    const text = (await promisify<Buffer, object, Buffer>(inflate)(body, INFLATE)).toString()
    return text
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line))
  } catch (error) {
    throw new StoreError(
      'MILO_STORE_DAMAGED',
      `the results of ${windowId(window)} aren't as they were written (${(error as Error).message}): load them again`,
    )
  }
}
