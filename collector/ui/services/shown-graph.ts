import type { EdgeFigures } from '../../src/http/answers'

/** The part of the graph of services that is drawn. */
export interface ShownGraph {
  services: string[]
  edges: EdgeFigures[]
  /** How many edges would belong to it, had they room. */
  leftOut: number
}

/**
 * Nobody could follow more arrows, and Graphviz takes seconds for more: 200 edges between 120 services with labels take it half
 * a second, 300 between 60 eight.
 */
const MAX_EDGES = 150
const MAX_SERVICES = 100

/** Whether a picture has room for all edges. */
export function fitsWhole(edges: EdgeFigures[]): boolean {
  return edges.length <= MAX_EDGES && new Set(edges.flatMap(({ from, to }) => [from, to])).size <= MAX_SERVICES
}

/** Returns all edges, or those with the most calls. */
export function wholeGraph(edges: EdgeFigures[]): ShownGraph {
  return limited(edges, byCalls)
}

/**
 * Returns the neighborhood of a service: the paths of up to `hops` calls that lead to it, and those that it begins. Without
 * room for all, the nearest edges come first, then those with the most calls.
 */
export function neighborhood(edges: EdgeFigures[], service: string, hops: number): ShownGraph {
  const distances = new Map<EdgeFigures, number>()
  for (const [near, far] of [
    ['from', 'to'],
    ['to', 'from'],
  ] as const) {
    const edgesOf = new Map<string, EdgeFigures[]>()
    for (const edge of edges) {
      const list = edgesOf.get(edge[near])
      if (list === undefined) edgesOf.set(edge[near], [edge])
      else list.push(edge)
    }
    const reached = new Set([service])
    let ring = [service]
    for (let hop = 1; hop <= hops; hop++) {
      const next: string[] = []
      for (const edge of ring.flatMap(service => edgesOf.get(service) ?? [])) {
        distances.set(edge, Math.min(hop, distances.get(edge) ?? hop))
        if (reached.has(edge[far])) continue
        reached.add(edge[far])
        next.push(edge[far])
      }
      ring = next
    }
  }
  const shown = limited([...distances.keys()], (a, b) => distances.get(a)! - distances.get(b)! || byCalls(a, b))
  return shown.services.includes(service) ? shown : { ...shown, services: [service, ...shown.services] }
}

function byCalls(a: EdgeFigures, b: EdgeFigures): number {
  return b.calls.value - a.calls.value
}

function limited(edges: EdgeFigures[], order: (a: EdgeFigures, b: EdgeFigures) => number): ShownGraph {
  const services = new Set<string>()
  const shown: EdgeFigures[] = []
  for (const edge of [...edges].sort(order)) {
    if (shown.length === MAX_EDGES) break
    const fresh = new Set([edge.from, edge.to].filter(service => !services.has(service)))
    if (services.size + fresh.size > MAX_SERVICES) continue
    for (const service of fresh) services.add(service)
    shown.push(edge)
  }
  return { services: [...services], edges: shown, leftOut: edges.length - shown.length }
}

/** A direction on the picture, by the keys that lead there. */
export type Direction = 'ArrowLeft' | 'ArrowRight' | 'ArrowUp' | 'ArrowDown'

/**
 * Returns the box that an arrow key leads to: to the right the callee that is nearest in height, to the left the caller, up and
 * down the nearest box there, in the same column if there is one.
 * @param nodes the centers of the boxes @param edges indexes of boxes
 */
export function nextNode(
  nodes: { x: number; y: number }[],
  edges: { from: number; to: number }[],
  at: number,
  key: Direction,
): number {
  const here = nodes[at]!
  const nearest = (candidates: number[], distance: (node: { x: number; y: number }) => number) =>
    candidates.reduce(
      (best, node) => (best === -1 || distance(nodes[node]!) < distance(nodes[best]!) ? node : best),
      -1,
    )
  if (key === 'ArrowLeft' || key === 'ArrowRight') {
    const [near, far] = key === 'ArrowRight' ? (['from', 'to'] as const) : (['to', 'from'] as const)
    const linked = edges.filter(edge => edge[near] === at && edge[far] !== at).map(edge => edge[far])
    const found = nearest(linked, ({ y }) => Math.abs(y - here.y))
    return found === -1 ? at : found
  }
  const sign = key === 'ArrowDown' ? 1 : -1
  const beyond = nodes.flatMap(({ y }, i) => (sign * (y - here.y) > 0 ? [i] : []))
  // A column is at least one box wide.
  const found = nearest(beyond, ({ x, y }) => Math.abs(y - here.y) + 8 * Math.abs(x - here.x))
  return found === -1 ? at : found
}
