import { isIP } from 'node:net'
import type { SecureContext } from 'node:tls'
import { MiloError, type MiloErrorCode } from '../errors'
import type { Tls } from '../export/connection'
import { show } from './show'

/** TLS of one exporter: PEM as a string or bytes. */
export interface TlsOptions {
  ca?: string | Buffer | (string | Buffer)[]
  cert?: string | Buffer
  key?: string | Buffer
  /** False: any certificate is accepted. Default true, unless Node is told otherwise (NODE_TLS_REJECT_UNAUTHORIZED=0). */
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
  const { ca, cert, key, rejectUnauthorized, ...more } = value as TlsOptions
  for (const name of Object.keys(more)) throw bad(`has ca, cert, key and rejectUnauthorized, got ${name}`)
  if (rejectUnauthorized !== undefined && typeof rejectUnauthorized !== 'boolean')
    throw bad(`must have true or false for rejectUnauthorized, got ${show(rejectUnauthorized)}`)
  if ((cert === undefined) !== (key === undefined)) throw bad('must have both cert and key, or neither')
  // Loaded late: without TLS nobody pays for it.
  const tls = require('node:tls') as typeof import('node:tls')
  let secureContext: SecureContext
  try {
    secureContext = tls.createSecureContext({ ca, cert, key })
  } catch (error) {
    throw bad(`must have ca, cert and key as PEM: ${(error as Error).message}`)
  }
  return {
    connect(host, port) {
      // SNI takes names alone. The certificate is checked against an address all the same.
      const servername = isIP(host) === 0 && { servername: host }
      // Where it isn't given, Node looks at its variable for each connection.
      const trust = rejectUnauthorized !== undefined && { rejectUnauthorized }
      const socket = tls.connect({ host, port, secureContext, ...trust, ...servername })
      return socket.setNoDelay(true).setKeepAlive(true)
    },
  }
}
