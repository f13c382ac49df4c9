import { MiloError, type MiloErrorCode } from '../errors'
import type { Tls } from '../export/connection'
import { show } from './show'

/** TLS of one exporter: PEM as a string or bytes. */
export interface TlsOptions {
  ca?: string | Buffer | (string | Buffer)[]
  cert?: string | Buffer
  key?: string | Buffer
  /** False: any certificate is accepted. Default true. */
  rejectUnauthorized?: boolean
}

/**
 * Certificates and keys are never shown.
 * @param name the option's, for errors
 */
export function tlsTerms(code: MiloErrorCode, name: string, value: unknown): Tls {
  const bad = (message: string) => new MiloError(code, `${name} ${message}`)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(`must be an object of ca, cert, key and rejectUnauthorized, got ${show(value)}`)
  const { ca, cert, key, rejectUnauthorized = true, ...more } = value as TlsOptions
  for (const name of Object.keys(more)) throw bad(`has ca, cert, key and rejectUnauthorized, got ${name}`)
  if (typeof rejectUnauthorized !== 'boolean')
    throw bad(`must have true or false for rejectUnauthorized, got ${show(rejectUnauthorized)}`)
  if ((cert === undefined) !== (key === undefined)) throw bad('must have both cert and key, or neither')
  // Loaded late: without TLS nobody pays for it.
  const { createSecureContext } = require('node:tls') as typeof import('node:tls')
  try {
    return { context: createSecureContext({ ca, cert, key }), rejectUnauthorized }
  } catch (error) {
    throw bad(`must have ca, cert and key as PEM: ${(error as Error).message}`)
  }
}
