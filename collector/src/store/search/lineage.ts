import type { SpanRecord } from 'milo/codec/span'
import { IdMap } from '../../record/ids'

/**
 * Which spans of a trace are below which. A span may have several parents, as its halves may name different ones; parents may be
 * missing, and may form circles, in which each span is below every other and below itself.
 */

export type SpanId = bigint | undefined

/** Whether no half names a parent: 0 means none, too. */
export function isRoot(halves: SpanRecord[]): boolean {
  return !halves.some(({ parentId }) => parentId)
}

/** Yields the spans that the halves name as parents. A span that names itself isn't its own child. */
export function* parentsOf(halves: SpanRecord[]): Generator<bigint, void> {
  for (const { id, parentId } of halves) if (parentId && parentId !== id) yield parentId
}

/** A trace's spans, and which are directly above which: by their numbers, as a trace may have 100,000 of them. */
export interface Lineage {
  spans: SpanRecord[][]
  parents: readonly number[][]
  children: readonly number[][]
}

/** Returns the lineage of some records; it yields now and then, since there may be many. */
export function* lineageOf(records: SpanRecord[]): Generator<void, Lineage> {
  const numbers = new IdMap<number, SpanId>()
  const spans: SpanRecord[][] = []
  for (const [i, record] of records.entries()) {
    if (i % STEPS === 0) yield
    const number = numbers.get(record.id)
    if (number !== undefined) {
      spans[number]!.push(record)
      continue
    }
    numbers.set(record.id, spans.length)
    spans.push([record])
  }
  const parents: number[][] = spans.map(() => [])
  const children: number[][] = spans.map(() => [])
  for (const [number, halves] of spans.entries()) {
    if (number % STEPS === 0) yield
    for (const id of parentsOf(halves)) {
      const parent = numbers.get(id)
      if (parent === undefined || parents[number]!.includes(parent)) continue
      parents[number]!.push(parent)
      children[parent]!.push(number)
    }
  }
  return { spans, parents, children }
}

const STEPS = 64

/** Returns which spans can be reached from some by `next`. Each is visited once, so a circle ends; one that only begins isn't reached. */
export function* reachedFrom(from: Iterable<number>, next: readonly number[][]): Generator<void, Uint8Array> {
  const reached = new Uint8Array(next.length)
  const left = [...from]
  for (let steps = 0, at = left.pop(); at !== undefined; at = left.pop()) {
    if (++steps % STEPS === 0) yield
    for (const other of next[at]!) {
      if (reached[other] === 1) continue
      reached[other] = 1
      left.push(other)
    }
  }
  return reached
}
