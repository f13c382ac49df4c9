import type { Estimate, Exemplar, Figures } from '../../http/answers'
import { hexId } from '../../trace/ids'
import type { Counter } from './counter'
import * as estimates from './estimates'

/** Counters as the API's answers have them. */

export function figuresOf(counter: Counter): Figures {
  const quantile = (q: number) => orNull(estimates.quantileOf(counter, q), whole)
  return {
    calls: rounded(estimates.callsOf(counter), tenths),
    errors: rounded(estimates.errorsOf(counter), tenths),
    errorShare: orNull(estimates.errorShareOf(counter), millionths),
    mean: orNull(estimates.meanOf(counter), tenths),
    p50: quantile(0.5),
    p90: quantile(0.9),
    p95: quantile(0.95),
    p99: quantile(0.99),
    p999: quantile(0.999),
    records: counter.records,
    unknown: counter.unknown,
  }
}

export function exemplarsOf(counter: Counter): Exemplar[] {
  return counter.exemplars().map(({ traceId, startUs, durationUs, kind }) => {
    return { traceId: hexId(traceId), start: startUs, duration: durationUs, kind }
  })
}

type Rounding = (n: number) => number
export const tenths: Rounding = n => Math.round(n * 10) / 10
export const whole: Rounding = n => Math.round(n)
export const millionths: Rounding = n => Math.round(n * 1e6) / 1e6

/** JSON has no infinity: null is where no limit is known. */
export function rounded({ value, low, high }: estimates.Estimate, round: Rounding): Estimate {
  const limit = (n: number) => (Number.isFinite(n) ? round(n) : null)
  return { value: round(value), low: limit(low), high: limit(high) }
}

function orNull(estimate: estimates.Estimate | undefined, round: Rounding): Estimate | null {
  return estimate === undefined ? null : rounded(estimate, round)
}
