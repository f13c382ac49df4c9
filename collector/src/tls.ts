import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'

/** A listener's part of the configuration: paths of PEM files. */
export interface TlsFiles {
  cert?: string | undefined
  key?: string | undefined
  ca?: string | undefined
}

/**
 * @param at where it stands in the configuration
 * @returns undefined for a listener without TLS
 * @throws Error with key, file and remedy; never with what is in the file
 */
export function readTls(at: string, files: TlsFiles | undefined): SecureContextOptions | undefined {
  if (files?.cert === undefined) return undefined
  const read = (key: keyof TlsFiles) => {
    const path = files[key]
    if (path === undefined) return undefined
    try {
      return readFileSync(path)
    } catch (error) {
      throw new Error(`${at}.${key}: ${path} can't be read (${(error as NodeJS.ErrnoException).code}): give a PEM file`)
    }
  }
  const [cert, key, ca] = [read('cert')!, read('key')!, read('ca')]
  const options = { cert, key, ...(ca && { ca, requestCert: true, rejectUnauthorized: true }) }
  try {
    createSecureContext(options)
  } catch (error) {
    const { code = 'no reason given' } = error as NodeJS.ErrnoException
    throw new Error(`${at}: these are no certificate and its key, in PEM (${code}): give both`)
  }
  return options
}
