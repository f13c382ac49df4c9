import { diffTraces, type Trace, type TraceDiff } from '../../../src/trace'
import { answerWith } from '../../shell/answer-with'
import { requestHeaders } from '../../shell/credentials'
import { type Problem, problemOf, unreachable } from '../../shell/problem'

/** Fetches two traces and lays them over each other, beside the page. */
export type Compared = { diff: TraceDiff; a: Side; b: Side } | { problem: Problem; which: 'a' | 'b' }

interface Side {
  duration: number | null
  spans: number
}

answerWith(async ({ token, ...urls }: { a: string; b: string; token: string | null }): Promise<Compared> => {
  const headers = requestHeaders(token)
  const traces: Trace[] = []
  for (const which of ['a', 'b'] as const) {
    try {
      const response = await fetch(urls[which], { headers })
      const body = await response.json().catch(() => undefined)
      if (!response.ok || body === undefined) return { which, problem: problemOf(response.status, body) }
      traces.push(body)
    } catch {
      return { which, problem: unreachable() }
    }
  }
  const [a, b] = traces as [Trace, Trace]
  const side = ({ duration, spans }: Trace): Side => ({ duration, spans: spans.length })
  return { diff: diffTraces(a, b), a: side(a), b: side(b) }
})
