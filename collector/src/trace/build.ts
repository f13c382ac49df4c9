import type { SpanRecord } from '../../../src/codec/span'
import { hexId, type IdTable } from './ids'
import { measure } from './measure'
import { Merger } from './merge'
import { NO_PARENT, type Trace, type TraceSpan } from './model'
import { Reports } from './reports'
import { estimateSkew } from './skew'

/** How many records or spans a step takes: a few milliseconds. */
const STEP = 4096

/**
 * Rebuilds a trace from what was reported of it, in any order. Never throws, whatever the records say; records without a
 * span id, which the collector doesn't accept, are left out.
 * @param records all of one trace id (its low 64 bits)
 */
export function buildTrace(records: SpanRecord[]): Trace {
  const steps = buildSteps(records)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/**
 * buildTrace, which lets others run in between: whenever it has worked for `sliceMs`, it waits for what `pause` gives.
 * @param pause for example `setImmediate` of node:timers/promises
 * @param onProgress is told, before each pause, how much is done, from 0 to 1
 */
export async function buildTraceInSlices(
  records: SpanRecord[],
  pause: () => Promise<unknown>,
  { sliceMs = 10, onProgress }: { sliceMs?: number; onProgress?: (done: number) => void } = {},
): Promise<Trace> {
  const steps = buildSteps(records)
  for (let began = performance.now(); ; ) {
    const step = steps.next()
    if (step.done) return step.value
    if (performance.now() - began < sliceMs) continue
    onProgress?.(step.value)
    await pause()
    began = performance.now()
  }
}

/** A trace in steps of a few milliseconds each; between them, how much is done. */
function* buildSteps(all: SpanRecord[]): Generator<number, Trace> {
  const records = all.every(({ id }) => id !== undefined) ? all : all.filter(({ id }) => id !== undefined)
  const reports = new Reports(records)
  for (let from = 0; from < records.length; from += STEP) {
    const to = Math.min(from + STEP, records.length)
    for (let r = from; r < to; r++) reports.read(r)
    yield (0.25 * to) / records.length
  }
  const { offsets, clocks } = estimateSkew(reports)
  yield 0.3

  const count = reports.ids.size
  const merger = new Merger(reports, offsets)
  const merged: TraceSpan[] = []
  for (let from = 0; from < count; from += STEP) {
    const to = Math.min(from + STEP, count)
    for (let i = from; i < to; i++) merged.push(merger.merge(i))
    yield 0.3 + (0.4 * to) / count
  }
  const order = bySiblings(merged, reports.ids)
  yield 0.75
  const spans = layOut(merged, order, merger.parents)
  yield 0.8
  const reported = reportedBy(reports)
  const totals = yield* measure(spans, reported)
  return { traceId: traceIdOf(records), ...extent(spans), services: [...reported.keys()], clocks, totals, spans }
}

function traceIdOf(records: SpanRecord[]): string {
  let low = 0n
  let high = 0n
  for (const { traceId, traceIdHigh } of records) {
    if (traceId) low = traceId
    if (traceIdHigh) high = traceIdHigh
  }
  return (high === 0n ? '' : hexId(high)) + hexId(low)
}

/** The services that reported, sorted, and of how many spans each did. */
function reportedBy({ records, ids, last, before }: Reports): Map<string, number> {
  const reported = new Map<string, { spans: number; latest: number }>()
  for (let i = 0; i < ids.size; i++) {
    for (let r = last[i]!; r !== -1; r = before[r]!) {
      const { service } = records[r]!
      if (!service) continue
      const known = reported.get(service)
      if (known === undefined) reported.set(service, { spans: 1, latest: i })
      else if (known.latest !== i) {
        known.spans++
        known.latest = i
      }
    }
  }
  return new Map([...reported.keys()].sort().map(service => [service, reported.get(service)!.spans]))
}

/** Siblings by start, and else by id, so that the order never depends on arrival. What has no start comes last. */
function bySiblings(merged: TraceSpan[], ids: IdTable): Int32Array {
  const starts = new Float64Array(merged.length)
  for (let i = 0; i < merged.length; i++) starts[i] = merged[i]!.start ?? Infinity
  const order = roughOrder(starts)
  const compare = (a: number, b: number) =>
    starts[a]! < starts[b]! ? -1 : starts[a]! > starts[b]! ? 1 : ids.compare(a, b)
  // In order already, but for equal starts: a sort that merges runs makes few comparisons.
  return Int32Array.from([...order].sort(compare))
}

/**
 * The spans by start, as far as numbers can be sorted natively, with each span's own in the last bits: that takes a tenth of
 * the time. Where start and number don't fit into 53 bits together, they are as they came.
 */
function roughOrder(starts: Float64Array): Iterable<number> {
  let first = Infinity
  let latest = -Infinity
  for (const start of starts) {
    if (start === Infinity) continue
    if (start < first) first = start
    if (start > latest) latest = start
  }
  const none = first === Infinity ? 0 : latest - first + 1
  if (!((none + 1) * starts.length <= Number.MAX_SAFE_INTEGER)) return starts.keys()
  const keys = starts.map((start, i) => (start === Infinity ? none : start - first) * starts.length + i).sort()
  return keys.map(key => key % starts.length)
}

/**
 * The tree in depth-first order, without recursion: a chain may be 100,000 deep. Children hang on linked lists of indices
 * into `sorted`, filled from the back so that they come out in its order.
 *
 *     roots (parent 0) │ orphans (parent not here) │ circles, each cut at its earliest span
 */
function layOut(merged: TraceSpan[], order: Int32Array, parents: Int32Array): TraceSpan[] {
  const sorted = Array.from(order, span => merged[span]!)
  const placeOf = new Int32Array(order.length)
  for (let i = 0; i < order.length; i++) placeOf[order[i]!] = i
  const parent = new Int32Array(sorted.length).fill(-1)
  const firstChild = new Int32Array(sorted.length).fill(-1)
  const nextSibling = new Int32Array(sorted.length).fill(-1)
  const roots: number[] = []
  const orphans: number[] = []
  for (let i = sorted.length - 1; i >= 0; i--) {
    const span = parents[order[i]!]!
    if (span === -1) {
      if (sorted[i]!.parentId === NO_PARENT) roots.push(i)
      else orphans.push(i)
    } else {
      const p = placeOf[span]!
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
