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

/** With fewer values in a group, even the most different groups have no small p-value. */
export const MIN_RANKED = 4

/**
 * The rank-sum test of Mann and Whitney (1947), two-sided: the probability that chance alone makes two groups of numbers as different
 * as these, whatever their distribution. By the normal approximation, corrected for ties and continuity.
 * @returns null if there are too few numbers to tell
 */
export function rankSum(a: readonly number[], b: readonly number[]): number | null {
  const [m, n] = [a.length, b.length]
  if (m < MIN_RANKED || n < MIN_RANKED) return null
  const all = [...a.map(value => ({ value, isA: true })), ...b.map(value => ({ value, isA: false }))]
  all.sort((x, y) => x.value - y.value)
  let sumOfA = 0
  let ties = 0
  for (let from = 0; from < all.length; ) {
    let to = from
    while (to < all.length && all[to]!.value === all[from]!.value) to++
    const tied = to - from
    ties += tied ** 3 - tied
    // Equal values share the mean of their ranks.
    for (let i = from; i < to; i++) if (all[i]!.isA) sumOfA += (from + to + 1) / 2
    from = to
  }
  const total = m + n
  const variance = ((m * n) / 12) * (total + 1 - ties / (total * (total - 1)))
  if (variance <= 0) return 1
  const distance = Math.abs(sumOfA - (m * (total + 1)) / 2)
  return Math.min(1, 2 * upperTail(Math.max(0, distance - 0.5) / Math.sqrt(variance)))
}

/** The probability that a normal variable is above `z` ≥ 0, to seven digits (Abramowitz and Stegun 26.2.17). */
function upperTail(z: number): number {
  const t = 1 / (1 + 0.2316419 * z)
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  return (Math.exp(-(z ** 2) / 2) / Math.sqrt(2 * Math.PI)) * series
}
