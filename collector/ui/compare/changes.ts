import type { CompareGroupsAnswer, GroupNode } from '../../src/http/answers'
import type { DiffNode, TraceDiff } from '../../src/trace'

/** How a call differs in the second trace from the first, and which way. */
export type Kind = 'added' | 'removed' | 'more' | 'less' | 'same'

/**
 * A duration counts as changed if it differs by more than a tenth and more than a millisecond: no duration is exactly the same twice. A call
 * of which there are more or fewer has changed too, and goes the way of its time.
 */
export function kindOf({ a, b, countChange, totalChange }: DiffNode): Kind {
  if (a === null) return 'added'
  if (b === null) return 'removed'
  const much = Math.max(1000, 0.1 * a.total)
  if (Math.abs(totalChange) > much) return totalChange > 0 ? 'more' : 'less'
  if (countChange !== 0) return countChange > 0 ? 'more' : 'less'
  return 'same'
}

/** The same for fast and slow traces: what chance explains hasn't changed. Where there are too few traces to tell, the sizes decide. */
export function groupKindOf({ fast, slow, change, beyondChance }: GroupNode): Kind {
  const longer = beyondChance.time ?? Math.abs(change.time) > Math.max(1000, 0.1 * fast.time)
  const more = beyondChance.calls ?? change.calls !== 0
  if (!longer && !more) return 'same'
  if (fast.traces === 0) return 'added'
  if (slow.traces === 0) return 'removed'
  return (longer ? change.time : change.calls) > 0 ? 'more' : 'less'
}

/** Returns the nodes that `isShown` holds for, and all that are above them. */
export function withAncestors<N extends { depth: number }>(nodes: N[], isShown: (node: N) => boolean): N[] {
  const path: N[] = []
  const kept = new Set<N>()
  for (const node of nodes) {
    path.length = node.depth
    path[node.depth] = node
    if (isShown(node)) for (const at of path) kept.add(at)
  }
  return nodes.filter(node => kept.has(node))
}

/** A call's part of the difference of two durations. Microseconds. */
export interface Part {
  service: string | null
  name: string
  change: number
}

/** Parts below this share of the largest change are left out. */
const MIN_SHARE = 0.05
const MAX_PARTS = 5

/**
 * Returns where the time of the difference went, the most first. It is time on the critical path, which no two calls share, so that the
 * parts of all calls add up to how much longer the first root took. Calls of the same service and name are one part, wherever they stand.
 */
export function partsOf(nodes: { service: string | null; name: string; criticalChange: number }[]): Part[] {
  const parts = new Map<string, Part>()
  for (const { service, name, criticalChange } of nodes) {
    const key = JSON.stringify([service, name])
    const part = parts.get(key)
    if (part === undefined) parts.set(key, { service, name, change: criticalChange })
    else part.change += criticalChange
  }
  const sorted = [...parts.values()].sort((x, y) => Math.abs(y.change) - Math.abs(x.change))
  const least = Math.max(1, MIN_SHARE * Math.abs(sorted[0]?.change ?? 0))
  return sorted.filter(({ change }) => Math.abs(change) >= least).slice(0, MAX_PARTS)
}

export function partsOfDiff({ nodes }: TraceDiff): Part[] {
  return partsOf(nodes)
}

/** Of groups, only what is beyond chance is told. */
export function partsOfGroups({ nodes }: CompareGroupsAnswer): Part[] {
  return partsOf(
    nodes
      .filter(({ beyondChance }) => beyondChance.time !== false)
      .map(({ service, name, change }) => ({ service, name, criticalChange: change.critical })),
  )
}
