import { formatDuration } from '../../../src/trace'
import { boxLabel } from '../../graph/graph-layout'
import { type Columns, FLAG, hasFlag, nameAt, ownerAt } from '../columns'
import type { Tree } from '../tree'
import { type CallNode, callTree } from './call-tree'

/** One box of the call graph. */
export interface GraphNode {
  /** "name (duration)"; for several spans the longest duration and the count. */
  label: string
  service: string
  failed: boolean
  /** The index of its longest span. */
  span: number
}

export interface Graph {
  nodes: GraphNode[]
  /** `count` is the number of calls from one node to the other. */
  edges: { from: number; to: number; count: number }[]
  /** What a box stands for. */
  by: 'span' | 'path' | 'name'
  /** How many boxes (with the least time) and edges (with the fewest calls) are left out. */
  leftOut: number
  edgesLeftOut: number
}

/** Up to this many spans get a box each; more spans are merged. */
const MAX_SPANS = 120
/** Nobody can read a graph with more boxes. */
const MAX_BOXES = 160
/** Graphviz takes seconds for more, and nobody could follow them. */
const MAX_EDGES = 240

export function graphOf(columns: Columns, tree: Tree): Graph {
  if (columns.count <= MAX_SPANS) return bySpan(columns, tree)
  const calls = callTree(columns, tree)
  return calls.length <= MAX_SPANS
    ? fromCalls(
        calls,
        'path',
        new Int32Array(calls.length).map((_, i) => i),
      )
    : byName(calls)
}

function bySpan(columns: Columns, tree: Tree): Graph {
  const nodes: GraphNode[] = []
  const edges: Graph['edges'] = []
  for (let i = 0; i < columns.count; i++) {
    const duration = columns.numbers.duration[i]!
    nodes.push({
      label: labelOf(nameAt(columns, i), Number.isNaN(duration) ? null : duration, 1),
      service: ownerAt(columns, i),
      failed: hasFlag(columns, i, FLAG.error),
      span: i,
    })
    if (tree.parent[i] !== -1) edges.push({ from: tree.parent[i]!, to: i, count: 1 })
  }
  return { nodes, edges, by: 'span', leftOut: 0, edgesLeftOut: 0 }
}

/** Makes one box for each name of each service, whatever its callers. */
function byName(calls: CallNode[]): Graph {
  const boxes = new Map<string, number>()
  const boxOf = new Int32Array(calls.length)
  calls.forEach(({ name, service }, i) => {
    const key = JSON.stringify([service, name])
    const box = boxes.get(key) ?? boxes.size
    boxes.set(key, box)
    boxOf[i] = box
  })
  return fromCalls(calls, 'name', boxOf)
}

/** @param boxOf the box of each call */
function fromCalls(calls: CallNode[], by: Graph['by'], boxOf: Int32Array): Graph {
  const merged: CallNode[] = []
  calls.forEach((call, i) => {
    const box = merged[boxOf[i]!]
    if (box === undefined) {
      merged[boxOf[i]!] = { ...call }
      return
    }
    box.count += call.count
    box.errors += call.errors
    box.total += call.total
    if (call.max > box.max) Object.assign(box, { max: call.max, span: call.span })
  })
  const kept = [...merged.keys()].sort((a, b) => merged[b]!.total - merged[a]!.total).slice(0, MAX_BOXES)
  const indexOf = new Map(kept.map((box, index) => [box, index]))
  const edges = new Map<string, Graph['edges'][number]>()
  calls.forEach(({ parent, count }, i) => {
    const from = parent === -1 ? undefined : indexOf.get(boxOf[parent]!)
    const to = indexOf.get(boxOf[i]!)
    if (from === undefined || to === undefined) return
    const edge = edges.get(`${from},${to}`)
    if (edge === undefined) edges.set(`${from},${to}`, { from, to, count })
    else edge.count += count
  })
  const nodes = kept.map(box => {
    const { name, service, max, count, errors, span } = merged[box]!
    return { label: labelOf(name, max, count), service, failed: errors > 0, span }
  })
  const keptEdges = [...edges.values()].sort((a, b) => b.count - a.count).slice(0, MAX_EDGES)
  return {
    nodes,
    edges: keptEdges,
    by,
    leftOut: merged.length - kept.length,
    edgesLeftOut: edges.size - keptEdges.length,
  }
}

function labelOf(name: string, us: number | null, count: number): string {
  const shown = name === '' ? 'no name' : boxLabel(name)
  return `${shown} (${count > 1 ? '≤ ' : ''}${formatDuration(us)})${count > 1 ? ` × ${count.toLocaleString()}` : ''}`
}
