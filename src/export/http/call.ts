import { version } from '../../../package.json'
import { builtin } from '../../process/builtin'
import { clock, parseDate } from '../../process/genuine'
import type { Answer, Call } from '../protocol'
import type { HttpTarget } from './target'

/**
 * HTTP/1.1 as an exporter needs it: a POST, and the reply to it. It runs on Milo's own connections, where no plugin, no other
 * tracer and no mock of node:http sees it. Redirects aren't followed, and no proxy is used.
 */

/** Limits of a reply: its headers, with those of interim replies, and how much of its body is looked at. */
const MAX_HEAD_BYTES = 16 * 1024
const MAX_BODY_BYTES = 64 * 1024
const MAX_LINE_BYTES = 1024
const MAX_REASON_LENGTH = 200
const LOOPBACK = /^(localhost|127\.[\d.]+|::1)$/i
/** A smaller body fits into a packet as it is. */
const MIN_ZIPPED_BYTES = 1024

export interface Reply {
  status: number
  /** The status line's own words. */
  phrase: string
  /** By names in lower case; of repeated ones the last. */
  headers: Map<string, string>
  body: Buffer
}

/**
 * @param accepted what a reply of status 2xx means
 * @returns what makes a request of a body
 */
export function poster(
  target: HttpTarget,
  contentType: string,
  accepted: (reply: Reply) => Answer,
): (body: Buffer) => Call {
  // Within a machine bytes cost less than their compression.
  let zips = !LOOPBACK.test(target.address.host)
  return body => {
    const zipped = zips && body.length >= MIN_ZIPPED_BYTES ? gzip(body) : undefined
    const sent = zipped ?? body
    const reader = new ReplyReader(reply => {
      // The batch is sent again, without.
      if (reply.status === 415) zips = false
      return judge(reply, accepted)
    })
    const own = [
      `content-type: ${contentType}`,
      ...(zipped === undefined ? [] : ['content-encoding: gzip']),
      `content-length: ${sent.length}`,
    ]
    return {
      parts: [requestHead(`POST ${target.path}`, target, own), sent],
      read: data => reader.read(data),
      end: () => reader.end(),
    }
  }
}

