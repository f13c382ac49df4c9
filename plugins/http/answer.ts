import { describe, type Span } from 'milo/plugin'

/** What the answer to a client's request says on its span, by whatever protocol and library it came. */

export function noteStatus(span: Span, status: number): void {
  span.annotate('http.response.status_code', status)
  if (status >= 400) span.annotate('error.type', String(status))
}

export function noteError(span: Span, error: unknown): void {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  span.annotate('error.type', typeof code === 'string' ? code : 'error').annotate('error.message', describe(error))
}

/** A response's stream, as far as it tells whether anybody reads it. */
export interface Body {
  readonly readableFlowing: boolean | null
  readonly readableDidRead: boolean
  listenerCount(event: string): number
}

/** Ends the span of a response that isn't read, since such a response never ends by itself. */
export function endUnread(span: Span, body: Body): void {
  if (body.readableFlowing === null && !body.readableDidRead && body.listenerCount('readable') === 0) span.end()
}
