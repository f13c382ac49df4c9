import { formatDuration } from '../../../src/trace'
import { boxLabel } from '../../graph/graph-layout'
import type { Columns } from '../columns'
import { ownerAt } from '../columns'
import type { Tree } from '../tree'
import { type CallNode, callTree } from './call-tree'

/** One box of the call graph. */
export interface GraphNode {
  /** "name (duration)", as the original had it; of several spans the longest, and how many. */
  label: string
  service: string
  /** By the original's limits: over 50 ms, over 20 ms. */
  heat: 'high' | 'medium' | 'none'
  failed: boolean
  /** A span behind it: the longest. */
  span: number
}

export interface Graph {
  nodes: GraphNode[]
  /** `count` calls from a node to another. */
  edges: { from: number; to: number; count: number }[]
  /** What a box stands for. */
  by: 'span' | 'path' | 'name'
  /** Boxes left out, those with the least time; and edges, those with the fewest calls. */
  leftOut: number
  edgesLeftOut: number
}

/** Up to so many spans have a box each; more are merged, and more boxes than the second can't be read. */
const MOST_SPANS = 120
const MOST_BOXES = 160
/** Graphviz takes seconds for more, and nobody follows them. */
const MOST_EDGES = 240

export function graphOf(columns: Columns, tree: Tree): Graph {
  if (columns.count <= MOST_SPANS) return bySpan(columns, tree)
  const calls = callTree(columns, tree)
  return calls.length <= MOST_SPANS
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
    const name = columns.strings[columns.integers.name[i]!]!
    nodes.push({
      label: labelOf(name, Number.isNaN(duration) ? null : duration, 1),
      service: ownerAt(columns, i),
      heat: heatOf(duration),
      failed: (columns.flags[i]! & 1) !== 0,
      span: i,
    })
    if (tree.parent[i] !== -1) edges.push({ from: tree.parent[i]!, to: i, count: 1 })
  }
  return { nodes, edges, by: 'span', leftOut: 0, edgesLeftOut: 0 }
}

/** One box for each name of each service, wherever it was called from. */
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
  const kept = [...merged.keys()].sort((a, b) => merged[b]!.total - merged[a]!.total).slice(0, MOST_BOXES)
  const placeOf = new Map(kept.map((box, place) => [box, place]))
  const edges = new Map<string, Graph['edges'][number]>()
  calls.forEach(({ parent, count }, i) => {
    const from = parent === -1 ? undefined : placeOf.get(boxOf[parent]!)
    const to = placeOf.get(boxOf[i]!)
    if (from === undefined || to === undefined) return
    const edge = edges.get(`${from},${to}`)
    if (edge === undefined) edges.set(`${from},${to}`, { from, to, count })
    else edge.count += count
  })
  const nodes = kept.map(box => {
    const { name, service, max, count, errors, span } = merged[box]!
    return { label: labelOf(name, max, count), service, heat: heatOf(max), failed: errors > 0, span }
  })
  const most = [...edges.values()].sort((a, b) => b.count - a.count).slice(0, MOST_EDGES)
  return { nodes, edges: most, by, leftOut: merged.length - kept.length, edgesLeftOut: edges.size - most.length }
}

function labelOf(name: string, us: number | null, count: number): string {
  const shown = name === '' ? 'no name' : boxLabel(name)
  return `${shown} (${count > 1 ? '≤ ' : ''}${formatDuration(us)})${count > 1 ? ` × ${count.toLocaleString()}` : ''}`
}

function heatOf(us: number): GraphNode['heat'] {
  return us > 50_000 ? 'high' : us > 20_000 ? 'medium' : 'none'
}
