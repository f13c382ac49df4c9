import { MiloError } from '../errors'
import { show } from '../start/show'

/** The option `retroactive`: which traces are kept after the fact. */
export interface RetroactiveOptions {
  /** How much memory the history takes, in bytes: from 64 KiB to 64 MiB. MILO_RETROACTIVE_BYTES. Default 16 MiB. */
  bytes?: number
  /** Which symptoms keep a trace: `error`, `slow`, both separated by a comma, or `none`. MILO_RETROACTIVE_TRIGGERS. Default `error,slow`. */
  triggers?: string
  /** How many earlier traces of the same operation are kept with one that has a symptom. MILO_RETROACTIVE_LATERAL. Default 0. */
  lateral?: number
}

export interface RetroactiveSettings {
  bytes: number
  triggers: { error: boolean; slow: boolean }
  lateral: number
}

const MIB = 1024 * 1024
const MIN_BYTES = 64 * 1024
/** To look for traces in so much takes the loop some 10 ms. */
const MAX_BYTES = 64 * MIB
const MAX_LATERAL = 100

type Given<O> = { [K in keyof O]: O[K] | undefined }

/**
 * @param variables what counts where an option isn't given
 * @throws MiloError MILO_BAD_RETROACTIVE
 */
export function retroactiveSettings(
  option: RetroactiveOptions,
  variables: Given<RetroactiveOptions>,
): RetroactiveSettings {
  const { bytes, triggers, lateral, ...more } = option
  for (const name of Object.keys(more)) throw bad(`has bytes, triggers and lateral, got ${name}`)
  return {
    bytes: whole('bytes', bytes ?? variables.bytes ?? 16 * MIB, MIN_BYTES, MAX_BYTES),
    triggers: triggersOf(triggers ?? variables.triggers ?? 'error,slow'),
    lateral: whole('lateral', lateral ?? variables.lateral ?? 0, 0, MAX_LATERAL),
  }
}

function bad(message: string): MiloError {
  return new MiloError('MILO_BAD_RETROACTIVE', `retroactive ${message}`)
}

function whole(name: string, value: unknown, least: number, most: number): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number
  throw bad(`must have a whole number from ${least} to ${most} as ${name}, got ${show(value)}`)
}

function triggersOf(value: unknown): RetroactiveSettings['triggers'] {
  const words = typeof value === 'string' ? value.split(',').map(word => word.trim()) : ['']
  const isNone = words.length === 1 && words[0] === 'none'
  if (!isNone && words.some(word => word !== 'error' && word !== 'slow'))
    throw bad(`must have error, slow, both separated by a comma, or none as triggers, got ${show(value)}`)
  return { error: words.includes('error'), slow: words.includes('slow') }
}
