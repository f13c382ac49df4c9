import type { Ingest } from '../../../collector/src/receive/ingest'
import type { LogEntry, ResultCode } from '../../../src/codec/scribe'
import type { SpanRecord } from '../../../src/codec/span'

/** A span that can be told by its id. */
export function relayedSpan(id: bigint): SpanRecord {
  return { traceId: 7n, id, name: 'relayed', annotations: new Map([['note', 'not ASCII: ä']]) }
}

/** A call of Log, all its steps at once. */
export function log(ingest: Ingest, entries: LogEntry[]): Promise<ResultCode> {
  const call = ingest.log(entries, 0, { inFlightBytes: 0 })
  if ('then' in call) return call
  for (;;) {
    const { done, value } = call.next()
    if (done) return value
  }
}
