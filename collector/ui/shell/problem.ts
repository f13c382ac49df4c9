/** Why something the page asked for didn't come. */
export interface Problem {
  /** The collector's status; 0 when it didn't answer. */
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

/** What a request, or reading its answer, threw. */
export function problemFrom(error: unknown): Problem {
  if (error instanceof SyntaxError) return NOT_OURS
  return typeof (error as Problem | null)?.status === 'number' ? (error as Problem) : unreachable()
}

/** The collector's own words where it gave some. */
export function problemOf(status: number, body: any): Problem {
  const said = body?.error
  const message = typeof said === 'string' ? sentence(said) : `The collector answered ${status} without a reason.`
  return { status, message }
}

/** The collector's errors start small, as they also stand within others. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? '' : '.'}`
}
