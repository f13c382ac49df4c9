import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { EarlierDependency, EarlierServiceFigures } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { EdgeLabel, EdgeLine } from '../graph/edge-line'
import { boxLabel, type GraphLayout, nodeWidth } from '../graph/graph-layout'
import { LayoutFailed } from '../graph/layout-failed'
import { useLayout } from '../graph/use-layout'
import { Waiting } from '../parts/notice'
import { serviceHref, type TimeRange } from '../range/range'
import { navigate } from '../shell/address'
import { errorClass, rateOf, shareOf } from './model'
import { type Direction, nextNode, type ShownGraph } from './shown-graph'

const NODE_HEIGHT_PX = 42
/** Has room for the figures below a short name. */
const MIN_NODE_PX = 128
const LABEL_HEIGHT_PX = 14
const LABEL_LETTER_PX = 5.9

interface Props {
  shown: ShownGraph
  /** Of the services that are known. */
  figures: EarlierServiceFigures[]
  lengthUs: number
  chosen: string
  range: TimeRange
  onChoose(service: string): void
}

/** Draws services and their calls: the more calls the thicker an arrow, the more failures the redder. */
export function ServiceGraph(props: Props) {
  const { shown, lengthUs } = props
  const sizes = useMemo(() => {
    const indexes = new Map(shown.services.map((service, i) => [service, i]))
    return {
      nodes: shown.services.map(service => ({ width: widthOf(service), height: NODE_HEIGHT_PX })),
      edges: shown.edges.map(edge => ({
        from: indexes.get(edge.from)!,
        to: indexes.get(edge.to)!,
        label: { width: Math.ceil(labelOf(edge, lengthUs).length * LABEL_LETTER_PX) + 8, height: LABEL_HEIGHT_PX },
      })),
    }
  }, [shown])
  const layout = useLayout(sizes)
  if (layout.state === 'loading') return <Waiting what="Graphviz" />
  if (layout.state === 'failed') return <LayoutFailed {...layout} instead="The table below shows the same calls." />
  return <Picture {...props} layout={layout.value} indexes={sizes.edges} />
}

function widthOf(service: string): number {
  return Math.max(MIN_NODE_PX, nodeWidth(boxLabel(service)))
}

function labelOf({ calls, errors }: EarlierDependency, lengthUs: number): string {
  const rate = rateOf(calls, lengthUs)
  return errorClass(errors, calls) === 'low' ? rate : `${rate} · ${shareOf(errors, calls)} failed`
}

interface PictureProps extends Props {
  layout: GraphLayout
  indexes: { from: number; to: number }[]
}

function Picture({ shown, figures, lengthUs, chosen, range, onChoose, layout, indexes }: PictureProps) {
  const { services, edges } = shown
  const box = useRef<HTMLElement>(null)
  const byService = useMemo(() => new Map(figures.map(figures => [figures.service, figures])), [figures])
  const [scale, setScale] = useState(1)
  const [pointed, setPointed] = useState('')
  const [walker, setWalker] = useState('')
  /** @param least so small that labels can still be read, as long as nobody asks for less */
  const fitted = (least: number) =>
    Math.min(1, Math.max(least, ((box.current?.clientWidth ?? 0) - 30) / (layout.width + 2)))
  const chosenAt = services.indexOf(chosen)
  useEffect(() => setScale(fitted(0.8)), [layout])
  useEffect(() => {
    // A wide picture is scrolled to what is chosen.
    const node = layout.nodes[chosenAt]
    if (node === undefined) return
    const { clientWidth, clientHeight } = box.current!
    box.current!.scrollTo(node.x * scale - clientWidth / 2, node.y * scale - clientHeight / 2)
  }, [layout, chosenAt, scale])
  const lit = services.includes(pointed) ? pointed : chosenAt === -1 ? '' : chosen
  const touches = (edge: EarlierDependency) => edge.from === lit || edge.to === lit
  const bright = lit === '' ? null : new Set([lit, ...edges.filter(touches).flatMap(({ from, to }) => [from, to])])
  const lookOf = (edge: EarlierDependency) =>
    `edge-${errorClass(edge.errors, edge.calls)}${lit !== '' && !touches(edge) ? ' faded' : ''}`
  // One stop for the Tab key; the arrow keys walk on.
  const stop = services.includes(walker) ? walker : chosenAt === -1 ? services[0]! : chosen
  const onKeyDown = (event: KeyboardEvent, at: number) => {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault()
      onChoose(services[at]!)
    } else if (event.key.startsWith('Arrow') && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault()
      const next = nextNode(layout.nodes, indexes, at, event.key as Direction)
      setWalker(services[next]!)
      box.current!.querySelectorAll<SVGGElement>('.node')[next]!.focus()
    }
  }
  const [width, height] = [layout.width + 2, layout.height + 2]
  return (
    <figure class="service-graph">
      <figcaption class="choices">
        <button type="button" aria-label="Zoom in" onClick={() => setScale(scale * 1.25)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" onClick={() => setScale(scale / 1.25)}>
          −
        </button>
        <button type="button" onClick={() => setScale(fitted(0.1))}>
          Fit
        </button>
        <ul class="legend" aria-label="Legend">
          <li>Thicker: more calls</li>
          <li>
            <span class="swatch edge-low" /> less than 1% failed
          </li>
          <li>
            <span class="swatch edge-medium" /> 1% or more
          </li>
          <li>
            <span class="swatch edge-high" /> 5% or more
          </li>
        </ul>
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach a scrollable area */}
      <section class="graph-box" ref={box} tabIndex={0} aria-label="Graph of services">
        <svg width={width * scale} height={height * scale} viewBox={`-1 -1 ${width} ${height}`}>
          <title>Which service calls which</title>
          {layout.edges.map((line, i) => {
            const edge = edges[i]!
            return (
              <EdgeLine
                key={`${edge.from}\0${edge.to}`}
                line={line}
                look={lookOf(edge)}
                width={widthOfLine(edge.calls, lengthUs)}
                title={describe(edge, lengthUs)}
                onClick={() => navigate(serviceHref(edge.to, range, { caller: edge.from, callee: edge.to }))}
              />
            )
          })}
          {layout.edges.map((line, i) => (
            <EdgeLabel key={i} line={line} text={labelOf(edges[i]!, lengthUs)} look={lookOf(edges[i]!)} />
          ))}
          {services.map((service, i) => (
            <Node
              key={service}
              service={service}
              figures={byService.get(service)}
              lengthUs={lengthUs}
              at={layout.nodes[i]!}
              chosen={service === chosen}
              faded={bright !== null && !bright.has(service)}
              tabIndex={service === stop ? 0 : -1}
              onChoose={() => onChoose(service)}
              onPoint={points => setPointed(points ? service : '')}
              onFocus={() => setWalker(service)}
              onKeyDown={event => onKeyDown(event, i)}
            />
          ))}
        </svg>
      </section>
    </figure>
  )
}

