import type { Estimate } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'

/** An estimate in words. */
export interface Told {
  /** The value and its unit: "12.3/s". */
  text: string
  /**
   * How far off it may be, in the same unit: "± 0.4"; "+110 −3" if one limit is more than twice as far as the other; with "?" where
   * nobody knows. Empty if it is exact to all digits that are shown.
   */
  margin: string
  /** The interval in a sentence; empty if it is exact. */
  between: string
}

const UNKNOWN: Told = { text: '–', margin: '', between: '' }

/** "12.3/s", "40/min", "3/h" @param us the time in which the calls were made */
export function tellRate(calls: Estimate, us: number): Told {
  const [unit, unitUs] = rateUnit(calls.value, us)
  return tell(calls, us / unitUs, 3, n => `${n}/${unit}`)
}

function rateUnit(calls: number, us: number): [name: string, us: number] {
  const perSecond = calls / (us / 1e6)
  return perSecond >= 0.995 ? ['s', 1e6] : perSecond >= 1 / 61 ? ['min', 60e6] : ['h', 3600e6]
}

/** "0.41%"; null if there were no calls. */
export function tellShare(share: Estimate | null): Told {
  return share === null ? UNKNOWN : tell(share, 0.01, 2, n => `${n}%`)
}

/** "1,240 ± 30" */
export function tellCount(count: Estimate): Told {
  return tell(count, 1, 2, n => n)
}

/** "12,345" if it is known exactly; otherwise "about 12,300 (11,900–12,700)", with no more digits than are known. */
export function aboutCount({ value, low, high }: Estimate): string {
  if (low === value && high === value) return print(value, 0)
  const off = Math.max(value - (low ?? value), (high ?? value) - value)
  const digit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, off))))
  const round = (n: number) => print(Math.round(n / digit) * digit, 0)
  if (low === null && high === null) return `about ${round(value)}`
  if (high === null) return `${round(low!)} or more`
  if (low === null) return `at most ${round(high)}`
  return `about ${round(value)} (${round(low)}–${round(high)})`
}

const DURATIONS: [below: number, scale: number, unit: string][] = [
  [999.5, 1, 'µs'],
  [999_500, 1e3, 'ms'],
  [59_950_000, 1e6, 's'],
]

/** "41.3 ms"; null if no duration is known. */
export function tellDuration(us: Estimate | null): Told {
  if (us === null) return UNKNOWN
  const [, scale, unit] = DURATIONS.find(([below]) => us.value < below) ?? []
  if (scale !== undefined) return tell(us, scale, 3, n => `${n} ${unit}`)
  const { value, low, high } = us
  const limits = [low === null ? null : value - low, high === null ? null : high - value] as const
  const margin = low === high ? '' : marginOf(limits, us => (us < 1 ? '' : formatDuration(us)))
  return { text: formatDuration(value), margin, between: between(us, formatDuration) }
}

/**
 * Shows no more digits than are known: the margin's first, or its first two if it begins with 1.
 * @param scale the size of the unit @param digits of a value that is exact
 */
function tell(estimate: Estimate, scale: number, digits: number, inUnit: (number: string) => string): Told {
  const { low, high } = estimate
  const value = estimate.value / scale
  // Nothing has no first digit, but the margin has one.
  const most = value === 0 ? digits - 1 : decimalsFor(Math.abs(value), digits)
  const sentence = between(estimate, n => inUnit(print(n / scale, most)))
  const off = (us: number | null) => (us === null ? null : Number((us / scale).toPrecision(2)))
  const [below, above] = [
    off(low === null ? null : estimate.value - low),
    off(high === null ? null : high - estimate.value),
  ]
  const known = [below, above].filter(limit => limit !== null)
  const isExact = known.length === 2 && Math.max(...known) * 10 ** most < 0.5
  if (isExact) return { text: inUnit(print(value, most)), margin: '', between: '' }
  // Where one limit isn't known the value's digits aren't either, but the other limit's are all that there is to go by.
  const coarse = Math.max(0, ...known)
  const decimals = coarse === 0 ? most : Math.min(most, decimalsFor(coarse, /^[0.]*1/.test(String(coarse)) ? 2 : 1))
  const show = (limit: number) => (limit * 10 ** decimals < 0.5 ? '' : print(limit, decimals))
  return { text: inUnit(print(value, decimals)), margin: marginOf([below, above], show), between: sentence }
}

/** @param show returns nothing for what is too small to be shown */
function marginOf([below, above]: readonly [number | null, number | null], show: (limit: number) => string): string {
  if (below === null && above === null) return '± ?'
  if (below !== null && above !== null) {
    const [near, far] = below < above ? [below, above] : [above, below]
    if (far <= 2 * near) return `± ${show(far)}`
  }
  const part = (sign: string, limit: number | null) => {
    const text = limit === null ? '?' : show(limit)
    return text === '' ? [] : [sign + text]
  }
  return [...part('+', above), ...part('−', below)].join(' ')
}

/** How many decimals show so many digits; thousands are shown to the last. */
function decimalsFor(value: number, digits: number): number {
  if (value === 0) return 0
  return Math.min(6, Math.max(0, digits - 1 - Math.floor(Math.log10(value) + 1e-9)))
}

function print(value: number, decimals: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: decimals })
}

function between({ value, low, high }: Estimate, show: (n: number) => string): string {
  if (low === value && high === value) return ''
  if (low === null && high === null) return 'Too little was sampled to say how far off this may be.'
  if (high === null) return `${show(low!)} or more, with a probability of 95%`
  if (low === null) return `${show(high)} or less, with a probability of 95%`
  return `Between ${show(low)} and ${show(high)}, with a probability of 95%`
}

/** Classes of the share of failed calls, as colors have them: none, below 1%, below 5%, below 25%, and more. */
export type ErrorClass = 'none' | 'low' | 'medium' | 'high' | 'severe'

export function errorClass(share: Estimate | null): ErrorClass {
  const value = share?.value ?? 0
  return value >= 0.25 ? 'severe' : value >= 0.05 ? 'high' : value >= 0.01 ? 'medium' : value > 0 ? 'low' : 'none'
}

/** Whether a share is worth a word beside the rate. */
export function isNotable(share: Estimate | null): boolean {
  return (share?.value ?? 0) >= 0.01
}
