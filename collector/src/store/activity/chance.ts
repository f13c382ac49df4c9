import { benjaminiHochberg } from '../../false-discovery'

/** What is needed of the mathematics of chance. */

/** ln Γ(x) for x > 0, by Lanczos' approximation (g = 7, nine terms; Godfrey's coefficients), to 14 digits. */
function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  let sum = LANCZOS[0]!
  for (let i = 1; i < LANCZOS.length; i++) sum += LANCZOS[i]! / (x - 1 + i)
  const t = x + 6.5
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum)
}

const LANCZOS = [
  0.999_999_999_999_809_93, 676.520_368_121_885_1, -1_259.139_216_722_402_8, 771.323_428_777_653_13,
  -176.615_029_162_140_59, 12.507_343_278_686_905, -0.138_571_095_265_720_12, 9.984_369_578_019_571_6e-6,
  1.505_632_735_149_311_6e-7,
]

/** The regularized incomplete beta function I_x(a, b) for a, b > 0: by its continued fraction, after Lentz's method. */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  // The fraction converges fast on one side of the mean; the other side is its mirror.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a)
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a
  const away = (n: number) => (Math.abs(n) < 1e-300 ? 1e-300 : n)
  let c = 1
  let d = 1 / away(1 - ((a + b) * x) / (a + 1))
  let fraction = d
  // About √max(a, b) terms are needed.
  for (let m = 1; m < 100_000; m++) {
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / away(1 + term * d)
      c = away(1 + term / c)
      fraction *= c * d
    }
    if (Math.abs(c * d - 1) < 1e-12) break
  }
  return front * fraction
}

/** Returns the chance that Student's t is at least as far from 0 as this, to either side. */
export function chanceOfT(t: number, degrees: number): number {
  return Number.isNaN(t) ? 1 : incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5)
}

/**
 * Returns the chance that a share as far from `share` as `hits` of `tries`, or farther, comes about by chance: a binomial test to
 * both sides. Neither number has to be whole.
 */
export function chanceOfHits(hits: number, tries: number, share: number): number {
  if (tries <= 0 || share <= 0 || share >= 1) return 1
  const atLeast = hits <= 0 ? 1 : incompleteBeta(share, hits, tries - hits + 1)
  const atMost = hits >= tries ? 1 : incompleteBeta(1 - share, tries - hits, hits + 1)
  return Math.min(1, 2 * Math.min(atLeast, atMost))
}

/**
 * Returns which of many chances are too small to be by chance, so that of those at most a share `rate` is wrong on average
 * (Benjamini and Hochberg, "Controlling the false discovery rate", 1995).
 */
export function beyondChance(chances: readonly number[], rate: number): boolean[] {
  return benjaminiHochberg(chances, chances.length).map(q => q <= rate)
}

/**
 * Returns the correlation of whether two numbers are above the q-quantile, if the numbers are of normal distributions and have
 * the correlation r ≥ 0: by its series of Hermite polynomials (Pearson 1900).
 */
export function alikeBeyond(q: number, r: number): number {
  const z = normalQuantile(q)
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
  // The polynomials over √j!, so that they stay small.
  let [before, now, power, sum] = [0, 1, r, 0]
  for (let j = 1; j <= TERMS; j++) {
    sum += (power * now * now) / j
    ;[before, now] = [now, (z * now - Math.sqrt(j - 1) * before) / Math.sqrt(j)]
    power *= r
  }
  return Math.min(1, (sum * density * density) / (q * (1 - q)))
}

const TERMS = 40

/** Returns the number that a standard normal one is below with a chance of q: within 0.0005 (Abramowitz and Stegun, 26.2.23). */
function normalQuantile(q: number): number {
  const t = Math.sqrt(-2 * Math.log(Math.min(q, 1 - q)))
  const z =
    t - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t) / (1 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t ** 3)
  return q < 0.5 ? -z : z
}

/** How many standard deviations to both sides have 95% of a normal distribution. */
export const NORMAL = 1.96

/** Returns the limit of a gamma distribution, t standard deviations away: its cube root is nearly normal (Wilson and Hilferty 1931). */
export function gammaLimit(mean: number, variance: number, t: number): number {
  const shape = mean ** 2 / variance
  return mean * Math.max(0, 1 - 1 / (9 * shape) + t / (3 * Math.sqrt(shape))) ** 3
}
