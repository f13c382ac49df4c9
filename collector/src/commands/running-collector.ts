import { readFileSync } from 'node:fs'
import { rootCertificates } from 'node:tls'
import type { Config } from '../config'
import type { Collector, Trust } from '../http/client'
import { webAddress } from './addresses'
import { UsageError } from './command-error'

/** Running collectors, as commands are told of them. */

/**
 * Reads the address of a collector.
 * @param option that has the address, for messages
 * @throws UsageError
 */
export function collectorAt(option: string, address: string, token: string | undefined): Collector {
  const remedy = "give the collector's address, such as http://127.0.0.1:2180"
  if (!URL.canParse(address)) throw new UsageError(`${option}: ${address} isn't an address: ${remedy}`)
  const url = new URL(address)
  if (!/^https?:$/.test(url.protocol)) throw new UsageError(`${option}: ${url.protocol} isn't http or https: ${remedy}`)
  if (url.username !== '' || url.password !== '')
    throw new UsageError(`${option}: leave user and password out: give a token`)
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  url.search = url.hash = ''
  return { url, token }
}

/** Returns the collector that runs by this configuration. */
export function collectorHere(config: Config, token: string | undefined): Collector {
  const { tls, port } = config.http
  return { url: new URL(webAddress(config, port)), token, trust: tls && trusting(tls.cert) }
}

/** The listener is this configuration's own, so its certificate is believed under any name. */
export function trusting(cert: string | undefined): Trust {
  const own = cert === undefined ? [] : [readFileSync(cert, 'utf8')]
  return { ca: [...own, ...rootCertificates], checkServerIdentity: () => undefined }
}

/**
 * Returns what a file has or, without one, a variable of the environment: other users see command lines.
 * @param option that names the file, for messages
 * @throws UsageError
 */
export function secret(variable: string, file: string | undefined, option: string): string | undefined {
  let text = process.env[variable]
  if (file !== undefined) {
    try {
      text = readFileSync(file, 'utf8')
    } catch (error) {
      throw new UsageError(`${option}: ${file} can't be read (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  text = text?.trim()
  if (text === undefined || text === '') return undefined
  // It becomes a part of a header or an address.
  if (!/^[\x21-\x7e]{1,4096}$/.test(text))
    throw new UsageError(`${file === undefined ? variable : option} isn't a token: it must be one word`)
  return text
}
