import { IdMap } from '../record/ids'
import type { KeptRecord } from './kept-records'

/** How long the span for which a trace was kept may take to end. */
const WAIT_MS = 10_000
const MAX_RECORDS = 20_000
const MAX_OF_A_TRACE = 100

/**
 * What other spans say of the one for which a trace was kept. A server's span may have another name once it has ended, when its route is
 * known, so what it says itself counts, unless it doesn't come.
 */
export class AwaitedCauses {
  /** By trace, the first ones first. */
  private readonly traces = new IdMap<{ untilMs: number; records: KeptRecord[] }>()
  private count = 0

  /** @returns whether there is room for it */
  add(record: KeptRecord): boolean {
    const { traceId, reason, service, spanId } = record
    const trace = this.traces.get(traceId) ?? { untilMs: performance.now() + WAIT_MS, records: [] }
    const isSame = (of: KeptRecord) => of.spanId === spanId && of.reason === reason && of.service === service
    if (trace.records.some(isSame)) return true
    if (this.count >= MAX_RECORDS || trace.records.length >= MAX_OF_A_TRACE) return false
    this.count++
    trace.records.push(record)
    this.traces.set(traceId, trace)
    return true
  }

  /**
   * Forgets what has come.
   * @param spanId undefined: whichever span it was
   */
  remove(traceId: bigint, reason: string, service: string, spanId?: string): void {
    const trace = this.traces.get(traceId)
    if (trace === undefined) return
    const isThat = (of: KeptRecord) =>
      of.reason === reason && of.service === service && (spanId === undefined || of.spanId === spanId)
    const rest = trace.records.filter(record => !isThat(record))
    this.count -= trace.records.length - rest.length
    trace.records = rest
    if (rest.length === 0) this.traces.delete(traceId)
  }

  /** Takes those of which the span hasn't come in time. */
  take(nowMs = performance.now()): KeptRecord[] {
    const taken: KeptRecord[] = []
    for (const [traceId, { untilMs, records }] of this.traces) {
      if (untilMs > nowMs) break
      taken.push(...records)
      this.count -= records.length
      this.traces.delete(traceId)
    }
    return taken
  }
}
