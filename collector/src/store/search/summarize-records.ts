import { sideOf } from 'milo/codec/events'
import type { SpanRecord } from 'milo/codec/span'
import { isError, spanStartUs } from '../../record/half'
import { IdMap, IdSet } from '../../record/ids'
import { buildTrace } from '../../trace'
import { earlier, summaryFailure } from '../../trace/failure'
import { hexId } from '../../trace/ids'
import type { SummaryFailure, TraceSummary } from '../../trace/model'
import { jointProbability } from '../../trace/probability'

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
    failure: failed.size === 0 ? null : firstFailure(records, failed),
    probability: jointProbability(records),
  }
}

/** Returns the earliest failure with none below it. Parents in a circle have each other below them: then it is the earliest of all. */
function firstFailure(records: SpanRecord[], failed: IdSet): SummaryFailure | null {
  const parents = new IdMap<bigint>()
  const halves = new IdMap<SpanRecord[]>()
  for (const record of records) {
    const { id, parentId } = record
    if (id === undefined) continue
    if (parentId) parents.set(id, parentId)
    if (!failed.has(id)) continue
    const others = halves.get(id)
    if (others === undefined) halves.set(id, [record])
    else others.push(record)
  }
  const above = new IdSet()
  for (const id of halves.keys()) {
    for (let at = parents.get(id); at !== undefined && !above.has(at); at = parents.get(at)) above.add(at)
  }
  let first: { start: number | null; spanId: string; halves: SpanRecord[]; isAbove: boolean } | undefined
  for (const [id, own] of halves) {
    const found = { start: spanStartUs(own) ?? null, spanId: hexId(id), halves: own, isAbove: above.has(id) }
    if (first !== undefined && found.isAbove && !first.isAbove) continue
    if (first === undefined || (first.isAbove && !found.isAbove) || earlier(found, first) < 0) first = found
  }
  return summaryFailure(buildTrace(first!.halves).spans[0])
}
