import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { useShownTheme } from '../shell/theme'
import { type Palette, readPalette } from './colors'
import { type Box, boxAt, type FlameNode, layOut } from './flame-layout'

const ROW_PX = 22
/** Zooming shows deeper calls. */
const MAX_ROWS = 60

interface Props<N extends FlameNode> {
  nodes: N[]
  /** The node that fills the width, below its callers; −1 for all. */
  root: number
  /** Colors of services: parts/colors.ts. */
  colors: Map<string, number>
  onZoom(node: number): void
  /** What is said of the node that is pointed at, or else of the one that fills the width; undefined if that is all of them. */
  tip(node: N | undefined): ComponentChildren
}

/** Draws nodes as wide as their weights, each below its caller. A click makes one as wide as the page; the arrow keys move from one to the next. */
export function FlameBox<N extends FlameNode>({ nodes, root, colors, onZoom, tip }: Props<N>) {
  const boxes = useMemo(() => layOut(nodes, root), [nodes, root])
  const [pointed, setPointed] = useState<number>(-1)
  const [width, setWidth] = useState(0)
  const theme = useShownTheme()
  const canvas = useRef<HTMLCanvasElement>(null)
  const depth = Math.min(MAX_ROWS, boxes.reduce((max, box) => Math.max(max, box.row), 0) + 1)
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry!.contentRect.width)))
    observer.observe(canvas.current!)
    return () => observer.disconnect()
  }, [])
  useLayoutEffect(() => {
    if (width === 0) return
    const element = canvas.current!
    const scale = devicePixelRatio
    element.width = Math.round(width * scale)
    element.height = Math.round(depth * ROW_PX * scale)
    const context = element.getContext('2d')!
    context.setTransform(scale, 0, 0, scale, 0, 0)
    draw(context, { nodes, boxes, width, pointed, colors }, readPalette())
  }, [nodes, boxes, width, depth, pointed, colors, theme])
  useLayoutEffect(() => setPointed(-1), [boxes])

  const nodeUnder = (event: MouseEvent) => {
    const { left, top } = canvas.current!.getBoundingClientRect()
    return boxAt(boxes, (event.clientX - left) / width, Math.floor((event.clientY - top) / ROW_PX))
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const at = boxes.findIndex(box => box.node === pointed)
    const box = boxes[Math.max(0, at)]!
    const beside = (step: number) =>
      boxes.filter(other => other.row === box.row).at(indexInRow(boxes, box) + step)?.node
    const to =
      pointed === -1
        ? event.key.startsWith('Arrow')
          ? boxes[0]?.node
          : undefined
        : event.key === 'ArrowDown'
          ? boxes.find(other => nodes[other.node]!.parent === pointed)?.node
          : event.key === 'ArrowUp'
            ? boxes.find(other => other.node === nodes[pointed]!.parent)?.node
            : event.key === 'ArrowRight'
              ? beside(1)
              : event.key === 'ArrowLeft' && indexInRow(boxes, box) > 0
                ? beside(-1)
                : undefined
    if (to !== undefined) setPointed(to)
    else if (event.key === 'Enter' && pointed !== -1) onZoom(pointed)
    else if (event.key === 'Escape' && root !== -1) onZoom(nodes[root]!.parent)
    else return
    event.preventDefault()
  }
  return (
    <>
      <section
        class="flame-box"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys move within it
        tabIndex={0}
        aria-label="Flame graph: arrow keys move, Enter zooms in, Escape zooms out"
        onKeyDown={onKeyDown}
      >
        <canvas
          ref={canvas}
          style={{ height: `${depth * ROW_PX}px` }}
          onMouseMove={event => setPointed(nodeUnder(event))}
          onMouseLeave={() => setPointed(-1)}
          onClick={event => {
            const under = nodeUnder(event)
            if (under !== -1) onZoom(under)
          }}
        />
      </section>
      <p class="flame-tip" role="status">
        {tip(nodes[pointed] ?? nodes[root])}
      </p>
    </>
  )
}

function indexInRow(boxes: Box[], box: Box): number {
  return boxes.filter(other => other.row === box.row).indexOf(box)
}

interface Picture {
  nodes: FlameNode[]
  boxes: Box[]
  width: number
  pointed: number
  colors: Map<string, number>
}

function draw(context: CanvasRenderingContext2D, picture: Picture, palette: Palette): void {
  const { nodes, boxes, width, pointed, colors } = picture
  context.font = `12px ${palette.font}`
  context.textBaseline = 'middle'
  for (const { node, row, from, to } of boxes) {
    if (row >= MAX_ROWS) continue
    const left = from * width
    const boxWidth = Math.max(0.5, (to - from) * width - 1)
    const top = row * ROW_PX
    const { name, service, errors = 0 } = nodes[node]!
    const slot = colors.get(service)
    // Pale, so that text on it is readable in both themes; the service's full color is at the left edge.
    context.fillStyle = slot === undefined ? palette.unknown : palette.services[slot]!
    context.globalAlpha = node === pointed ? 0.5 : 0.26
    context.fillRect(left, top, boxWidth, ROW_PX - 1)
    context.globalAlpha = 1
    context.fillRect(left, top, Math.min(3, boxWidth), ROW_PX - 1)
    if (errors > 0) {
      context.fillStyle = palette.high
      context.fillRect(left, top + ROW_PX - 4, boxWidth, 3)
    }
    if (boxWidth < 28) continue
    context.fillStyle = palette.ink
    context.fillText(cut(context, name, boxWidth - 12), left + 7, top + ROW_PX / 2)
  }
}

/** Shortens a text to the width. */
function cut(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text
  let length = Math.min(text.length, Math.floor(width / 4))
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length--
  return `${text.slice(0, length)}…`
}
