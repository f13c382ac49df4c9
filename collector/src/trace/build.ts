import type { SpanRecord } from 'milo/codec/span'
import { measureCritical } from './critical-path'
import { hexId } from './ids'
import { measureNetwork, measureSelf, waited } from './measure'
import { Merger } from './merge'
import { NO_PARENT, type Trace, type TraceSpan } from './model'
import { Reports } from './reports'
import { estimateSkew } from './skew'
import { Adder } from './totals'
import { CYCLE, layOut, ORPHAN } from './tree'

/** How many records or spans a step takes: a few milliseconds. */
const STEP = 4096

/**
 * Builds a trace from its records, in any order. It never throws, whatever the records hold. Records without a span id, which
 * the collector doesn't accept, are left out.
 * @param records all records of one trace id (its low 64 bits)
 */
export function buildTrace(records: SpanRecord[]): Trace {
  return finished(buildSteps(records, true)) as Trace
}

/** Builds a trace like buildTrace, but without totals, which take a fifth of the time. */
export function buildTree(records: SpanRecord[]): Omit<Trace, 'totals'> {
  return finished(buildSteps(records, false))
}

function finished<R>(steps: Generator<number, R>): R {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/**
 * Builds a trace like buildTrace, but in slices that let other work run in between.
 * @param pause returns a promise, which is awaited after each slice, for example `setImmediate` of node:timers/promises
 * @param sliceMs the length of a slice, in milliseconds
 * @param onProgress is called before each pause with the part that is done, from 0 to 1
 */
export async function buildTraceInSlices(
  records: SpanRecord[],
  pause: () => Promise<unknown>,
  { sliceMs = 10, onProgress }: { sliceMs?: number; onProgress?: (done: number) => void } = {},
): Promise<Trace> {
  const steps = buildSteps(records, true)
  for (let began = performance.now(); ; ) {
    const step = steps.next()
    if (step.done) return step.value as Trace
    if (performance.now() - began < sliceMs) continue
    onProgress?.(step.value)
    await pause()
    began = performance.now()
  }
}

/** Builds a trace in steps of a few milliseconds each. After each step it yields the part that is done, from 0 to 1. */
function* buildSteps(
  records: SpanRecord[],
  hasTotals: boolean,
): Generator<number, Omit<Trace, 'totals'> & { totals?: Trace['totals'] }> {
  const reports = new Reports(records)
  for (let from = 0; from < records.length; from += STEP) {
    const to = Math.min(from + STEP, records.length)
    for (let r = from; r < to; r++) reports.read(r)
    yield (0.25 * to) / records.length
  }
  reports.orderClocks()
  const { offsets, clocks } = estimateSkew(reports)
  yield 0.3

  const { size } = reports.ids
  const merger = new Merger(reports, offsets)
  const { columns } = merger
  const merged: TraceSpan[] = []
  for (let from = 0; from < size; from += STEP) {
    const to = Math.min(from + STEP, size)
    for (let i = from; i < to; i++) merged.push(merger.merge(i))
    yield 0.3 + (0.4 * to) / size
  }
  const tree = layOut(columns.start, reports.ids, columns.parent, span => merged[span]!.parentId === NO_PARENT)
  yield 0.75
  const selfTimes = measureSelf(tree, columns)
  const networkTimes = measureNetwork(tree, columns)
  yield 0.8
  const criticalTimes = measureCritical(tree, columns)
  yield 0.85

  const spans: TraceSpan[] = []
  const adder = hasTotals ? new Adder(columns.reported) : undefined
  for (let from = 0; from < size; from += STEP) {
    const to = Math.min(from + STEP, size)
    for (let i = from; i < to; i++) {
      const span = merged[tree.order[i]!]!
      span.depth = tree.depth[i]!
      span.orphan = tree.mark[i] === ORPHAN
      span.cycle = tree.mark[i] === CYCLE
      if (span.duration !== null) span.selfTime = selfTimes[i]!
      span.criticalTime = criticalTimes[i]!
      if (span.kind === 'client') span.networkTime = waited(networkTimes[i]!)
      adder?.add(span)
      spans.push(span)
    }
    yield 0.85 + (0.15 * to) / size
  }
  const { first, latest } = columns
  return {
    traceId: (reports.traceIdHigh === 0n ? '' : hexId(reports.traceIdHigh)) + hexId(reports.traceId),
    start: first === Infinity ? null : first,
    duration: first === Infinity ? null : latest - first,
    services: [...columns.reported.keys()].sort(),
    clocks,
    ...(adder !== undefined && { totals: adder.totals() }),
    spans,
  }
}