/** @param own headers of this request */
export function requestHead(request: string, { authority, headers }: HttpTarget, own: string[] = []): Buffer {
  const given = headers.map(([name, value]) => `${name}: ${value}`)
  const lines = [`${request} HTTP/1.1`, `host: ${authority}`, `user-agent: milo/${version}`, ...given, ...own]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** The quickest level: 0.5 µs a span, and a sixth of the bytes. The next ones take four times as long for a little less. */
function gzip(body: Buffer): Buffer | undefined {
  try {
    return builtin('node:zlib', () => require('node:zlib')).gzipSync(body, { level: 1 })
  } catch {
    // There is no memory for it.
    return undefined
  }
}

function judge(reply: Reply, accepted: (reply: Reply) => Answer): Answer {
  const { status, phrase } = reply
  if (status >= 200 && status < 300) return accepted(reply)
  const reason = readable(`HTTP ${status} ${phrase}`)
  if (status === 429 || status === 503) return { code: 'try_later', reason, afterMs: retryAfterMs(reply) }
  // What stands before the server doesn't reach it, or it took too long.
  if (status === 408 || status === 502 || status === 504) return { code: 'failed', reason }
  if (status >= 300 && status < 400) return { code: 'refused', reason: `${reason}, and redirects aren't followed` }
  return { code: 'refused', reason }
}

/** A time in seconds, or a date by the server's own clock, if it tells what that shows. */
function retryAfterMs({ headers }: Reply): number {
  const text = headers.get('retry-after') ?? ''
  if (/^\d+$/.test(text)) return Number(text) * 1000
  return Math.max(dateOf(text) - (dateOf(headers.get('date')) || clock.wallMs()), 0) || 0
}

/** HTTP's three forms of a date, all of them in GMT, which the oldest one doesn't say. NaN for anything else. */
function dateOf(text = ''): number {
  if (!/^[A-Z][a-z]{2,8},? .*\d\d:\d\d:\d\d/.test(text)) return Number.NaN
  return parseDate(text.endsWith('GMT') ? text : `${text} GMT`)
}

/** A peer's words, for the log: one line, short. */
export function readable(text: string): string {
  return text
    .slice(0, MAX_REASON_LENGTH)
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
}

/** Reads one reply as its bytes come in. It keeps a bounded part of them. */
export class ReplyReader {
  private readonly answer: (reply: Reply) => Answer
  /** What has come and isn't used yet. */
  private rest: Buffer = Buffer.alloc(0)
  private headBytes = 0
  private reply: Reply | undefined
  private keepsAlive = false
  /** How many bytes of the body or of its chunk are still to come. */
  private left = 0
  private state: 'head' | 'body' | 'chunk size' | 'chunk' | 'chunk end' | 'trailers' | 'until it ends' = 'head'
  private readonly body: Buffer[] = []
  private bodyBytes = 0
  private done: Answer | undefined

  constructor(answer: (reply: Reply) => Answer) {
    this.answer = answer
  }

  /** @returns the answer once the reply is whole. @throws when it isn't HTTP */
  read(data: Buffer): Answer | undefined {
    this.rest = this.rest.length === 0 ? data : Buffer.concat([this.rest, data])
    while (this.step()) {}
    return this.done
  }

  /** The connection has ended. */
  end(): Answer | undefined {
    return this.state === 'until it ends' ? this.finish(false) : undefined
  }

  private finish(keepsAlive: boolean): Answer {
    const reply = { ...this.reply!, body: Buffer.concat(this.body) }
    return (this.done = { ...this.answer(reply), closes: !keepsAlive })
  }

  /** @returns whether there may be more to do */
  private step(): boolean {
    if (this.done !== undefined) return false
    switch (this.state) {
      case 'head':
        return this.readHead()
      case 'body':
        return this.take() && this.complete()
      case 'chunk size':
        return this.readChunkSize()
      case 'chunk':
        if (!this.take()) return false
        this.state = 'chunk end'
        return true
      case 'chunk end': {
        const line = this.line()
        if (line === undefined) return false
        if (line !== '') throw new Error('a chunk is longer than it says')
        this.state = 'chunk size'
        return true
      }
      case 'trailers': {
        const line = this.line()
        if (line === undefined) return false
        this.headBytes += line.length + 2
        if (this.headBytes > MAX_HEAD_BYTES) throw new Error(`headers of more than ${MAX_HEAD_BYTES} bytes`)
        return line !== '' || this.complete()
      }
      case 'until it ends':
        this.left = this.rest.length
        this.take()
        return false
    }
  }

  private readHead(): boolean {
    const end = this.rest.indexOf('\r\n\r\n')
    const length = end === -1 ? this.rest.length : end + 4
    if (this.rest.length >= 5 && this.rest.toString('latin1', 0, 5) !== 'HTTP/')
      throw new Error("a reply that isn't HTTP/1.1; OTLP's port for HTTP is 4318, and 4317 is for gRPC")
    if (this.headBytes + length > MAX_HEAD_BYTES) throw new Error(`headers of more than ${MAX_HEAD_BYTES} bytes`)
    if (end === -1) return false
    this.headBytes += length
    const [first, ...lines] = this.rest.toString('latin1', 0, end).split('\r\n')
    this.rest = this.rest.subarray(length)
    const match = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: (.*))?$/.exec(first!)
    if (match === null) throw new Error("a reply that isn't HTTP/1.1")
    const status = Number(match[2])
    if (status === 101) throw new Error('a protocol that nobody asked for')
    // An interim reply, such as 103 Early Hints.
    if (status < 200) return true
    const headers = new Map<string, string>()
    for (const line of lines) {
      const colon = line.indexOf(':')
      if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
    }
    this.reply = { status, phrase: match[3] ?? '', headers, body: this.rest }
    const connection = (headers.get('connection') ?? '').toLowerCase()
    this.keepsAlive = match[1] === '1' ? !connection.includes('close') : connection.includes('keep-alive')
    const encoding = headers.get('transfer-encoding')
    const contentLength = headers.get('content-length')
    if (status === 204 || status === 304) return this.complete()
    if (encoding !== undefined) {
      if (encoding.toLowerCase() !== 'chunked') throw new Error('a transfer-encoding other than chunked')
      this.state = 'chunk size'
    } else if (contentLength === undefined) this.state = 'until it ends'
    else {
      if (!/^\d{1,15}$/.test(contentLength)) throw new Error("a content-length that isn't a number")
      this.left = Number(contentLength)
      this.state = 'body'
    }
    return true
  }

  private readChunkSize(): boolean {
    const line = this.line()
    if (line === undefined) return false
    const size = /^([\da-f]{1,8})[ \t]*(;.*)?$/i.exec(line)?.[1]
    if (size === undefined) throw new Error('a chunk without a size')
    this.left = Number.parseInt(size, 16)
    this.state = this.left === 0 ? 'trailers' : 'chunk'
    return true
  }

  private line(): string | undefined {
    const end = this.rest.indexOf('\r\n')
    if ((end === -1 ? this.rest.length : end) > MAX_LINE_BYTES) throw new Error('a line that is too long')
    if (end === -1) return undefined
    const line = this.rest.toString('latin1', 0, end)
    this.rest = this.rest.subarray(end + 2)
    return line
  }

  /** Takes what has come of the body. @returns whether all of it, or of its chunk, has come */
  private take(): boolean {
    const taken = this.rest.subarray(0, Math.min(this.left, this.rest.length))
    this.rest = this.rest.subarray(taken.length)
    this.left -= taken.length
    this.bodyBytes += taken.length
    if (taken.length > 0) this.body.push(taken)
    // The status says it all: the rest isn't waited for.
    if (this.bodyBytes + this.left > MAX_BODY_BYTES) this.finish(false)
    return this.done === undefined && this.left === 0
  }

  /** The reply is whole. What comes after it belongs to no call. */
  private complete(): boolean {
    this.finish(this.keepsAlive && this.rest.length === 0)
    return false
  }
}
