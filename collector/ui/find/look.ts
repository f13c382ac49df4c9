import type { OverviewAnswer } from '../../src/http/answers'
import { nearestTime, print, type Query } from '../../src/query'
import { requestJson } from '../shell/json'
import { closerLook } from './plot-axes'

/** An overview, and how many traces of the search are so far from the others that it isn't about them. */
export interface Look extends OverviewAnswer {
  far: number
}

/** From years to milliseconds; each look is at least three times as close as the one before, and mostly fifty times. */
const MAX_LOOKS = 8

/**
 * Asks for the overview of a search.
 * @param only the search's parameters
 * @param open the search if it has no time range: then the overview is about the time in which nearly all of its traces began
 * @throws Problem
 */
export async function lookAt(only: string, open: Query | undefined, signal: AbortSignal): Promise<Look> {
  let look = await requestJson<OverviewAnswer>(`api/overview?${only}`, { signal })
  let far = 0
  for (let i = 1; i < MAX_LOOKS && open !== undefined; i++) {
    const times = closerLook(look)
    if (times === undefined) break
    far += times.outside
    const q = print({ ...open, from: nearestTime(times.from), to: nearestTime(times.to) })
    look = await requestJson<OverviewAnswer>(`api/overview?${new URLSearchParams({ q })}`, { signal })
  }
  // The closer the look, the better the estimate.
  const { value, low, high } = look.matching
  const matching = { value: value + far, low: low && low + far, high: high && high + far }
  return { ...look, matching, far }
}
