import type { BandFigures, CriticalPath, Exemplar, RootFigures } from '../../src/http/answers'
import type { FlameNode } from '../parts/flame-layout'

/** What is shown of a root operation's traces: all of them, or those of a band. */
export type ShownBand = 'all' | BandFigures['band']

export const BANDS: Record<ShownBand, string> = {
  all: 'All traces',
  p50: 'Fastest half',
  'p50-p95': 'p50 to p95',
  'p95-p99': 'p95 to p99',
  p99: 'Above p99',
}

/** All calls on critical paths with the same callers. */
export interface PathNode extends FlameNode {
  /** Null if it isn't known. */
  owner: string | null
  depth: number
  /** Microseconds of its own, in the band's traces altogether. `weight` has what is below it, too. */
  own: number
  /** In how many of the analysed traces it has something of its own; null if that isn't known. */
  traces: number | null
  exemplars: Exemplar[]
}

/**
 * Makes a tree of paths: it is the same for each band, so that an address means the same call in all of them.
 * @returns the root operation first, and parents before their children
 */
export function pathTree(paths: CriticalPath[], band: ShownBand): PathNode[] {
  const nodes: PathNode[] = []
  const known = new Map<string, number>()
  const nodeAt = (path: CriticalPath['path'], length: number): number => {
    const key = JSON.stringify(path.slice(0, length))
    const there = known.get(key)
    if (there !== undefined) return there
    const parent = length === 1 ? -1 : nodeAt(path, length - 1)
    const [owner, name] = path[length - 1]!
    known.set(key, nodes.length)
    const figures = { own: 0, weight: 0, traces: null, exemplars: [] }
    return nodes.push({ name, service: owner ?? '', owner, parent, depth: length - 1, ...figures }) - 1
  }
  // Short paths first: the tree doesn't depend on the order of the paths.
  for (const { path, us, traces, exemplars } of [...paths].sort(byPath)) {
    const node = nodes[nodeAt(path, path.length)]!
    node.own += ofBand(us, band)
    node.traces = traces && ofBand(traces, band)
    node.exemplars = exemplars
  }
  for (const node of nodes) node.weight = node.own
  for (let i = nodes.length - 1; i > 0; i--) {
    const { parent, weight } = nodes[i]!
    if (parent !== -1) nodes[parent]!.weight += weight
  }
  return nodes
}

/** Names from the root operation to a node. */
export function pathOf(nodes: PathNode[], node: PathNode): PathNode[] {
  const path = [node]
  for (let at = node.parent; at !== -1; at = nodes[at]!.parent) path.unshift(nodes[at]!)
  return path
}

/** How many traces a band stands for, how many were analysed, and between which latencies. */
export function bandOf(root: RootFigures, band: ShownBand): Omit<BandFigures, 'band'> {
  const one = root.bands.find(figures => figures.band === band)
  if (one !== undefined) return one
  const { traces, weight, bands } = root
  const us = bands.reduce((sum, band) => sum + band.us, 0)
  return { over: 0, upTo: null, traces, weight, us, exemplars: bands.flatMap(({ exemplars }) => exemplars) }
}

function ofBand(values: number[], band: ShownBand): number {
  return band === 'all' ? values.reduce((a, b) => a + b, 0) : (values[ORDER.indexOf(band)] ?? 0)
}

const ORDER = Object.keys(BANDS).slice(1)

function byPath({ path: a }: CriticalPath, { path: b }: CriticalPath): number {
  if (a.length !== b.length) return a.length - b.length
  const [x, y] = [JSON.stringify(a), JSON.stringify(b)]
  return x < y ? -1 : x > y ? 1 : 0
}
