import { arose, summaryFailure } from './failure'
import type { Trace, TraceSummary } from './model'
import { jointProbability } from './probability'
import { ownerOf } from './totals'

/** Returns the summary of a trace for a list of traces. */
export function summarize(trace: Trace): TraceSummary {
  const reported = new Map(trace.totals.services.map(totals => [totals.service, totals.reported]))
  const root = trace.spans[0]
  const errorCount = trace.totals.services.reduce((sum, { errors }) => sum + errors, 0)
  return {
    traceId: trace.traceId,
    start: trace.start,
    duration: trace.duration,
    name: root?.name ?? '',
    service: root === undefined ? null : ownerOf(root),
    services: trace.services,
    serviceSpans: trace.services.map(service => reported.get(service) ?? 0),
    spanCount: trace.spans.length,
    error: errorCount > 0,
    errorCount,
    failure: errorCount === 0 ? null : summaryFailure(arose(trace)[0]),
    probability: jointProbability(trace.spans),
  }
}
