import type { SpanRecord } from 'milo/codec/span'
import { IdMap, IdSet } from '../../record/ids'

/**
 * Which spans of a trace are below which. A span may have several parents, as its halves may name different ones; parents may be
 * missing, and may form circles, in which each span is below every other and below itself.
 */

export type SpanId = bigint | undefined

/** The records of each span. */
export type Spans = IdMap<SpanRecord[], SpanId>

export function spansOf(records: SpanRecord[]): Spans {
  const spans: Spans = new IdMap()
  for (const record of records) {
    const halves = spans.get(record.id)
    if (halves === undefined) spans.set(record.id, [record])
    else halves.push(record)
  }
  return spans
}

/** Whether no half names a parent: 0 means none, too. */
export function isRoot(halves: SpanRecord[]): boolean {
  return !halves.some(({ parentId }) => parentId)
}

/** Yields the spans that the halves name as parents. A span that names itself isn't its own child. */
export function* parentsOf(halves: SpanRecord[]): Generator<bigint, void> {
  for (const { id, parentId } of halves) if (parentId && parentId !== id) yield parentId
}

/** Returns all spans that are somewhere above one of these. */
export function ancestorsOf(of: Iterable<SpanRecord[]>, spans: Spans): IdSet {
  return reached(of, halves => parentsOf(halves), spans)
}

/** Returns all spans that are somewhere below one of these. */
export function descendantsOf(of: Iterable<SpanRecord[]>, spans: Spans): IdSet {
  const children = new IdMap<bigint[]>()
  for (const [id, halves] of spans) {
    for (const parent of parentsOf(halves)) {
      const siblings = children.get(parent)
      if (siblings === undefined) children.set(parent, [id!])
      else siblings.push(id!)
    }
  }
  return reached(of, ([half]) => children.get(half!.id!) ?? [], spans)
}

/** Visits each span once, so a circle ends. */
function reached(from: Iterable<SpanRecord[]>, next: (halves: SpanRecord[]) => Iterable<bigint>, spans: Spans): IdSet {
  const found = new IdSet()
  const left = [...from]
  for (let halves = left.pop(); halves !== undefined; halves = left.pop()) {
    for (const id of next(halves)) {
      if (found.has(id)) continue
      found.add(id)
      const ofSpan = spans.get(id)
      if (ofSpan !== undefined) left.push(ofSpan)
    }
  }
  return found
}
