import type { SpanColumns } from './columns'
import type { Tree } from './tree'

/** What follows from the spans' times and places in the tree: columns in the tree's order. */

/**
 * The duration less what the children cover. Siblings come by start: to go once over them is enough to know that.
 */
export function measureSelf({ order, parent }: Tree, { start, duration }: SpanColumns): Float64Array {
  const own = new Float64Array(order.length)
  const end = new Float64Array(order.length)
  const until = new Float64Array(order.length)
  for (let i = 0; i < order.length; i++) {
    const from = start[order[i]!]!
    own[i] = duration[order[i]!]!
    end[i] = from + own[i]!
    until[i] = from
    const p = parent[i]!
    if (p === -1) continue
    const begin = Math.max(from, until[p]!)
    const last = Math.min(end[i]!, end[p]!)
    // Not so where any of them is NaN.
    if (!(last > begin)) continue
    own[p]! -= last - begin
    until[p] = last
  }
  return own
}

/**
 * What the client waited longer than the server worked, where they are spans of their own, as in OpenTelemetry. NaN for all
 * other spans, and for a client that asked several servers.
 */
export function measureNetwork({ order, parent }: Tree, columns: SpanColumns): Float64Array {
  const { clientDuration, serverDuration } = columns
  const network = new Float64Array(order.length).fill(Number.NaN)
  const servers = new Uint8Array(order.length)
  for (let i = 0; i < order.length; i++) {
    const p = parent[i]!
    if (p === -1 || !isAnswer(columns, order[i]!, order[p]!)) continue
    network[p] = servers[p] === 0 ? clientDuration[order[p]!]! - serverDuration[order[i]!]! : Number.NaN
    servers[p] = 1
  }
  return network
}

/** A server-only span below a client-only one. */
function isAnswer({ clientDuration, serverDuration }: SpanColumns, child: number, parent: number): boolean {
  return (
    !Number.isNaN(serverDuration[child]!) &&
    Number.isNaN(clientDuration[child]!) &&
    !Number.isNaN(clientDuration[parent]!) &&
    Number.isNaN(serverDuration[parent]!)
  )
}

/**
 * What the first root waited for, walked backwards from its end: the child that finished last before there took the time from
 * its start to its end, and is looked into in the same way; before its start, again the child that finished last. What no child
 * took is the span's own.
 *
 *     root   ├─────────────────────────────┤
 *     a        ├───────┤
 *     b            ├──────┤                       runs beside a: had it been faster, nothing had ended earlier
 *     c                     ├──────┤
 *     path   ┄┄┄┄┄┄[───b──]┄[──c───]┄┄┄┄┄┄        ┄ is the root's own
 *
 * Nobody waits for what ends later than he does: a child that outlives its parent isn't on the path, and of a call the client's
 * half alone counts. The exception is the server's span of a client's one, which may end after its last byte has arrived: it
 * is cut at the client's end. Each microsecond of the root is somebody's, so the sum is the root's duration.
 */
export function measureCritical({ order, parent }: Tree, columns: SpanColumns): Float64Array {
  const { start, duration, clientStart, clientDuration } = columns
  const count = order.length
  const critical = new Float64Array(count)
  const from = new Float64Array(count).fill(Infinity)
  const to = new Float64Array(count).fill(-Infinity)
  const firstChild = new Int32Array(count).fill(-1)
  const nextSibling = new Int32Array(count).fill(-1)
  // Backwards, children come before their parents.
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
    // A span without times, such as the original's roots, is as long as what it called.
    if (Number.isNaN(start[order[p]!]!)) {
      from[p] = Math.min(from[p]!, from[i]!)
      to[p] = Math.max(to[p]!, to[i]!)
    }
  }

  // Spans on the path that are still to be looked into, with the part of them that counts.
  const stack: Array<{ i: number; begin: number; end: number }> = []
  if (count > 0 && from[0]! < to[0]!) stack.push({ i: 0, begin: from[0]!, end: to[0]! })
  const children: number[] = []
  while (stack.length > 0) {
    const { i, begin, end } = stack.pop()!
    children.length = 0
    for (let child = firstChild[i]!; child !== -1; child = nextSibling[child]!) {
      if (to[child]! <= begin || from[child]! >= end) continue
      if (to[child]! <= to[i]! || isAnswer(columns, order[child]!, order[i]!)) children.push(child)
    }
    if (children.length > 1) children.sort((a, b) => to[b]! - to[a]! || from[b]! - from[a]!)
    let own = 0
    let at = end
    for (const child of children) {
      const childEnd = Math.min(to[child]!, end)
      const childBegin = Math.max(from[child]!, begin)
      if (childEnd > at || childEnd <= childBegin) continue
      own += at - childEnd
      stack.push({ i: child, begin: childBegin, end: childEnd })
      at = childBegin
    }
    critical[i] = own + at - begin
  }
  return critical
}

/**
 * A client whose server took longer didn't wait for it: what they differ by isn't the network.
 * @param networkTime NaN when a half is missing
 */
export function waited(networkTime: number): number | null {
  return networkTime >= 0 ? networkTime : null
}
