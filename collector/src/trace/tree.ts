import type { IdTable } from './ids'

/** Marks of spans at the top of the tree that aren't roots. */
export const ORPHAN = 1
export const CYCLE = 2

/** The spans in depth-first order. All columns are in that order. */
export interface Tree {
  /** The numbers of the spans. */
  order: Int32Array
  depth: Int32Array
  /** The positions of the parents in `order`, or −1. */
  parent: Int32Array
  mark: Uint8Array
}

/**
 * Builds the tree without recursion: a chain may be 100,000 spans deep. Children are in linked lists of positions in `sorted`,
 * which are filled from the back, so that they come out in its order.
 *
 *     roots (parent 0) │ orphans (parent not here) │ circles, each cut at its earliest span
 *
 * @param parents the parent of each span, by number; −1 if it has none, or its parent isn't here
 * @param isRoot tells whether a span with −1 has no parent
 */
export function layOut(
  starts: Float64Array,
  ids: IdTable,
  parents: Int32Array,
  isRoot: (span: number) => boolean,
): Tree {
  const count = starts.length
  const sorted = bySiblings(starts, ids)
  const positionOf = new Int32Array(count)
  for (let i = 0; i < count; i++) positionOf[sorted[i]!] = i
  const parent = new Int32Array(count).fill(-1)
  const firstChild = new Int32Array(count).fill(-1)
  const nextSibling = new Int32Array(count).fill(-1)
  const roots: number[] = []
  const orphans: number[] = []
  for (let i = count - 1; i >= 0; i--) {
    const span = sorted[i]!
    if (parents[span] === -1) {
      if (isRoot(span)) roots.push(i)
      else orphans.push(i)
    } else {
      const p = positionOf[parents[span]!]!
      parent[i] = p
      nextSibling[i] = firstChild[p]!
      firstChild[p] = i
    }
  }

  const tree: Tree = {
    order: new Int32Array(count),
    depth: new Int32Array(count),
    parent: new Int32Array(count).fill(-1),
    mark: new Uint8Array(count),
  }
  // The position in `order` of each position in `sorted`; −1 until it has one.
  const out = new Int32Array(count).fill(-1)
  let size = 0
  const stack: number[] = []
  const add = (i: number, under: number) => {
    tree.order[size] = sorted[i]!
    tree.parent[size] = under
    tree.depth[size] = under === -1 ? 0 : tree.depth[under]! + 1
    out[i] = size++
    if (firstChild[i] !== -1) stack.push(firstChild[i]!)
  }
  const descend = (top: number, mark: number) => {
    tree.mark[size] = mark
    add(top, -1)
    while (stack.length > 0) {
      const i = stack.pop()!
      if (nextSibling[i] !== -1) stack.push(nextSibling[i]!)
      if (out[i] === -1) add(i, out[parent[i]!]!)
    }
  }
  for (const i of roots.reverse()) descend(i, 0)
  for (const i of orphans.reverse()) descend(i, ORPHAN)
  // The other spans are in circles or below them: walk up until a span repeats, then once around to find the earliest.
  const walked = new Int32Array(count).fill(-1)
  for (let from = 0; from < count && size < count; from++) {
    if (out[from] !== -1) continue
    let at = from
    for (; walked[at] !== from; at = parent[at]!) walked[at] = from
    let earliest = at
    for (let i = parent[at]!; i !== at; i = parent[i]!) earliest = Math.min(earliest, i)
    descend(earliest, CYCLE)
  }
  return tree
}

/** Sorts spans by start and then by id, so that the order never depends on arrival. Spans without a start (NaN) come last. */
function bySiblings(starts: Float64Array, ids: IdTable): Int32Array {
  const keys = starts.map(start => (Number.isNaN(start) ? Infinity : start))
  const compare = (a: number, b: number) => {
    const first = keys[a]!
    const second = keys[b]!
    return first < second ? -1 : first > second ? 1 : ids.compare(a, b)
  }
  if (starts.length <= FEW) return insertionSorted(starts.length, compare)
  // The order is right already but for equal starts, so that a sort that merges runs makes few comparisons.
  return Int32Array.from([...roughOrder(keys)].sort(compare))
}

/** So many are sorted faster one by one than natively. */
const FEW = 16

/** Sorts the numbers below `count`. */
function insertionSorted(count: number, compare: (a: number, b: number) => number): Int32Array {
  const sorted = new Int32Array(count)
  for (let i = 0; i < count; i++) {
    let at = i
    for (; at > 0 && compare(sorted[at - 1]!, i) > 0; at--) sorted[at] = sorted[at - 1]!
    sorted[at] = i
  }
  return sorted
}

/**
 * Sorts spans by start natively, as numbers that hold the start and, in the last bits, the span's number. This takes a tenth
 * of the time. If both don't fit into 53 bits together, the spans stay in their order.
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
