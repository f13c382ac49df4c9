import { useMemo } from 'preact/hooks'
import { EdgeLine } from '../graph/edge-line'
import { NODE_HEIGHT, NODE_PADDING, nodeWidth, useLayout } from '../graph/use-layout'
import { Notice, Waiting } from '../shell/notice'
import { type Dependency, rateOf } from './model'

interface Props {
  edges: Dependency[]
  lengthUs: number
  chosen: string
  onChoose(service: string): void
}

/** Which service calls which, and how often; red where calls fail. */
export function DependencyGraph({ edges, lengthUs, chosen, onChoose }: Props) {
  const services = useMemo(() => [...new Set(edges.flatMap(({ from, to }) => [from, to]))], [edges])
  const sizes = useMemo(() => {
    const place = new Map(services.map((service, i) => [service, i]))
    return {
      nodes: services.map(service => ({ width: nodeWidth(service), height: NODE_HEIGHT })),
      columnGap: 110,
      edges: edges.map(({ from, to }) => ({ from: place.get(from)!, to: place.get(to)! })),
    }
  }, [services, edges])
  const layout = useLayout(sizes)
  if (layout === null) return <Waiting what="Graphviz" />
  if ('failed' in layout) {
    return (
      <Notice title="The graph couldn't be laid out">
        <p>{layout.failed}</p>
      </Notice>
    )
  }
  const [width, height] = [layout.width + 2, layout.height + 2]
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard
    <section class="graph-box" tabIndex={0} aria-label="Dependencies">
      <svg width={width} height={height} viewBox={`-1 -1 ${width} ${height}`}>
        <title>Which service calls which</title>
        {layout.edges.map((line, i) => (
          <EdgeLine key={i} line={line} label={rateOf(edges[i]!.calls, lengthUs)} failed={edges[i]!.errors > 0} />
        ))}
        {services.map((service, i) => {
          const nodeW = nodeWidth(service)
          const { x, y } = layout.nodes[i]!
          const choose = () => onChoose(service)
          return (
            // biome-ignore lint/a11y/useSemanticElements: SVG has no button
            <g
              key={service}
              class={service === chosen ? 'node chosen' : 'node'}
              transform={`translate(${x} ${y})`}
              role="button"
              tabIndex={0}
              aria-pressed={service === chosen}
              onClick={choose}
              onKeyDown={event => {
                if (event.key !== 'Enter' && event.key !== ' ') return
                event.preventDefault()
                choose()
              }}
            >
              <rect x={-nodeW / 2} y={-NODE_HEIGHT / 2} width={nodeW} height={NODE_HEIGHT} rx="5" />
              <text
                text-anchor="middle"
                dominant-baseline="central"
                textLength={nodeW - NODE_PADDING}
                lengthAdjust="spacingAndGlyphs"
              >
                {service}
              </text>
            </g>
          )
        })}
      </svg>
    </section>
  )
}
