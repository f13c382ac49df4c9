import { MiloError } from '../errors'
import type { OperationSampling } from '../trace/adaptive'
import { show } from './show'
import { isTarget } from './target'

/** Checks the option `operations`. */
export function operations(value: unknown): Record<string, OperationSampling> {
  const bad = (message: string) => new MiloError('MILO_BAD_OPERATIONS', `operations ${message}`)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(`must be an object that has { probability } or { tracesPerSecond } by operation, got ${show(value)}`)
  for (const [name, own] of Object.entries(value)) {
    const { probability, tracesPerSecond, ...more } = own ?? {}
    if ((probability === undefined) === (tracesPerSecond === undefined) || Object.keys(more).length > 0)
      throw bad(`must have either { probability } or { tracesPerSecond } for '${name}', got ${show(own)}`)
    if (probability !== undefined && !(typeof probability === 'number' && probability >= 0 && probability <= 1))
      throw bad(`must have a probability from 0 to 1 for '${name}', got ${show(probability)}`)
    if (tracesPerSecond !== undefined && !isTarget(tracesPerSecond))
      throw bad(
        `must have tracesPerSecond > 0 for '${name}', got ${show(tracesPerSecond)}; never is { probability: 0 }`,
      )
  }
  return value as Record<string, OperationSampling>
}
