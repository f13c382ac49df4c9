import type { SpanRecord } from '../../src/codec/span'

/** A span that can be told by its id. */
export function relayedSpan(id: bigint): SpanRecord {
  return { traceId: 7n, id, name: 'relayed', annotations: new Map([['note', 'not ASCII: ä']]) }
}
