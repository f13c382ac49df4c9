import { sideOf } from 'milo/codec/events'
import type { SpanRecord } from 'milo/codec/span'
import { isError } from '../../record/half'
import { IdSet } from '../../record/ids'
import { hexId } from '../../trace/ids'
import type { TraceSummary } from '../../trace/model'

/**
 * Summarizes a trace in one pass over its records without building its tree, which takes long for large traces. Clocks aren't
 * corrected, and of several roots the earliest counts.
 * @param records all records of one trace, at least one
 */
export function summarizeRecords(records: SpanRecord[]): TraceSummary {
  const spans = new IdSet()
  const failed = new IdSet()
  const services = new Map<string, IdSet>()
  let first = Number.POSITIVE_INFINITY
  let last = Number.NEGATIVE_INFINITY
  let root: { record: SpanRecord; start: number; server: boolean } | undefined
  for (const record of records) {
    const { id, events, service } = record
    if (id === undefined) continue
    spans.add(id)
    if (isError(record)) failed.add(id)
    if (service) {
      const reported = services.get(service)
      if (reported === undefined) services.set(service, new IdSet([id]))
      else reported.add(id)
    }
    let start = Number.POSITIVE_INFINITY
    let server = false
    for (const { timestamp, eventType } of events ?? []) {
      server ||= sideOf(eventType) === 'server'
      if (timestamp === undefined) continue
      const time = Number(timestamp)
      start = Math.min(start, time)
      last = Math.max(last, time)
    }
    first = Math.min(first, start)
    if (record.parentId) continue
    const same = root?.record.id === id
    if (root === undefined || (same ? server && !root.server : start < root.start)) root = { record, start, server }
  }
  const { record } = root ?? { record: records[0]! }
  const names = [...services.keys()].sort()
  return {
    traceId: (record.traceIdHigh ? hexId(record.traceIdHigh) : '') + hexId(record.traceId ?? 0n),
    start: first === Number.POSITIVE_INFINITY ? null : first,
    duration: first === Number.POSITIVE_INFINITY ? null : last - first,
    name: record.name ?? '',
    service: record.service || null,
    services: names,
    serviceSpans: names.map(name => services.get(name)!.size),
    spanCount: spans.size,
    error: failed.size > 0,
    errorCount: failed.size,
  }
}
