export const NODE_HEIGHT = 28
const LETTER_PX = 7.1
export const NODE_PADDING = 24
const MAX_LETTERS = 48

/** Shortens a name to fit into a box. */
export function boxLabel(name: string): string {
  const letters = [...name.slice(0, 2 * MAX_LETTERS)]
  return letters.length <= MAX_LETTERS ? letters.join('') : `${letters.slice(0, MAX_LETTERS - 1).join('')}…`
}

/** Returns the width of a box for the label, in pixels. */
export function nodeWidth(label: string): number {
  return Math.round(label.length * LETTER_PX) + NODE_PADDING
}

/** The graph to lay out: sizes of boxes in pixels, and edges between them. */
export interface Sizes {
  nodes: { width: number; height: number }[]
  /** Of an edge with a label, the label's size in pixels: it gets a place where it covers neither a box nor another label. */
  edges: { from: number; to: number; label?: { width: number; height: number } }[]
}

/** A laid-out graph in pixels; y goes down. */
export interface GraphLayout {
  width: number
  height: number
  /** The center of each node. */
  nodes: { x: number; y: number }[]
  /** Each edge as an SVG path, with the position and angle of its arrow, and the center of its label if it has one. */
  edges: { path: string; tip: [number, number]; angle: number; label?: [number, number] }[]
}

/**
 * Reads Graphviz's JSON: `bb` is "0,0,width,height", a node's `pos` is its center, and an edge's `pos` is
 * "e,tip start c1 c2 end c1 …", a chain of Bézier curves; `lp` is the center of its label. In it y goes up.
 */
export function readLayout(graph: any, { nodes, edges }: Sizes): GraphLayout {
  const [, , width = 0, height = 0] = String(graph.bb).split(',').map(Number)
  const point = (text: string): [number, number] => {
    const [x = 0, y = 0] = text.split(',').map(Number)
    return [round(x), round(height - y)]
  }
  const centers = nodes.map(() => ({ x: 0, y: 0 }))
  for (const object of graph.objects ?? []) {
    const center = centers[Number(object.name)]
    if (center === undefined || typeof object.pos !== 'string') continue
    const [x, y] = point(object.pos)
    Object.assign(center, { x, y })
  }
  const lines: GraphLayout['edges'] = edges.map(() => ({ path: '', tip: [0, 0], angle: 0 }))
  for (const edge of graph.edges ?? []) {
    const line = lines[Number(edge.id)]
    if (line === undefined || typeof edge.pos !== 'string') continue
    const parts = edge.pos.split(' ')
    const points = parts.filter((part: string) => !/^[es],/.test(part)).map(point)
    const tip = point((parts.find((part: string) => part.startsWith('e,')) ?? `e,${edge.pos}`).slice(2))
    const [start, ...rest] = points
    const last = points.at(-1)!
    line.path = `M${start} C${rest.join(' ')}`
    line.tip = tip
    if (typeof edge.lp === 'string') line.label = point(edge.lp)
    line.angle = (Math.atan2(tip[1] - last[1], tip[0] - last[0]) * 180) / Math.PI
  }
  return { width: Math.ceil(width), height: Math.ceil(height), nodes: centers, edges: lines }
}

function round(n: number): number {
  return Math.round(n * 10) / 10
}
