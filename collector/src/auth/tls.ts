import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type Server, type TLSSocket, type TlsOptions } from 'node:tls'

/** The part of the configuration for a listener's or client's TLS: paths of PEM files. */
interface TlsFiles {
  cert?: string | undefined
  key?: string | undefined
  ca?: string | undefined
}

/**
 * Reads the files of a listener's TLS.
 * @param at the key of the section in the configuration, such as http.tls
 * @returns undefined for a listener without TLS
 * @throws Error with key, file and remedy, and without the file's contents
 */
export function readTls(at: string, files: TlsFiles | undefined): TlsOptions | undefined {
  if (files?.cert === undefined) return undefined
  const { cert, key, ca } = readClientTls(at, files)
  const options = { cert, key, ...(ca && { ca, requestCert: true, rejectUnauthorized: true }) }
  try {
    createSecureContext(options)
  } catch (error) {
    const { code = 'no reason given' } = error as NodeJS.ErrnoException
    throw new Error(`${at}: cert and key aren't a certificate and its private key in PEM (${code}): give both`)
  }
  return options
}

/** Applies what readTls has returned to new connections of a listener, including whether a client must present a certificate. */
export function setTls(server: Server, options: TlsOptions): void {
  const { requestCert = false, rejectUnauthorized = true } = options
  server.setSecureContext(options)
  // Node reads them for each connection, but has no documented way to change them; hence requireCertificates.
  Object.assign(server, { requestCert, rejectUnauthorized })
}

/** Closes connections without a client certificate while one is required, even if a future Node should ignore it after setTls. */
export function requireCertificates(server: Server): void {
  server.on('secureConnection', (socket: TLSSocket) => {
    const { requestCert } = server as { requestCert?: boolean }
    if (requestCert && !socket.authorized) socket.destroy()
  })
}

/** Returns a hash of each file's contents, by its key in the configuration: certificates are renewed under the same path. */
export function fileContents(at: string, files: TlsFiles = {}): Map<string, string> {
  const contents = new Map<string, string>()
  for (const [key, path] of Object.entries(files)) {
    let content: string
    try {
      content = hash('sha256', readFileSync(path))
    } catch (error) {
      content = String((error as NodeJS.ErrnoException).code)
    }
    contents.set(`${at}.${key}`, content)
  }
  return contents
}

/**
 * Reads the files of a client's TLS: its certificate and key, and the authority that it trusts.
 * @throws Error as readTls does
 */
export function readClientTls(at: string, files: TlsFiles): { cert?: Buffer; key?: Buffer; ca?: Buffer } {
  const read = (key: keyof TlsFiles) => {
    const path = files[key]
    if (path === undefined) return undefined
    try {
      return readFileSync(path)
    } catch (error) {
      throw new Error(`${at}.${key}: ${path} can't be read (${(error as NodeJS.ErrnoException).code}): give a PEM file`)
    }
  }
  const [cert, key, ca] = [read('cert'), read('key'), read('ca')]
  return { ...(cert && { cert }), ...(key && { key }), ...(ca && { ca }) }
}
