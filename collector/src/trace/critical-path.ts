import type { SpanColumns } from './columns'
import type { Tree } from './tree'

type Times = Pick<SpanColumns, 'start' | 'duration' | 'clientStart' | 'clientDuration' | 'serverDuration'>

/**
 * Walks the critical path of the first root: what it waited for. The walk goes backward from the root's end. The child that
 * finished last before that point takes the time from its start to its end, and is walked in the same way. From the child's
 * start, the walk goes on with the child that finished last before that. Time that no child takes is the span's own.
 *
 *     root   ├─────────────────────────────┤
 *     a        ├───────┤
 *     b            ├──────┤                       runs beside a and ends later: a faster a would change nothing
 *     c                     ├──────┤
 *     path   ┄┄┄┄┄┄[───b──]┄[──c───]┄┄┄┄┄┄        ┄ is the root's own
 *
 * A span doesn't wait for what ends after it: a child that outlives its parent isn't on the path, and only the client's half
 * of a call counts. The exception is a server's span below the client's span: it may end after its last byte has arrived, so
 * it is cut at the client's end. Each microsecond of the root belongs to one span, so the sum is the root's duration.
 * @param times by span, as `order` numbers them
 * @param visit is called for each part of the path, with a position in `order`, a start and an end; a span's latest part
 *   comes first
 */
export function walkCriticalPath(
  { order, parent }: Pick<Tree, 'order' | 'parent'>,
  times: Times,
  visit: (at: number, from: number, to: number) => void,
): void {
  const { start, duration, clientStart, clientDuration } = times
  const count = order.length
  const from = new Float64Array(count).fill(Infinity)
  const to = new Float64Array(count).fill(-Infinity)
  const firstChild = new Int32Array(count).fill(-1)
  const nextSibling = new Int32Array(count).fill(-1)
  // In this direction, children come before their parents.
  for (let i = count - 1; i >= 0; i--) {
    const span = order[i]!
    const p = parent[i]!
    if (p !== -1 && !Number.isNaN(clientStart[span]!)) {
      from[i] = clientStart[span]!
      to[i] = from[i]! + clientDuration[span]!
    } else if (!Number.isNaN(start[span]!)) {
      from[i] = start[span]!
      to[i] = from[i]! + duration[span]!
    }
    if (p === -1) continue
    nextSibling[i] = firstChild[p]!
    firstChild[p] = i
    // A span without times, such as the original's roots, is as long as the calls that it made.
    if (Number.isNaN(start[order[p]!]!)) {
      from[p] = Math.min(from[p]!, from[i]!)
      to[p] = Math.max(to[p]!, to[i]!)
    }
  }

  // Spans on the path that are still to be walked, with the part of them that counts.
  const stack: Array<{ i: number; begin: number; end: number }> = []
  if (count > 0 && from[0]! < to[0]!) stack.push({ i: 0, begin: from[0]!, end: to[0]! })
  const children: number[] = []
  while (stack.length > 0) {
    const { i, begin, end } = stack.pop()!
    children.length = 0
    for (let child = firstChild[i]!; child !== -1; child = nextSibling[child]!) {
      if (to[child]! <= begin || from[child]! >= end) continue
      if (to[child]! <= to[i]! || isAnswer(times, order[child]!, order[i]!)) children.push(child)
    }
    if (children.length > 1) children.sort((a, b) => to[b]! - to[a]! || from[b]! - from[a]!)
    let at = end
    for (const child of children) {
      const childEnd = Math.min(to[child]!, end)
      const childBegin = Math.max(from[child]!, begin)
      if (childEnd > at || childEnd <= childBegin) continue
      if (at > childEnd) visit(i, childEnd, at)
      stack.push({ i: child, begin: childBegin, end: childEnd })
      at = childBegin
    }
    if (at > begin) visit(i, begin, at)
  }
}

/** Returns each span's own part of the critical path, in microseconds and in the tree's order. */
export function measureCritical(tree: Tree, columns: SpanColumns): Float64Array {
  const critical = new Float64Array(tree.order.length)
  walkCriticalPath(tree, columns, (at, from, to) => {
    critical[at]! += to - from
  })
  return critical
}

/** Tells whether the child is a server-only span below a client-only one. */
export function isAnswer(
  { clientDuration, serverDuration }: Pick<Times, 'clientDuration' | 'serverDuration'>,
  child: number,
  parent: number,
): boolean {
  return (
    !Number.isNaN(serverDuration[child]!) &&
    Number.isNaN(clientDuration[child]!) &&
    !Number.isNaN(clientDuration[parent]!) &&
    Number.isNaN(serverDuration[parent]!)
  )
}
