import type { Columns } from './columns'

/** The structure of the tree, derived from the depths of spans in depth-first order. */
export interface Tree {
  /** Index of the parent; −1 for root spans. */
  parent: Int32Array
  /** The descendants of span i are i + 1 … end[i] − 1. */
  end: Int32Array
  childCount: Int32Array
  /** Position among the siblings, from 1. */
  position: Int32Array
  /** The number of root spans. */
  roots: number
}

export function deriveTree({ count, integers: { depth } }: Pick<Columns, 'count' | 'integers'>): Tree {
  const parent = new Int32Array(count)
  const end = new Int32Array(count)
  const childCount = new Int32Array(count)
  const position = new Int32Array(count)
  // The latest span of each depth: the next span is its child or its sibling.
  const path = new Int32Array(count + 1)
  let roots = 0
  for (let i = 0; i < count; i++) {
    const d = depth[i]!
    path[d] = i
    end[i] = i + 1
    if (d === 0) {
      parent[i] = -1
      position[i] = ++roots
      continue
    }
    const p = path[d - 1]!
    parent[i] = p
    position[i] = ++childCount[p]!
  }
  for (let i = count - 1; i >= 0; i--) {
    const p = parent[i]!
    if (p !== -1 && end[p]! < end[i]!) end[p] = end[i]!
  }
  return { parent, end, childCount, position, roots }
}

/** Returns the number of siblings, including the span itself. */
export function siblingsOf(tree: Tree, span: number): number {
  const parent = tree.parent[span]!
  return parent === -1 ? tree.roots : tree.childCount[parent]!
}

export function childrenOf(tree: Tree, span: number): number[] {
  const children: number[] = []
  for (let child = span + 1; child < tree.end[span]!; child = tree.end[child]!) children.push(child)
  return children
}

/** Returns the ancestors from the root down, without the span itself. */
export function ancestorsOf(tree: Tree, span: number): number[] {
  const ancestors: number[] = []
  for (let at = tree.parent[span]!; at !== -1; at = tree.parent[at]!) ancestors.push(at)
  return ancestors.reverse()
}
