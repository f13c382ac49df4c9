import type { SpanRecord } from 'milo/codec/span'
import { RECORD_HEADER } from 'milo/codec/span'
import { buildTree } from '../trace/build'
import { jointProbability, weightOf } from '../trace/probability'
import { ownerOf } from '../trace/totals'
import type { AnalysedTrace } from './analysis'
import { readLean } from './lean-record'

/**
 * Builds the traces of records that share the lower half of their trace ids. As a rule that is one; several, if the higher halves differ.
 * Records without a higher half, as a peer reports that passes on the lower one alone, belong to the trace with the most records.
 */
export function buildTraces(records: Buffer, isCut: boolean): AnalysedTrace[] {
  const all: SpanRecord[] = []
  /** The upper half of a record’s trace id; empty if it has none. */
  const high = (r: number) => (all[r]!.traceIdHigh ? String(all[r]!.traceIdHigh) : '')
  const counts = new Map<string, number>()
  for (let pos = 0; pos < records.length; pos += RECORD_HEADER + records.readInt32BE(pos + 4)) {
    const record = readLean(records, pos)
    all.push(record)
    const half = high(all.length - 1)
    if (half !== '') counts.set(half, (counts.get(half) ?? 0) + 1)
  }
  if (counts.size <= 1) return [analysed(all, records, isCut)]
  const halves = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([half]) => half)
  return halves.map((half, i) => {
    const own: SpanRecord[] = []
    const parts: Buffer[] = []
    let pos = 0
    for (const [r, record] of all.entries()) {
      const end = pos + RECORD_HEADER + records.readInt32BE(pos + 4)
      if (high(r) === half || (i === 0 && high(r) === '')) {
        own.push(record)
        parts.push(records.subarray(pos, end))
      }
      pos = end
    }
    return analysed(own, Buffer.concat(parts), isCut)
  })
}

function analysed(all: SpanRecord[], records: Buffer, isCut: boolean): AnalysedTrace {
  const tree = buildTree(all)
  const probability = jointProbability(all)
  const [root] = tree.spans
  let durationUs = 0
  for (const { criticalTime } of tree.spans) durationUs += criticalTime
  return {
    id: tree.traceId,
    tree,
    probability,
    weight: weightOf(probability),
    root: {
      service: ownerOf(root!),
      name: root!.name,
      startUs: root!.start ?? tree.start,
      durationUs,
      isRoot: !root!.orphan && !root!.cycle,
    },
    isCut,
    halves: all,
    records,
  }
}