interface NodeProps {
  service: string
  figures: EarlierServiceFigures | undefined
  lengthUs: number
  at: { x: number; y: number }
  chosen: boolean
  faded: boolean
  tabIndex: number
  onChoose(): void
  onPoint(points: boolean): void
  onFocus(): void
  onKeyDown(event: KeyboardEvent): void
}

function Node({ service, figures, lengthUs, at: { x, y }, chosen, faded, tabIndex, ...handlers }: NodeProps) {
  const { onChoose, onPoint, onFocus, onKeyDown } = handlers
  const width = widthOf(service)
  const label = boxLabel(service) || 'no name'
  const errors = figures === undefined ? 'low' : errorClass(figures.errors, figures.spans)
  const below = figures === undefined ? [] : [rateOf(figures.spans, lengthUs)]
  if (errors !== 'low') below.push(`${shareOf(figures!.errors, figures!.spans)} failed`)
  else if (figures !== undefined && figures.p95 !== null) below.push(`p95 ${formatDuration(figures.p95)}`)
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no button
    <g
      class={`node edge-${errors}${chosen ? ' chosen' : ''}${faded ? ' faded' : ''}`}
      transform={`translate(${x} ${y})`}
      role="button"
      tabIndex={tabIndex}
      aria-pressed={chosen}
      onClick={onChoose}
      onMouseEnter={() => onPoint(true)}
      onMouseLeave={() => onPoint(false)}
      onFocus={onFocus}
      onKeyDown={onKeyDown}
    >
      <rect x={-width / 2} y={-NODE_HEIGHT_PX / 2} width={width} height={NODE_HEIGHT_PX} rx="5" />
      <text text-anchor="middle" dominant-baseline="central" y={below.length > 0 ? -7 : 0}>
        {label}
      </text>{' '}
      {below.length > 0 && (
        <text class="below" text-anchor="middle" dominant-baseline="central" y="10">
          {below.join(' · ')}
        </text>
      )}
      {label !== service && <title>{service.slice(0, 1000)}</title>}
    </g>
  )
}

/** One call an hour is a hairline, a thousand calls a second are six pixels. */
function widthOfLine(calls: number, lengthUs: number): number {
  const perHour = (calls / lengthUs) * 3600e6
  return Math.min(6, 1 + 0.75 * Math.log10(1 + perHour))
}

function describe({ from, to, calls, errors, p95 }: EarlierDependency, lengthUs: number): string {
  const figures = `${rateOf(calls, lengthUs)}, ${shareOf(errors, calls)} failed, p95 ${formatDuration(p95)}`
  return `${from.slice(0, 300)} → ${to.slice(0, 300)}: ${figures}`
}
