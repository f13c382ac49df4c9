import type { SpanRecord } from 'milo/codec/span'
import { hexId } from './ids'
import type { KeptReason, LeftOut } from './model'

/** What records say of a trace that was kept after the fact. */

/** The annotation of spans that were sent after the fact; its value is the reason. */
export const KEEP_KEY = 'milo.keep'
/** The reason of spans that were sent because another process had kept the trace. */
export const ASKED = 'asked'
/** When the history began from which a process sent spans, in microseconds since the epoch. */
export const HISTORY_KEY = 'milo.history'
/** How many spans of the trace that process has left out before it, because of its limits. */
export const LEFT_OUT_KEY = 'milo.left_out'

const MAX_REASONS = 100

/**
 * Returns why a trace was kept, each reason once for a service and name. That a process was asked is no reason: who asked has sent
 * nothing, or nothing yet, or was a person.
 * @returns undefined if it was sampled
 */
export function keptReasons(records: SpanRecord[]): KeptReason[] | undefined {
  const found = new Map<string, KeptReason>()
  let isKept = false
  for (const { annotations, service, name = '', id, probability } of records) {
    const reason = annotations?.get(KEEP_KEY)
    // An application may say it of a trace that is sampled as well.
    if (reason === undefined || id === undefined || probability) continue
    isKept = true
    if (reason === ASKED || found.size === MAX_REASONS) continue
    const kept = { reason, service: service || null, name, spanId: hexId(id) }
    found.set(JSON.stringify([reason, service, name]), kept)
  }
  return isKept ? [...found.values()] : undefined
}

/** Returns how many spans of a trace services have left out. */
export function leftOutOf(records: SpanRecord[]): LeftOut[] {
  const counts = new Map<string, number>()
  for (const { annotations, service = '' } of records) {
    const spans = Number(annotations?.get(LEFT_OUT_KEY))
    if (spans > 0 && Number.isSafeInteger(spans)) counts.set(service, (counts.get(service) ?? 0) + spans)
  }
  return [...counts].map(([service, spans]) => ({ service: service || null, spans }))
}
