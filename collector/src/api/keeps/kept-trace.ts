import type { SpanRecord } from 'milo/codec/span'
import { REQUESTED } from '../../keep/keeping'
import type { Rings } from '../../keep/rings'
import type { KeepReader, StoredKeep } from '../../store/keeps'
import { type KeptReason, type KeptTrace, leftOutOf, type Trace } from '../../trace'
import type { AskStore } from '../ask-store'
import { missingHalves } from './missing'

/**
 * Says of a trace that was kept after the fact why it was, and what is missing in it.
 * @param reasons those that its records say
 */
export async function keptTrace(
  askStore: AskStore<KeepReader>,
  trace: Trace,
  records: SpanRecord[],
  reasons: KeptReason[],
  rings: Rings,
): Promise<KeptTrace> {
  const id = BigInt.asIntN(64, BigInt(`0x${trace.traceId}`))
  const keeps = await askStore(store => store.keepsOf(id))
  const keptUs = keeps.length === 0 ? undefined : Math.min(...keeps.map(({ atUs }) => atUs))
  const found = await missingHalves(askStore, trace, records, keptUs, rings)
  // Whose process kept it has sent nothing, or a person asked for it.
  return { reasons: reasons.length > 0 ? reasons : reasonsOf(keeps), ...found, leftOut: leftOutOf(records) }
}

/** The earliest first, each once. */
function reasonsOf(keeps: StoredKeep[]): KeptReason[] {
  const known = keeps.filter(({ reason }) => reason !== '')
  const found = new Map(known.map(keep => [JSON.stringify(reasonOf(keep)), reasonOf(keep)]))
  return [...found.values()].reverse()
}

function reasonOf({ reason, service, name, by }: StoredKeep): KeptReason {
  const of = { reason, service: service || null, name, spanId: null }
  return reason === REQUESTED && name === '' ? { ...of, by: by || null } : of
}
