/**
 * Whether a difference between two groups of traces is more than chance, and how much it tells. Pure arithmetic, small enough to be
 * checked by hand.
 */

/** Four counts: how many of each group have a feature, and how many traces each group has. Whole numbers. */
export interface Counts {
  selected: number
  selectedOf: number
  others: number
  othersOf: number
}

/** Natural logarithms of factorials, as far as they have been needed: a sample has some thousand traces. */
const logFactorials: number[] = [0]

function logFactorial(n: number): number {
  for (let i = logFactorials.length; i <= n; i++) logFactorials.push(logFactorials[i - 1]! + Math.log(i))
  return logFactorials[n]!
}

function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k)
}

/** The probability that exactly `x` of the traces with the feature are selected ones, if being selected has nothing to do with it. */
function chanceOf(x: number, { selected, selectedOf, others, othersOf }: Counts): number {
  const having = selected + others
  return Math.exp(logChoose(selectedOf, x) + logChoose(othersOf, having - x) - logChoose(selectedOf + othersOf, having))
}

/** The fewest and the most of the traces with the feature that can be selected ones. */
function bounds({ selected, selectedOf, others, othersOf }: Counts): [number, number] {
  const having = selected + others
  return [Math.max(0, having - othersOf), Math.min(having, selectedOf)]
}

/**
 * Fisher's exact test, two-sided by doubling the smaller tail: the probability that chance alone makes a difference as large as
 * this in either direction. It needs no approximation for small counts, which is where the interesting features often are.
 */
export function fisherExact(counts: Counts): number {
  const { selected, selectedOf, others, othersOf } = counts
  const [least, most] = bounds(counts)
  const having = selected + others
  const isMore = selected * othersOf >= others * selectedOf
  // From what was seen outward: the terms fall, at the end geometrically.
  let term = chanceOf(selected, counts)
  let tail = term
  for (let x = selected; isMore ? x < most : x > least; ) {
    term *= isMore
      ? ((selectedOf - x) * (having - x)) / ((x + 1) * (othersOf - having + x + 1))
      : (x * (othersOf - having + x)) / ((selectedOf - x + 1) * (having - x + 1))
    x += isMore ? 1 : -1
    tail += term
    if (term < tail * 1e-16) break
  }
  return Math.min(1, 2 * tail)
}

/**
 * The smallest p-value that any division of the traces with the feature could have. A feature of two traces can't be significant
 * however they are divided, so it needn't be tested, and doesn't make the others' correction stricter (Tarone, 1990).
 */
export function smallestP(counts: Counts): number {
  const [least, most] = bounds(counts)
  return Math.min(1, 2 * Math.min(chanceOf(least, counts), chanceOf(most, counts)))
}

/**
 * How many times as frequent the feature is among the selected traces as among the others. Half a trace is added to each count, so
 * that "none of the others" has a finite lift, which grows with the number of traces that say so.
 */
export function smoothedLift({ selected, selectedOf, others, othersOf }: Counts): number {
  return (selected + 0.5) / (selectedOf + 1) / ((others + 0.5) / (othersOf + 1))
}

/**
 * How much the feature tells about whether a trace is selected, in bits, if both groups were of the same size (the Jensen–Shannon
 * divergence of the two shares): 1 when all selected traces have it and none of the others, or the reverse; 0 when the shares are
 * equal. Unlike the lift it prefers what most selected traces have to what only a few have.
 */
export function informationBits(selectedShare: number, othersShare: number): number {
  const middle = (selectedShare + othersShare) / 2
  return Math.max(0, entropy(middle) - (entropy(selectedShare) + entropy(othersShare)) / 2)
}

function entropy(share: number): number {
  return share <= 0 || share >= 1 ? 0 : -share * Math.log2(share) - (1 - share) * Math.log2(1 - share)
}
