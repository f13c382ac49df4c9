import { MiloError } from '../errors'

/** Decides which new traces are kept. Children never ask: they inherit. */
export interface Sampler {
  /**
   * @param operation the root span's name
   * @param randomness the trace id's low 56 bits as a fraction in [0, 1): keep if and only if it is ≥ 1 − p, so that
   *   every process that knows p decides alike
   * @returns the probability p with which the trace was kept, a float32 in (0, 1]; or −1: not kept
   */
  sample(operation: string, randomness: number): number
  /**
   * Called while traces are kept, at most every 100 ms, with how hard it is to get spans out.
   * @param pressure how full the buffer is, from 0 to 1; 1 also while Scribe answers TRY_LATER
   */
  adjust?(pressure: number): void
  /** The rates that stats() shows as `sampling`. */
  rates?(): SamplingRates
}

/** How many traces a sampler sees and keeps. */
export interface SamplingRates {
  /** How many names have a rate of their own. */
  operations: number
  /** Calls per second above which an operation isn't kept whole any more; null when all are. */
  level: number | null
  /** The part of the target that is used while downstream can't take more; 1 is all of it. */
  share: number
  /** New traces per second, and those of them that were kept, in the last second or longer that was looked at. */
  startedPerSecond: number
  keptPerSecond: number
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
  const match = /^probability:([\d.eE+-]+)$/.exec(text)
  const p = match ? Number(match[1]) : Number.NaN
  if (!(p >= 0 && p <= 1)) {
    throw new MiloError(
      'MILO_BAD_SAMPLER',
      `sampler must be adaptive, always, never or probability:P with P from 0 to 1, got '${text}'`,
    )
  }
  return withProbability(p)
}
