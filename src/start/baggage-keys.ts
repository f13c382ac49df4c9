import { MiloError } from '../errors'
import { TOKEN } from '../trace/baggage'
import type { BaggageKeys } from '../trace/propagation'
import { show } from './show'

/** @throws MiloError for what isn't keys */
export function baggageKeys(value: unknown): BaggageKeys {
  const keys = typeof value === 'string' ? value.split(',').map(key => key.trim()) : ['']
  for (const key of keys) {
    if (!TOKEN.test(key)) {
      throw new MiloError(
        'MILO_BAD_PROPAGATION',
        `baggage must be keys separated by commas, or * for all, got '${key || show(value)}'`,
      )
    }
  }
  return new Set(keys)
}
