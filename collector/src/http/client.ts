import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'

/** HTTP as a client that believes nothing: every answer is bounded in length and time. Commands ask collectors and HDFS by it. */

/** How long a connection may stand still, unless a request says so. */
const STANDSTILL_MS = 60_000

/** Certificates that are believed in place of those that Node knows. */
export interface Trust {
  ca: string[]
  checkServerIdentity: () => undefined
}

/** A collector that is asked. */
export interface Collector {
  /** Its address, with a slash at the end. */
  url: URL
  /** For http.tokens. It is sent, and never shown. */
  token?: string | undefined
  trust?: Trust | undefined
}

/** Starts a request to a collector. @param path relative to its address; it may have parameters */
export function ask({ url, token, trust }: Collector, path: string, request: Request): ClientRequest {
  const headers = { ...request.headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) }
  return start(new URL(path, url), { ...request, headers, ...(trust && { trust }) })
}

export interface Request {
  method: string
  headers?: Record<string, string>
  /** When the answer must be whole; undefined where it may be long. */
  deadlineMs?: number
  standstillMs?: number
  trust?: Trust
}

/** Starts a request of http: or https:. An error says what happened and never the address, which may have secrets in it. */
export function start(url: URL, request: Request): ClientRequest {
  const { method, headers = {}, deadlineMs, standstillMs = STANDSTILL_MS, trust } = request
  const open = url.protocol === 'https:' ? requestHttps : requestHttp
  const signal = deadlineMs === undefined ? {} : { signal: AbortSignal.timeout(deadlineMs) }
  // A connection that is used again may just be closing, which a file's contents can't be sent twice for.
  const started = open(url, { method, headers, timeout: standstillMs, agent: false, ...signal, ...trust })
  started.on('timeout', () => started.destroy(new Error(`nothing has moved for ${standstillMs / 1000} s`)))
  // One that comes when nobody waits any more.
  started.on('error', () => {})
  return started
}

/** Resolves to the answer of a request that has been ended. */
export function answerTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve)
    request.once('error', reject)
    request.once('close', () => reject(new Error('the connection was closed without an answer')))
  })
}

/** Reads an answer to its end. @throws Error when it is longer than `maxBytes` */
export async function bodyOf(answer: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of answer as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > maxBytes) {
      answer.destroy()
      throw new Error(`the answer has more than ${maxBytes} bytes`)
    }
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/** Says why there was no answer. */
export function reasonOf(error: unknown): string {
  const { message, code = '' } = error as NodeJS.ErrnoException
  // Node leaves the message empty when it has tried several addresses.
  const reason = message || code || String(error)
  if (!/CERT|SELF_SIGNED|UNABLE_TO/.test(code)) return reason
  return `${reason}: set NODE_EXTRA_CA_CERTS to a file with its authority's certificate`
}

/** Shortens what a server said, to show it: one line of printable characters. */
export function printable(text: unknown, most = 300): string {
  const line = String(text)
    .slice(0, 4 * most)
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
  return line.length > most ? `${line.slice(0, most)}…` : line
}
