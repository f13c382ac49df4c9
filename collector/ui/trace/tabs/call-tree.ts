import { type Columns, FLAG, hasFlag } from '../columns'
import type { Tree } from '../tree'

/** All calls with the same name, service and path of callers. */
export interface CallNode {
  name: string
  service: string
  /** Index of the parent, which comes before its children; −1 for a root. */
  parent: number
  depth: number
  count: number
  errors: number
  /** Microseconds; unknown durations count as 0. */
  total: number
  max: number
  self: number
  /** Self time of the node and all its descendants. */
  weight: number
  /** The index of the longest span. */
  span: number
}

/** Merges the spans of a trace by the path of calls that led to them. */
export function callTree(columns: Columns, tree: Tree): CallNode[] {
  const { count, integers, numbers, strings } = columns
  const nodes: CallNode[] = []
  const nodeOf = new Int32Array(count)
  const known = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const p = tree.parent[i]!
    const parent = p === -1 ? -1 : nodeOf[p]!
    const name = integers.name[i]!
    const service = integers.service[i]! || integers.caller[i]!
    const key = `${parent},${name},${service}`
    let at = known.get(key)
    if (at === undefined) {
      at = nodes.length
      known.set(key, at)
      nodes.push({
        name: strings[name]!,
        service: strings[service]!,
        parent,
        depth: parent === -1 ? 0 : nodes[parent]!.depth + 1,
        count: 0,
        errors: 0,
        total: 0,
        max: 0,
        self: 0,
        weight: 0,
        span: i,
      })
    }
    nodeOf[i] = at
    const node = nodes[at]!
    const duration = numbers.duration[i]! || 0
    node.count++
    if (hasFlag(columns, i, FLAG.error)) node.errors++
    node.total += duration
    node.self += numbers.self[i]! || 0
    if (duration > node.max) {
      node.max = duration
      node.span = i
    }
  }
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]!
    node.weight += node.self
    if (node.parent !== -1) nodes[node.parent]!.weight += node.weight
  }
  return nodes
}
