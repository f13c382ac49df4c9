import type { IdTable } from './ids'

/** Where a span stands that isn't just some span's child. */
export const ORPHAN = 1
export const CYCLE = 2

/** Spans by number in depth-first order, and in that order, their depths, the places of their parents (−1), and marks. */
export interface Tree {
  order: Int32Array
  depth: Int32Array
  parent: Int32Array
  mark: Uint8Array
}

/**
 * The tree, without recursion: a chain may be 100,000 deep. Children hang on linked lists of places in `sorted`, filled from
 * the back so that they come out in its order.
 *
 *     roots (parent 0) │ orphans (parent not here) │ circles, each cut at its earliest span
 *
 * @param parents of the spans, by number; −1 for those without one, or whose parent isn't here
 * @param isRoot whether such a span has none
 */
export function layOut(
  starts: Float64Array,
  ids: IdTable,
  parents: Int32Array,
  isRoot: (span: number) => boolean,
): Tree {
  const count = starts.length
  const sorted = bySiblings(starts, ids)
  const placeOf = new Int32Array(count)
  for (let i = 0; i < count; i++) placeOf[sorted[i]!] = i
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
      const p = placeOf[parents[span]!]!
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
  // Where each has come to stand, or −1.
  const out = new Int32Array(count).fill(-1)
  let size = 0
  const stack: number[] = []
  const place = (i: number, under: number) => {
    tree.order[size] = sorted[i]!
    tree.parent[size] = under
    tree.depth[size] = under === -1 ? 0 : tree.depth[under]! + 1
    out[i] = size++
    if (firstChild[i] !== -1) stack.push(firstChild[i]!)
  }
  const descend = (top: number, mark: number) => {
    tree.mark[size] = mark
    place(top, -1)
    while (stack.length > 0) {
      const i = stack.pop()!
      if (nextSibling[i] !== -1) stack.push(nextSibling[i]!)
      if (out[i] === -1) place(i, out[parent[i]!]!)
    }
  }
  for (const i of roots.reverse()) descend(i, 0)
  for (const i of orphans.reverse()) descend(i, ORPHAN)
  // What is left hangs on a circle: walk up until a step repeats, then once around for the earliest.
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

/** Spans by start, and else by id, so that the order never depends on arrival. What has no start (NaN) comes last. */
function bySiblings(starts: Float64Array, ids: IdTable): Int32Array {
  const keys = starts.map(start => (Number.isNaN(start) ? Infinity : start))
  const compare = (a: number, b: number) => {
    const first = keys[a]!
    const second = keys[b]!
    return first < second ? -1 : first > second ? 1 : ids.compare(a, b)
  }
  // In order already, but for equal starts: a sort that merges runs makes few comparisons.
  return Int32Array.from([...roughOrder(keys)].sort(compare))
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
