/**
 * Corrects p-values for the number of tests (Benjamini and Hochberg, 1995): of what is listed with at most q, a share of q is there
 * by chance on average.
 * @param pValues the smallest p-values, in any order: all that are at most the q that the caller lists
 * @param tests the number of tests, those with larger p-values included
 * @returns a q-value for each, in the same order
 */
export function benjaminiHochberg(pValues: readonly number[], tests: number): number[] {
  const order = pValues.map((_, i) => i).sort((a, b) => pValues[a]! - pValues[b]!)
  const qValues = new Array<number>(pValues.length)
  let least = 1
  for (let rank = order.length; rank > 0; rank--) {
    const i = order[rank - 1]!
    least = Math.min(least, (pValues[i]! * tests) / rank)
    qValues[i] = least
  }
  return qValues
}
