import { type DiffError, diffErrors, diffTraces, type Trace, type TraceDiff } from '../../src/trace'
import { answerWith } from '../shell/answer-with'
import { askJson } from '../shell/ask'
import type { Problem } from '../shell/problem'

/** The worker's answer: it fetches two traces and compares them, so that the page stays responsive. */
export type Compared =
  | { diff: TraceDiff; errors: DiffError[]; a: ComparedTrace; b: ComparedTrace }
  | { problem: Problem; which: 'a' | 'b' }

export interface ComparedTrace {
  traceId: string
  name: string
  start: number | null
  duration: number | null
  spans: number
  /** Only a part of the trace was read. */
  truncated: boolean
}

answerWith(async ({ token, ...urls }: { a: string; b: string; token: string | null }): Promise<Compared> => {
  const traces: Trace[] = []
  for (const which of ['a', 'b'] as const) {
    try {
      traces.push(await askJson<Trace>(urls[which], token))
    } catch (problem) {
      return { which, problem: problem as Problem }
    }
  }
  const [a, b] = traces as [Trace, Trace]
  const side = ({ traceId, start, duration, spans, truncated = false }: Trace): ComparedTrace => ({
    ...{ traceId, start, duration, truncated },
    name: spans[0]?.name ?? '',
    spans: spans.length,
  })
  return { diff: diffTraces(a, b), errors: diffErrors(a, b), a: side(a), b: side(b) }
})
