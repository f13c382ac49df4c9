import { useMemo } from 'preact/hooks'
import type { EarlierDependency as Dependency } from '../../src/http/answers'
import { EdgeLine } from '../graph/edge-line'
import type { GraphLayout } from '../graph/graph-layout'
import { boxLabel, NODE_HEIGHT, NODE_PADDING, nodeWidth } from '../graph/graph-layout'
import { LayoutFailed } from '../graph/layout-failed'
import { useLayout } from '../graph/use-layout'
import { counted } from '../parts/count'
import { Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { drawnEdges, rateOf, shareOf } from './model'

interface Props {
  edges: Dependency[]
  lengthUs: number
  chosen: string
  onChoose(service: string): void
}

/** Draws which service calls which and how often, in red where calls fail. A table lists all pairs if there are too many to draw. */
export function DependencyGraph({ edges, lengthUs, chosen, onChoose }: Props) {
  const drawn = useMemo(() => drawnEdges(edges), [edges])
  const services = useMemo(() => [...new Set(drawn.flatMap(({ from, to }) => [from, to]))], [drawn])
  const sizes = useMemo(() => {
    const indexes = new Map(services.map((service, i) => [service, i]))
    return {
      nodes: services.map(service => ({ width: nodeWidth(boxLabel(service)), height: NODE_HEIGHT })),
      columnGap: 110,
      edges: drawn.map(({ from, to }) => ({ from: indexes.get(from)!, to: indexes.get(to)! })),
    }
  }, [services, drawn])
  const layout = useLayout(sizes)
  return (
    <>
      {drawn.length < edges.length && (
        <p class="summary">
          The graph shows {drawn.length.toLocaleString()} of {counted(edges.length, 'pair')} of services, those with the
          most calls. The table below lists all of them.
        </p>
      )}
      {layout.state === 'loading' && <Waiting what="Graphviz" />}
      {layout.state === 'failed' && <LayoutFailed {...layout} instead="The table below shows the same calls." />}
      {layout.state === 'ready' && (
        <Picture
          layout={layout.value}
          services={services}
          edges={drawn}
          lengthUs={lengthUs}
          chosen={chosen}
          onChoose={onChoose}
        />
      )}
      {(drawn.length < edges.length || layout.state === 'failed') && <EdgeTable edges={edges} lengthUs={lengthUs} />}
    </>
  )
}

function EdgeTable({ edges, lengthUs }: { edges: Dependency[]; lengthUs: number }) {
  const columns: Column<Dependency>[] = [
    { key: 'caller', title: 'Caller', value: ({ from }) => from, show: ({ from }) => from },
    { key: 'called', title: 'Callee', value: ({ to }) => to, show: ({ to }) => to },
    { key: 'calls', title: 'Calls', value: ({ calls }) => calls, show: ({ calls }) => rateOf(calls, lengthUs) },
    {
      key: 'failed',
      title: 'Failed',
      value: ({ errors }) => errors,
      show: ({ errors, calls }) => shareOf(errors, calls),
    },
  ]
  return (
    <SortedTable
      caption="Calls between services"
      columns={columns}
      rows={edges}
      sort=""
      rowKey={({ from, to }) => JSON.stringify([from, to])}
    />
  )
}

interface PictureProps extends Props {
  layout: GraphLayout
  services: string[]
}

function Picture({ layout, services, edges, lengthUs, chosen, onChoose }: PictureProps) {
  const [width, height] = [layout.width + 2, layout.height + 2]
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach a scrollable area
    <section class="graph-box" tabIndex={0} aria-label="Dependencies">
      <svg width={width} height={height} viewBox={`-1 -1 ${width} ${height}`}>
        <title>Which service calls which</title>
        {layout.edges.map((line, i) => (
          <EdgeLine key={i} line={line} label={rateOf(edges[i]!.calls, lengthUs)} failed={edges[i]!.errors > 0} />
        ))}
        {services.map((service, i) => {
          const label = boxLabel(service)
          const nodeW = nodeWidth(label)
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
                {label}
              </text>
              {label !== service && <title>{service.slice(0, 1000)}</title>}
            </g>
          )
        })}
      </svg>
    </section>
  )
}
