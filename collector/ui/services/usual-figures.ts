import type { Estimate } from '../../src/http/answers'

/**
 * Classes a quantile of many calls by the same quantile of the last days: more than twice as much, more than a third more, and
 * the rest. What chance may have made isn't slow: the lower limit has to be.
 */
export function slowness(now: Estimate, usualUs: number | undefined): 'high' | 'medium' | undefined {
  if (usualUs === undefined || usualUs <= 0) return undefined
  const times = (now.low ?? 0) / usualUs
  return times > 2 ? 'high' : times > 4 / 3 ? 'medium' : undefined
}
