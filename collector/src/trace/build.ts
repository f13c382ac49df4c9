import type { SpanRecord } from '../../../src/codec/span'
import { byTime, hexId, mergeSpan } from './merge'
import { NO_PARENT, type Trace, type TraceSpan } from './model'

/**
 * Rebuilds a trace from what was reported of it, in any order. Never throws, whatever the records say; records without a
 * span id, which the collector doesn't accept, are left out.
 * @param records all of one trace id (its low 64 bits)
 */
export function buildTrace(records: SpanRecord[]): Trace {
  const groups = new Map<string, SpanRecord[]>()
  const services = new Set<string>()
  let low = 0n
  let high = 0n
  for (const record of records) {
    if (record.id === undefined) continue
    const spanId = hexId(record.id)
    const group = groups.get(spanId)
    if (group === undefined) groups.set(spanId, [record])
    else group.push(record)
    if (record.service) services.add(record.service)
    if (record.traceId) low = record.traceId
    if (record.traceIdHigh) high = record.traceIdHigh
  }
  const merged: TraceSpan[] = []
  for (const [spanId, group] of groups) merged.push(mergeSpan(spanId, group))
  // Siblings by start, and else by id, so that the order never depends on arrival.
  merged.sort((a, b) => byTime(a.start, b.start) || (a.spanId < b.spanId ? -1 : 1))
  return {
    traceId: (high === 0n ? '' : hexId(high)) + hexId(low),
    ...extent(merged),
    services: [...services].sort(),
    spans: layOut(merged),
  }
}

/**
 * The tree in depth-first order, without recursion: a chain may be 100,000 deep. Children hang on linked lists of indices
 * into `sorted`, filled from the back so that they come out in its order.
 *
 *     roots (parent 0) │ orphans (parent not here) │ circles, each cut at its earliest span
 */
function layOut(sorted: TraceSpan[]): TraceSpan[] {
  const indexOf = new Map<string, number>()
  for (let i = 0; i < sorted.length; i++) indexOf.set(sorted[i]!.spanId, i)
  const parent = new Int32Array(sorted.length).fill(-1)
  const firstChild = new Int32Array(sorted.length).fill(-1)
  const nextSibling = new Int32Array(sorted.length).fill(-1)
  const roots: number[] = []
  const orphans: number[] = []
  for (let i = sorted.length - 1; i >= 0; i--) {
    const { parentId } = sorted[i]!
    // A span whose id really is 0 has no children: parent 0 means that there is no parent.
    const p = parentId === NO_PARENT ? undefined : indexOf.get(parentId)
    if (p === undefined) {
      if (parentId === NO_PARENT) roots.push(i)
      else orphans.push(i)
    } else {
      parent[i] = p
      nextSibling[i] = firstChild[p]!
      firstChild[p] = i
    }
  }

  const out: TraceSpan[] = []
  const placed = new Uint8Array(sorted.length)
  const stack: number[] = []
  const place = (i: number, depth: number) => {
    sorted[i]!.depth = depth
    placed[i] = 1
    out.push(sorted[i]!)
    if (firstChild[i] !== -1) stack.push(firstChild[i]!)
  }
  const descend = (top: number, orphan: boolean, cycle: boolean) => {
    place(top, 0)
    sorted[top]!.orphan = orphan
    sorted[top]!.cycle = cycle
    while (stack.length > 0) {
      const i = stack.pop()!
      if (nextSibling[i] !== -1) stack.push(nextSibling[i]!)
      if (!placed[i]) place(i, sorted[parent[i]!]!.depth + 1)
    }
  }
  for (const i of roots.reverse()) descend(i, false, false)
  for (const i of orphans.reverse()) descend(i, true, false)
  // What is left hangs on a circle: walk up until a step repeats, then once around for the earliest.
  const walked = new Int32Array(sorted.length).fill(-1)
  for (let from = 0; from < sorted.length && out.length < sorted.length; from++) {
    if (placed[from]) continue
    let at = from
    for (; walked[at] !== from; at = parent[at]!) walked[at] = from
    let earliest = at
    for (let i = parent[at]!; i !== at; i = parent[i]!) earliest = Math.min(earliest, i)
    descend(earliest, false, true)
  }
  return out
}

function extent(spans: TraceSpan[]): { start: number | null; duration: number | null } {
  let first = Infinity
  let last = -Infinity
  const add = (start: number | null, duration: number | null) => {
    if (start === null) return
    first = Math.min(first, start)
    last = Math.max(last, start + (duration ?? 0))
  }
  for (const span of spans) {
    add(span.start, span.duration)
    add(span.serverStart, span.serverDuration)
  }
  return first === Infinity ? { start: null, duration: null } : { start: first, duration: last - first }
}
