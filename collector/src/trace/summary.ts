import type { Trace, TraceSummary } from './model'

/** What a list of traces shows of one. */
export function summarize(trace: Trace): TraceSummary {
  return {
    traceId: trace.traceId,
    start: trace.start,
    duration: trace.duration,
    name: trace.spans[0]?.name ?? '',
    services: trace.services,
    spanCount: trace.spans.length,
    error: trace.spans.some(span => span.error),
  }
}
