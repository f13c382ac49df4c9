/** Why a request of the page failed. */
export interface Problem {
  /** The HTTP status; 0 if the collector didn't answer. */
  status: number
  message: string
}

export function unreachable(): Problem {
  return { status: 0, message: `The collector at ${location.host} didn't answer. Is it still running?` }
}

const NOT_OURS: Problem = {
  status: 0,
  message: 'The answer is incomplete, or a proxy answered instead of the collector. Reload the page.',
}

/** Converts an error thrown by a request or by reading its response. */
export function problemFrom(error: unknown): Problem {
  if (error instanceof SyntaxError) return NOT_OURS
  return typeof (error as Problem | null)?.status === 'number' ? (error as Problem) : unreachable()
}

/** Converts an error response; uses the collector's own message if there is one. */
export function problemOf(status: number, body: any): Problem {
  const reason = body?.error
  const message = typeof reason === 'string' ? sentence(reason) : `The collector answered ${status} without a reason.`
  return { status, message }
}

/** Makes a sentence: the collector's errors start in lower case, because they also occur within others. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? '' : '.'}`
}
