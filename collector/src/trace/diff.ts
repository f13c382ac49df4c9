import type { Totals, Trace } from './model'
import { addSpan, nothing, ownerOf } from './totals'

/** The comparison of two traces, call by call. */
export interface TraceDiff {
  /**
   * The nodes depth-first, siblings in the order in which they began in either trace; with `depth` a tree, like a trace's
   * spans.
   */
  nodes: DiffNode[]
}

/** All spans with the same service and name, below spans that form one node themselves. */
export interface DiffNode {
  service: string | null
  name: string
  depth: number
  /** Null if the trace has no such span. */
  a: Totals | null
  b: Totals | null
  /** How many more spans b has. */
  countChange: number
  /** How much longer b's spans take in total, in microseconds. */
  totalChange: number
  selfChange: number
}

interface Node {
  parent: number
  node: DiffNode
  /** When the first of its spans began, in microseconds after its trace. */
  began: number
}

/**
 * Compares two traces by their structure: spans correspond if the services and names on the path from the root to them are the
 * same. Calls in a loop are added up, so that one more call shows as one more call, and doesn't shift all that follow.
 */
export function diffTraces(a: Trace, b: Trace): TraceDiff {
  const nodes: Node[] = []
  const byPath = new Map<string, number>()
  layOver(a, 'a', nodes, byPath)
  layOver(b, 'b', nodes, byPath)
  for (const { node } of nodes) {
    const left = node.a ?? nothing()
    const right = node.b ?? nothing()
    node.countChange = right.count - left.count
    node.totalChange = right.total - left.total
    node.selfChange = right.self - left.self
  }
  return { nodes: inOrder(nodes) }
}

function layOver(trace: Trace, which: 'a' | 'b', nodes: Node[], byPath: Map<string, number>): void {
  // The node of the latest span at each depth.
  const path: number[] = []
  for (const span of trace.spans) {
    const { depth, name, start } = span
    const parent = depth === 0 ? -1 : path[depth - 1]!
    const service = ownerOf(span)
    const key = `${parent} ${service === null ? '' : service.length} ${service ?? ''}${name}`
    let i = byPath.get(key)
    if (i === undefined) {
      i = nodes.length
      byPath.set(key, i)
      const node = { service, name, depth, a: null, b: null, countChange: 0, totalChange: 0, selfChange: 0 }
      nodes.push({ parent, node, began: Infinity })
    }
    path[depth] = i
    const { node } = nodes[i]!
    let totals = node[which]
    if (totals === null) node[which] = totals = nothing()
    addSpan(totals, span)
    if (start !== null) nodes[i]!.began = Math.min(nodes[i]!.began, start - trace.start!)
  }
}

/** Parents before children, without recursion. */
function inOrder(nodes: Node[]): DiffNode[] {
  const order = nodes.map((_, i) => i)
  // Nodes that began at the same time stay in the order in which they were found: first a's spans, then b's.
  order.sort((i, j) => (nodes[i]!.began < nodes[j]!.began ? -1 : nodes[i]!.began > nodes[j]!.began ? 1 : i - j))
  const firstChild = new Int32Array(nodes.length + 1).fill(-1)
  const nextSibling = new Int32Array(nodes.length).fill(-1)
  // The last element belongs to parent −1, the traces themselves.
  const at = (parent: number) => (parent === -1 ? nodes.length : parent)
  for (const i of order.reverse()) {
    const parent = at(nodes[i]!.parent)
    nextSibling[i] = firstChild[parent]!
    firstChild[parent] = i
  }
  const out: DiffNode[] = []
  const stack = [firstChild[nodes.length]!]
  while (stack.length > 0) {
    const i = stack.pop()!
    if (i === -1) continue
    out.push(nodes[i]!.node)
    stack.push(nextSibling[i]!, firstChild[i]!)
  }
  return out
}
