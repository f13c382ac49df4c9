import type { MissingHalf } from '../../src/trace'
import { type Columns, spanIdAt } from './columns'

/** What a trace that was kept after the fact lacks, by the indexes of the spans at which it shows. */
export type MissingAt = ReadonlyMap<number, MissingHalf[]>

export const NOTHING_MISSING: MissingAt = new Map()

export function missingAt(columns: Columns, missing: MissingHalf[]): MissingAt {
  const bySpan = new Map<string, MissingHalf[]>()
  for (const half of missing) bySpan.set(half.shownAt, [...(bySpan.get(half.shownAt) ?? []), half])
  // Most spans aren't sought: a number tells.
  const sought = new Set(missing.map(({ shownAt }) => Number.parseInt(shownAt.slice(8), 16) | 0))
  const found = new Map<number, MissingHalf[]>()
  for (let i = 0; i < columns.count; i++) {
    const halves = sought.has(columns.integers.idLow[i]!) ? bySpan.get(spanIdAt(columns, i)) : undefined
    if (halves !== undefined) found.set(i, halves)
  }
  return found
}

/** In a word or two, for a row. */
export const WHY_MISSING = {
  no_history: 'no history',
  overwritten: 'overwritten',
  ended: 'ended',
  unsent: 'not sent',
  unknown: 'not known',
} as const

/** Behind a number of halves. */
export const WHY_THEY_ARE_MISSING = {
  no_history: 'because no process with a history is known there',
  overwritten: 'because a history was overwritten before it was asked',
  ended: 'because a process had ended',
  unsent: 'not sent: a limit was reached, they hadn’t ended, or they are still on their way',
  unknown: 'of which it isn’t known, or not yet',
} as const

const HALVES = { server: 'The server’s half', client: 'The caller’s span', inner: 'The earlier part' } as const

/** In a row. */
export const SHORT_HALVES = { server: 'server', client: 'parent', inner: 'inside' } as const

export function halfName({ side }: MissingHalf): string {
  return HALVES[side]
}

/** Says what is missing and why, with times in the viewer's zone. @param local formats a time */
export function detailText({ detail }: MissingHalf, local: (us: number) => string): string {
  return detail.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, iso => local(Date.parse(iso) * 1000))
}
