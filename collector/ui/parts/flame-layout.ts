/** A call, or all calls on a path, in a flame graph. */
export interface FlameNode {
  name: string
  /** Empty if it isn't known. */
  service: string
  /** Index of the parent, which comes before its children; −1 for a root. */
  parent: number
  /** How wide it is: what it has itself, and what those below it have. */
  weight: number
  errors?: number
}

/** Where a call is drawn: its row, and its left and right edge between 0 and 1. */
export interface Box {
  node: number
  row: number
  from: number
  to: number
}

/** Narrower boxes aren't drawn: they are less than half a pixel of a wide screen. */
const MIN_WIDTH = 1 / 5000

/**
 * Lays out each call as wide as its weight, under its caller, the heaviest first.
 * @param root the call that fills the width, below its callers; −1 for the whole trace
 */
export function layOut(nodes: FlameNode[], root: number): Box[] {
  const children = new Map<number, number[]>()
  nodes.forEach((node, i) => {
    const siblings = children.get(node.parent)
    if (siblings === undefined) children.set(node.parent, [i])
    else siblings.push(i)
  })
  const boxes: Box[] = []
  const stack: Box[] = []
  const spread = (siblings: number[], row: number, from: number, to: number, weight: number) => {
    let at = from
    const heaviest = [...siblings].sort((a, b) => nodes[b]!.weight - nodes[a]!.weight)
    for (const node of heaviest) {
      // Without durations, all calls are equally wide.
      const share = weight > 0 ? nodes[node]!.weight / weight : 1 / siblings.length
      const next = at + (to - from) * share
      if (next - at >= MIN_WIDTH) stack.push({ node, row, from: at, to: next })
      at = next
    }
  }
  if (root === -1) {
    const tops = children.get(-1) ?? []
    spread(
      tops,
      0,
      0,
      1,
      tops.reduce((sum, node) => sum + nodes[node]!.weight, 0),
    )
  } else {
    const path: number[] = []
    for (let at = root; at !== -1; at = nodes[at]!.parent) path.push(at)
    path.reverse().forEach((node, row) => {
      if (node === root) stack.push({ node, row, from: 0, to: 1 })
      else boxes.push({ node, row, from: 0, to: 1 })
    })
  }
  while (stack.length > 0) {
    const box = stack.pop()!
    boxes.push(box)
    spread(children.get(box.node) ?? [], box.row + 1, box.from, box.to, nodes[box.node]!.weight)
  }
  return boxes.sort((a, b) => a.row - b.row || a.from - b.from)
}

/** Returns the call at a position, or −1. */
export function boxAt(boxes: Box[], across: number, row: number): number {
  return boxes.find(box => box.row === row && across >= box.from && across < box.to)?.node ?? -1
}
