import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { ErrorAnswer } from './answers'

/** An error that is answered as `{ error, code }`: the code is stable, the sentence may change. */
export class HttpError extends Error {
  readonly status: number
  readonly code: string
  /** Further fields of the answer. */
  readonly details: object | undefined
  readonly retryAfterSeconds: number | undefined
  constructor(status: number, code: string, message: string, details?: object, retryAfterSeconds?: number) {
    super(message)
    this.retryAfterSeconds = retryAfterSeconds
    this.status = status
    this.code = code
    this.details = details
  }
}

export function statusOf(error: unknown): number {
  if (error instanceof HttpError) return error.status
  return (error as { statusCode?: number }).statusCode ?? 500
}

export function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const status = statusOf(error)
  const { message, code, details, retryAfterSeconds } = error as HttpError
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds)
  // The message of a bug belongs in the log only.
  const known = error instanceof HttpError || status < 500
  const answer: ErrorAnswer = known
    ? { error: message, code, ...details }
    : { error: 'the collector failed; its log says why', code: 'MILO_INTERNAL' }
  return reply.code(status).type('application/json; charset=utf-8').send(answer)
}

/** Answers a request that can't be parsed as HTTP. */
export function answerBadHttp(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const body = JSON.stringify({
    error: tooLarge ? 'the request is too long' : 'not an HTTP request',
    code: error.code,
  })
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request'
  if (socket.writable) {
    socket.write(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    )
  }
  socket.destroy()
}

/** Returns the error for a request that the sender should repeat, because there is no room for it at the moment. */
export function tryLater(status: 429 | 503, what: string): HttpError {
  return new HttpError(status, 'MILO_TRY_LATER', `${what}: try later`, undefined, 1)
}

/** Quotes input for an error's message, shortened. */
export function quote(input: string): string {
  return JSON.stringify(input.length > 80 ? `${input.slice(0, 80)}…` : input)
}
