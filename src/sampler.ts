import { MiloError } from './errors'

/** Decides which new traces are kept. Children never ask: they inherit. */
export interface Sampler {
  /**
   * @param operation the root span's name
   * @param randomness the trace id's low 56 bits as a fraction in [0, 1): keep if and only if it is ≥ 1 − p, so that
   *   every process that knows p decides alike
   * @returns the probability p with which the trace was kept, a float32 in (0, 1]; or −1: not kept
   */
  sample(operation: string, randomness: number): number
}

export const NOT_KEPT = -1

export const always: Sampler = { sample: () => 1 }
export const never: Sampler = { sample: () => NOT_KEPT }

/** Keeps each trace with the same probability, rounded to float32 first, because that is what travels. */
export function withProbability(probability: number): Sampler {
  const p = Math.fround(probability)
  if (p === 0) return never
  return { sample: (_operation, randomness) => (randomness >= 1 - p ? p : NOT_KEPT) }
}

/** `always`, `never`, `probability:0.01`. @throws MiloError MILO_BAD_SAMPLER */
export function samplerFrom(text: string): Sampler {
  if (text === 'always') return always
  if (text === 'never') return never
  if (text === 'adaptive') {
    throw new MiloError(
      'MILO_BAD_SAMPLER',
      "the sampler 'adaptive' isn't there yet; use always, never or probability:0.01",
    )
  }
  const match = /^probability:([\d.eE+-]+)$/.exec(text)
  const p = match ? Number(match[1]) : Number.NaN
  if (!(p >= 0 && p <= 1)) {
    throw new MiloError(
      'MILO_BAD_SAMPLER',
      `sampler must be always, never or probability:P with P from 0 to 1, got '${text}'`,
    )
  }
  return withProbability(p)
}
