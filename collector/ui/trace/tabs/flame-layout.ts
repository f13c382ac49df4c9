import type { CallNode } from './call-tree'

/** Where a call is drawn: from 0 to 1 across, and in which row. */
export interface Box {
  node: number
  row: number
  from: number
  to: number
}

/** Narrower ones aren't drawn: less than half a pixel of a wide screen. */
const NARROWEST = 1 / 5000

/**
 * Each call as wide as its weight, under its caller; heavier ones first.
 * @param root the call that fills the width, under those that led to it; −1 for all
 */
export function layOut(nodes: CallNode[], root: number): Box[] {
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
      // Without any durations, all are equally wide.
      const share = weight > 0 ? nodes[node]!.weight / weight : 1 / siblings.length
      const next = at + (to - from) * share
      if (next - at >= NARROWEST) stack.push({ node, row, from: at, to: next })
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

/** −1 where there is none. */
export function boxAt(boxes: Box[], across: number, row: number): number {
  return boxes.find(box => box.row === row && across >= box.from && across < box.to)?.node ?? -1
}
