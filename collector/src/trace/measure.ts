import type { SpanColumns } from './columns'
import { isAnswer } from './critical-path'
import type { Tree } from './tree'

/** Measures spans by their times and their positions in the tree. The results are columns in the tree's order. */

/**
 * Returns self times: the duration without the time that children cover. Siblings are ordered by start, so one pass over them
 * is enough.
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
    // This is also true if one of them is NaN.
    if (!(last > begin)) continue
    own[p]! -= last - begin
    until[p] = last
  }
  return own
}

/**
 * Returns how much longer the client waited than the server worked, if they are separate spans, as in OpenTelemetry. The
 * result is NaN for all other spans, and for a client that called several servers.
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

/**
 * Returns the time in the network, or null if it is unknown. If the server took longer than its client, the client didn't wait
 * for it, and the difference isn't the network's.
 * @param networkTime NaN if a half is missing
 */
export function waited(networkTime: number): number | null {
  return networkTime >= 0 ? networkTime : null
}
