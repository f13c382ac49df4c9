import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import { rootCertificates } from 'node:tls'
import type { Config } from '../config'
import { webAddress } from './addresses'
import { CommandError } from './command-error'

/** Requests of commands to a running collector. */

export interface RunningCollector {
  /** Its address, with a slash at the end. */
  base: string
  /** The token that it asks for; undefined if it asks for none. */
  token: string | undefined
  /** Authorities to trust besides the system's. */
  ca: string[]
  /** Whether its certificate is its own whatever name it has, as it is the one of this configuration. */
  anyName: boolean
}

/** How the option `--to` names it, with the token from a file or from the variable MILO_LOAD_TOKEN: other users see command lines. */
export function collectorAt(address: string, tokenFile: string | undefined): RunningCollector {
  let base: URL
  try {
    base = new URL(address.endsWith('/') ? address : `${address}/`)
  } catch {
    throw badAddress(address)
  }
  if (!/^https?:$/.test(base.protocol)) throw badAddress(address)
  return { base: base.href, token: tokenOf(tokenFile), ca: [], anyName: false }
}

/** The collector that runs by this configuration. */
export function collectorHere(config: Config, tokenFile: string | undefined): RunningCollector {
  const { tls, port } = config.http
  const ca = tls?.cert === undefined ? [] : [readFileSync(tls.cert, 'utf8')]
  return { base: webAddress(config, port), token: tokenOf(tokenFile), ca, anyName: true }
}

export interface CollectorAnswer {
  status: number
  /** JSON; null if it isn't. */
  body: any
  /** From the header retry-after; undefined if there is none. */
  retryAfterMs: number | undefined
}

/**
 * Posts a stream.
 * @param path relative to the collector's address
 * @throws CommandError if there is no answer; what the stream fails with
 */
export function post(collector: RunningCollector, path: string, body: Readable): Promise<CollectorAnswer> {
  const { base, token, ca, anyName } = collector
  const url = new URL(path, base)
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) =>
      reject(
        new CommandError(
          `${base} can't be reached (${error.code ?? error.message}): start the collector, or give --to`,
        ),
      )
    const asked = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      method: 'POST',
      agent: false,
      timeout: SILENCE_MS,
      headers: {
        'content-type': 'application/x-ndjson',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(ca.length > 0 && { ca: [...ca, ...rootCertificates] }),
      ...(anyName && { checkServerIdentity: () => undefined }),
    })
    asked.on('response', response => {
      // It needn't hear the rest.
      body.destroy()
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        if (text.length < MAX_ANSWER_LENGTH) text += part
      })
      response.on('error', failed)
      response.on('end', () => {
        const seconds = Number(response.headers['retry-after'])
        resolve({
          status: response.statusCode ?? 0,
          body: parsedOrNull(text),
          retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : undefined,
        })
        asked.destroy()
      })
    })
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${SILENCE_MS / 1000} s`)))
    asked.on('error', failed)
    body.on('error', error => {
      // The body's reader failed, and not the collector: the error is the caller's.
      reject(error)
      asked.destroy()
    })
    body.pipe(asked)
  })
}

/** How long the collector may be silent. */
const SILENCE_MS = 120_000
const MAX_ANSWER_LENGTH = 1024 * 1024

function tokenOf(file: string | undefined): string | undefined {
  if (file === undefined) return process.env.MILO_LOAD_TOKEN || undefined
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new CommandError(`--token-file ${file} can't be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function badAddress(address: string): CommandError {
  return new CommandError(`--to ${address} is not an address: give one such as http://127.0.0.1:2200/`)
}

function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
