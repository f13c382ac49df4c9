/**
 * Returns the probability with which a trace was kept, by its spans: 0 if it was forced, null if no span says. All spans were kept with the
 * same one; where they say different ones, the smallest counts.
 */
export function jointProbability(spans: Iterable<{ probability?: number | null | undefined }>): number | null {
  let smallest: number | null = null
  for (const { probability: p } of spans) {
    if (p === 0) return 0
    if (typeof p === 'number' && p > 0 && p <= 1 && p < (smallest ?? Infinity)) smallest = p
  }
  return smallest
}

/** Returns how many traces a trace stands for: a forced one, which was kept because somebody wanted it, for none. */
export function weightOf(probability: number | null): number {
  if (probability === 0) return 0
  // A sender's nonsense mustn't outweigh everything else.
  return probability === null ? 1 : Math.min(1 / probability, MAX_WEIGHT)
}

const MAX_WEIGHT = 1e6
