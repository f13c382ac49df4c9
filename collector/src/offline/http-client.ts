import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'

/** HTTP as a client that believes nothing: every answer is bounded in length and time. */

/** How long a connection may stand still. */
const STANDSTILL_MS = 60_000

export interface Request {
  method: string
  headers?: Record<string, string>
  /** When the answer must be whole; undefined where it may be long. */
  deadlineMs?: number
}

/** Starts a request of http: or https:. An error says what happened and never the address, which may have secrets in it. */
export function start(url: URL, { method, headers = {}, deadlineMs }: Request): ClientRequest {
  const open = url.protocol === 'https:' ? requestHttps : requestHttp
  const signal = deadlineMs === undefined ? {} : { signal: AbortSignal.timeout(deadlineMs) }
  // A connection that is used again may just be closing, which a file's contents can't be sent twice for.
  const request = open(url, { method, headers, timeout: STANDSTILL_MS, agent: false, ...signal })
  request.on('timeout', () => request.destroy(new Error(`nothing has moved for ${STANDSTILL_MS / 1000} s`)))
  // One that comes when nobody waits any more.
  request.on('error', () => {})
  return request
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

/** Node leaves the message empty when it has tried several addresses. */
export function reasonOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return message || code || String(error)
}

/** Shortens what a server said, to show it: one line of printable characters. */
export function printable(text: unknown, most = 300): string {
  const line = String(text)
    .slice(0, 4 * most)
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
  return line.length > most ? `${line.slice(0, most)}…` : line
}
