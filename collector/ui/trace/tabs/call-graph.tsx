import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { type DurationClass, durationClass, partClass } from '../../../src/trace'
import { EdgeLabel, EdgeLine } from '../../graph/edge-line'
import type { GraphLayout } from '../../graph/graph-layout'
import { NODE_HEIGHT, NODE_PADDING, nodeWidth } from '../../graph/graph-layout'
import { LayoutFailed } from '../../graph/layout-failed'
import { useLayout } from '../../graph/use-layout'
import { counted } from '../../parts/count'
import { Waiting } from '../../parts/notice'
import { useUsual } from '../../parts/usual'
import { nameAt, ownerAt } from '../columns'
import { type Graph, type GraphNode, graphOf } from './graph-model'
import type { TabProps } from './tab-props'

const WHAT = {
  span: 'Each box is a span.',
  path: 'Each box is all calls of one name on the same path; its duration is that of the longest.',
  name: 'Each box is all calls of one name; its duration is that of the longest.',
} as const

/** Draws which call made which, laid out by Graphviz. */
export function CallGraph({ trace, selected, onSelect }: TabProps) {
  const graph = useMemo(() => graphOf(trace.columns, trace.tree), [trace.tree])
  const sizes = useMemo(
    () => ({
      nodes: graph.nodes.map(({ label }) => ({ width: nodeWidth(label), height: NODE_HEIGHT })),
      edges: graph.edges,
    }),
    [graph],
  )
  const layout = useLayout(sizes)
  if (layout.state === 'loading') return <Waiting what="Graphviz" />
  if (layout.state === 'failed') return <LayoutFailed {...layout} instead="The tree table shows the same calls." />
  return <Drawing trace={trace} graph={graph} layout={layout.value} selected={selected} onSelect={onSelect} />
}

interface DrawingProps extends Pick<TabProps, 'trace'> {
  graph: Graph
  layout: GraphLayout
  selected: number
  onSelect(span: number): void
}

function Drawing({ trace: { columns, head }, graph, layout, selected, onSelect }: DrawingProps) {
  const usualOf = useUsual(head.services)
  const heatOf = (span: number) => {
    const { duration, critical } = columns.numbers
    const usual = usualOf(ownerAt(columns, span), nameAt(columns, span))
    return durationClass(duration[span]!, usual) ?? partClass(critical[span]!, head.duration)
  }
  const box = useRef<HTMLDivElement>(null)
  const [scale, setScale] = useState(1)
  const fitted = () => Math.min(1, Math.max(0.3, ((box.current?.clientWidth ?? 0) - 4) / layout.width))
  useLayoutEffect(() => setScale(fitted()), [layout])
  const width = layout.width + 2
  const height = layout.height + 2
  return (
    <div class="graph">
      <div class="choices">
        <button type="button" aria-label="Zoom in" onClick={() => setScale(scale * 1.25)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" onClick={() => setScale(scale / 1.25)}>
          −
        </button>
        <button type="button" onClick={() => setScale(fitted())}>
          Fit
        </button>
        <ul class="legend" aria-label="Legend">
          <li>
            <span class="swatch heat-high" /> slower than 99% of such calls
          </li>
          <li>
            <span class="swatch heat-medium" /> slower than 95%
          </li>
          <li>Where that isn't known: half, or a fifth, of the trace's time.</li>
          <li>{WHAT[graph.by]}</li>
          {graph.leftOut > 0 && <li>Not shown: {counted(graph.leftOut, 'call')} with the least time.</li>}
          {graph.edgesLeftOut > 0 && <li>Not shown: {counted(graph.edgesLeftOut, 'arrow')} with the fewest calls.</li>}
        </ul>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach a scrollable area */}
      <section class="graph-box" ref={box} tabIndex={0} aria-label="Call graph">
        <svg width={width * scale} height={height * scale} viewBox={`-1 -1 ${width} ${height}`}>
          <title>Calls between services</title>
          {layout.edges.map((line, i) => (
            <EdgeLine key={i} line={line} />
          ))}
          {layout.edges.map((line, i) => {
            const { count } = graph.edges[i]!
            return <EdgeLabel key={i} line={line} text={count > 1 ? count.toLocaleString() : ''} />
          })}
          {graph.nodes.map((node, i) => (
            <Box
              key={i}
              node={node}
              heat={heatOf(node.span)}
              x={layout.nodes[i]!.x}
              y={layout.nodes[i]!.y}
              selected={node.span === selected}
              onSelect={onSelect}
            />
          ))}
        </svg>
      </section>
    </div>
  )
}

interface BoxProps {
  node: GraphNode
  heat: DurationClass
  x: number
  y: number
  selected: boolean
  onSelect(span: number): void
}

function Box({ node, heat, x, y, selected, onSelect }: BoxProps) {
  const width = nodeWidth(node.label)
  const select = () => onSelect(selected ? -1 : node.span)
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' && event.key !== ' ') return
    event.preventDefault()
    select()
  }
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no button
    <g
      class={`node heat-${heat}${selected ? ' chosen' : ''}`}
      transform={`translate(${x} ${y})`}
      role="button"
      tabIndex={0}
      aria-pressed={selected}
      aria-label={`${node.label}${node.service && `, ${node.service}`}${node.failed ? ', failed' : ''}`}
      onClick={select}
      onKeyDown={onKeyDown}
    >
      <rect x={-width / 2} y={-NODE_HEIGHT / 2} width={width} height={NODE_HEIGHT} rx="5" />
      {node.failed && <rect class="failed-end" x={width / 2 - 4} y={-NODE_HEIGHT / 2} width="4" height={NODE_HEIGHT} />}
      <text
        text-anchor="middle"
        dominant-baseline="central"
        textLength={width - NODE_PADDING}
        lengthAdjust="spacingAndGlyphs"
      >
        {node.label}
      </text>
    </g>
  )
}
