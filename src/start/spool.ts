import { resolve } from 'node:path'
import { MiloError } from '../errors'
import type { SpoolOptions } from '../export/spool'
import { show } from './show'

const MIB = 1024 * 1024

/** @throws MiloError for what isn't one */
export function spool(value: unknown, variableBytes: number | undefined): SpoolOptions {
  const bad = (message: string) => new MiloError('MILO_BAD_SPOOL', `spool ${message}`)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(`must be an object of directory and maxBytes, got ${show(value)}`)
  const { directory, maxBytes = variableBytes ?? 64 * MIB, ...more } = value as Partial<SpoolOptions>
  for (const name of Object.keys(more)) throw bad(`has directory and maxBytes, got ${name}`)
  if (typeof directory !== 'string' || directory === '' || directory.includes('\0'))
    throw bad(`must have a path as directory, got ${show(directory)}`)
  if (!Number.isSafeInteger(maxBytes) || maxBytes < MIB)
    throw bad(`must have a whole number from ${MIB} as maxBytes, got ${show(maxBytes)}`)
  try {
    return { directory: resolve(directory), maxBytes }
  } catch {
    throw bad(
      `must have an absolute path as directory where the current folder has been removed, got ${show(directory)}`,
    )
  }
}
