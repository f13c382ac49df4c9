import { describe, ifRejected, logRarely } from '../process/log'
import { NOT_KEPT, type Sampler, type SamplingRates } from './sampler'

/** The shortest time between two calls of a sampler's `adjust`. */
const PRESSURE_EVERY_US = 100_000

/** The barrier around a sampler, which may be the application's: whatever it returns or throws, a decision comes out. */
export class Decisions {
  private readonly sampler: Sampler
  /** A sampler may start spans: it isn't asked about those, or it would never return. */
  asking = false
  private pressureToldUs = Number.NEGATIVE_INFINITY

  constructor(sampler: Sampler) {
    this.sampler = sampler
  }

  /** @returns a probability above 0, or NOT_KEPT */
  decide(name: string, randomness: number): number {
    if (this.asking) return NOT_KEPT
    this.asking = true
    try {
      const p: unknown = this.sampler.sample(name, randomness)
      if (typeof p === 'number' && p > 0 && p <= 1) return p
      if (p !== NOT_KEPT && p !== 0) {
        ifRejected(p, () => {})
        const got = typeof p === 'number' ? p : typeof p
        logRarely(
          'sampler',
          'error',
          `the sampler must return a probability from 0 to 1, or -1, got ${got}; the trace isn't kept`,
        )
      }
      return NOT_KEPT
    } catch (error) {
      logRarely('sampler', 'error', `the sampler threw (${describe(error)}); the trace isn't kept`)
      return NOT_KEPT
    } finally {
      this.asking = false
    }
  }

  /**
   * Tells the sampler the pressure, unless it was told a moment ago. Call it for traces that are kept: without one there is
   * nothing to lower, and the sampler recovers by itself.
   */
  adjust(source: { pressure(): number }, nowUs: number): void {
    if (Math.abs(nowUs - this.pressureToldUs) < PRESSURE_EVERY_US) return
    this.pressureToldUs = nowUs
    this.asking = true
    try {
      ifRejected(this.sampler.adjust?.(source.pressure()), error =>
        logRarely('sampler', 'error', `the sampler's adjust rejected (${describe(error)})`),
      )
    } catch (error) {
      logRarely('sampler', 'error', `the sampler's adjust threw (${describe(error)})`)
    } finally {
      this.asking = false
    }
  }

  rates(): SamplingRates | undefined {
    try {
      return this.sampler.rates?.()
    } catch {
      return undefined
    }
  }
}
