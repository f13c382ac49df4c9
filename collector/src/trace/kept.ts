import type { SpanRecord } from 'milo/codec/span'
import { hexId } from './ids'
import type { KeptReason, LeftOut } from './model'

/** What records say of a trace that was kept after the fact. */

/** The annotation of spans that were sent after the fact; its value is the reason. */
export const KEEP_KEY = 'milo.keep'
/**
 * Which span a process kept the trace for, as its id and its name: on the first span that the process has sent of it, and on that span
 * itself. Without it, as older SDKs send them, any span with the reason may be the one.
 */
export const KEEP_SPAN_KEY = 'milo.keep_span'
/** The reason of spans that were sent because another process had kept the trace. */
export const ASKED = 'asked'
/** When the history began from which a process sent spans, in microseconds since the epoch. */
export const HISTORY_KEY = 'milo.history'
/** How many spans of the trace that process has left out before it, because of its limits. */
export const LEFT_OUT_KEY = 'milo.left_out'

const MAX_REASONS = 100
const KEEP_SPAN = /^([0-9a-f]{16}) (.{0,256})/s

/** What `milo.keep_span` says; undefined if it isn't that. */
export function keepSpanOf(value: string | undefined): { spanId: string; name: string } | undefined {
  const [, spanId, name] = KEEP_SPAN.exec(value ?? '') ?? []
  return spanId === undefined ? undefined : { spanId, name: name! }
}

/**
 * Returns why a trace was kept, each reason once for a service and name. That a process was asked is no reason: who asked has sent
 * nothing, or nothing yet, or was a person.
 * @returns undefined if it was sampled
 */
export function keptReasons(records: SpanRecord[]): KeptReason[] | undefined {
  /** By span, and by name. */
  const told = new Map<string, KeptReason>()
  const untold = new Map<string, KeptReason>()
  if (!records.some(isOfKept)) return undefined
  for (const { annotations, service, name = '', id, probability } of records) {
    const reason = annotations?.get(KEEP_KEY)
    if (reason === undefined || reason === ASKED || id === undefined || probability) continue
    const own = { reason, service: service || null, name, spanId: hexId(id) }
    const cause = keepSpanOf(annotations!.get(KEEP_SPAN_KEY))
    const [found, key] = cause === undefined ? [untold, name] : [told, cause.spanId]
    const of = JSON.stringify([reason, service, key])
    // A span may have another name when it ends than when its trace was kept.
    const isBest = cause === undefined || cause.spanId === own.spanId
    if (found.has(of) ? isBest : found.size < MAX_REASONS) found.set(of, { ...own, ...(isBest ? {} : cause) })
  }
  const processOf = ({ reason, service }: KeptReason) => JSON.stringify([reason, service])
  const tellers = new Set([...told.values()].map(processOf))
  const reasons = [...told.values(), ...[...untold.values()].filter(one => !tellers.has(processOf(one)))]
  const named = new Map(reasons.map(one => [JSON.stringify([processOf(one), one.name]), one]))
  return [...named.values()].slice(0, MAX_REASONS)
}

/**
 * Whether a record can only be of a trace that was kept after the fact. An application may write milo.keep into a sampled trace as well,
 * also into a forced one, whose probability is 0 too: but nobody was asked for it, and no history had it.
 */
function isOfKept({ annotations, id, probability }: SpanRecord): boolean {
  const reason = annotations?.get(KEEP_KEY)
  if (reason === undefined || id === undefined || probability) return false
  return reason === ASKED || annotations!.has(HISTORY_KEY) || annotations!.has(KEEP_SPAN_KEY)
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
