import type { StoredTrace } from '../../record/records'
import type { TraceReader } from '../../store/store'
import { traceIdsOf, withHigh } from '../../trace'
import type { AskStore } from '../ask-store'

/** How much is read of one trace of a sample: some 4,000 spans. Of a longer one, it is the beginning. */
export const FOUND_BYTES = 1024 * 1024

/**
 * Reads a trace that a search has found. It has no records if it has expired meanwhile.
 * @param id as a summary has it
 */
export async function readFound(
  askStore: AskStore<TraceReader>,
  id: string,
  maxBytes = FOUND_BYTES,
): Promise<StoredTrace> {
  const { low, high } = traceIdsOf(id)[0]!
  const trace = await askStore(store => store.readTrace(low, maxBytes))
  return { ...trace, records: withHigh(trace.records, high) }
}
