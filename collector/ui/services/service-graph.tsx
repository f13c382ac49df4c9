import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { EdgeFigures, ServiceFigures } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { EdgeLabel, EdgeLine } from '../graph/edge-line'
import { boxLabel, type GraphLayout, nodeWidth } from '../graph/graph-layout'
import { LayoutFailed } from '../graph/layout-failed'
import { useLayout } from '../graph/use-layout'
import { errorClass, isNotable, type Told, tellDuration, tellRate, tellShare } from '../parts/estimate'
import { Waiting } from '../parts/notice'
import { serviceHref, type TimeRange } from '../range/range'
import { navigate } from '../shell/address'
import { KIND_TITLES, type NodeKind } from './node-kinds'
import { type Direction, nextNode, type ShownGraph } from './shown-graph'

const NODE_HEIGHT_PX = 42
/** Has room for the figures below a short name. */
const MIN_NODE_PX = 150
const LABEL_HEIGHT_PX = 14
const LABEL_LETTER_PX = 5.9

interface Props {
  shown: ShownGraph
  /** Of the services that are known. */
  figures: ServiceFigures[]
  /** What is no service that reports. */
  kinds: Map<string, NodeKind>
  us: number
  chosen: string
  range: TimeRange
  onChoose(service: string): void
}

/** Draws services and their calls: the more calls the thicker an arrow, the more failures the redder. */
export function ServiceGraph(props: Props) {
  const { shown, us } = props
  const sizes = useMemo(() => {
    const indexes = new Map(shown.services.map((service, i) => [service, i]))
    return {
      nodes: shown.services.map(service => ({ width: widthOf(service), height: NODE_HEIGHT_PX })),
      edges: shown.edges.map(edge => ({
        from: indexes.get(edge.from)!,
        to: indexes.get(edge.to)!,
        label: { width: Math.ceil(labelOf(edge, us).length * LABEL_LETTER_PX) + 8, height: LABEL_HEIGHT_PX },
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

function labelOf({ calls, errorShare }: EdgeFigures, us: number): string {
  const rate = tellRate(calls, us).text
  return isNotable(errorShare) ? `${rate} · ${tellShare(errorShare).text} failed` : rate
}

interface PictureProps extends Props {
  layout: GraphLayout
  indexes: { from: number; to: number }[]
}

function Picture({ shown, figures, kinds, us, chosen, range, onChoose, layout, indexes }: PictureProps) {
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
  useLayoutEffect(() => setScale(fitted(0.8)), [layout])
  useEffect(() => {
    // A picture larger than its box is scrolled to what is chosen, or to where calls begin: at its left.
    const first = layout.nodes.reduce((a, b) => (b.x < a.x ? b : a))
    const node = layout.nodes[chosenAt] ?? first
    const { clientWidth, clientHeight } = box.current!
    box.current!.scrollTo(node.x * scale - clientWidth / 2, node.y * scale - clientHeight / 2)
  }, [layout, chosenAt, scale])
  const lit = services.includes(pointed) ? pointed : chosenAt === -1 ? '' : chosen
  const touches = (edge: EdgeFigures) => edge.from === lit || edge.to === lit
  const bright = lit === '' ? null : new Set([lit, ...edges.filter(touches).flatMap(({ from, to }) => [from, to])])
  const lookOf = (edge: EdgeFigures) =>
    `edge-${errorClass(edge.errorShare)}${lit !== '' && !touches(edge) ? ' faded' : ''}`
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
          <li>
            <span class="swatch edge-severe" /> 25% or more
          </li>
          {(['database', 'queue', 'silent'] as const)
            .filter(kind => services.some(service => kinds.get(service) === kind))
            .map(kind => (
              <li key={kind} class="node-key">
                <svg width="26" height="16" viewBox="-13 -8 26 16" aria-hidden="true">
                  <Shape kind={kind} width={22} height={14} />
                </svg>{' '}
                {KIND_TITLES[kind]}
              </li>
            ))}
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
                width={widthOfLine(edge.calls.value, us)}
                title={describe(edge, us)}
                onClick={() => navigate(serviceHref(edge.to, range, { caller: edge.from, callee: edge.to }))}
              />
            )
          })}
          {layout.edges.map((line, i) => (
            <EdgeLabel key={i} line={line} text={labelOf(edges[i]!, us)} look={lookOf(edges[i]!)} />
          ))}
          {services.map((service, i) => (
            <Node
              key={service}
              service={service}
              figures={byService.get(service)}
              kind={kinds.get(service) ?? 'service'}
              us={us}
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
  figures: ServiceFigures | undefined
  kind: NodeKind
  us: number
  at: { x: number; y: number }
  chosen: boolean
  faded: boolean
  tabIndex: number
  onChoose(): void
  onPoint(points: boolean): void
  onFocus(): void
  onKeyDown(event: KeyboardEvent): void
}

function Node({ service, figures, kind, us, at: { x, y }, chosen, faded, tabIndex, ...handlers }: NodeProps) {
  const { onChoose, onPoint, onFocus, onKeyDown } = handlers
  const width = widthOf(service)
  const label = boxLabel(service) || 'no name'
  const errors = errorClass(figures?.errorShare ?? null)
  const below = figures === undefined ? [] : [tellRate(figures.calls, us).text]
  if (kind !== 'service') below.unshift(KIND_TITLES[kind])
  if (isNotable(figures?.errorShare ?? null)) below.push(`${tellShare(figures!.errorShare).text} failed`)
  else if (figures?.p95) below.push(`p95 ${formatDuration(figures.p95.value)}`)
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
      <Shape kind={kind} width={width} height={NODE_HEIGHT_PX} />
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

/** A box for a service, a cylinder for a database, a pipe for a queue, and a dashed box for what nothing is known of. */
function Shape({ kind, width, height }: { kind: NodeKind; width: number; height: number }) {
  const [x, y] = [-width / 2, -height / 2]
  if (kind === 'database') {
    const lid = Math.min(3.5, height / 5)
    const across = `a${width / 2} ${lid} 0 0`
    const sides = `M${x} ${y + lid} ${across} 1 ${width} 0 v${height - 2 * lid} ${across} 1 ${-width} 0 z`
    return <path class="shape" d={`${sides} m0 0 ${across} 0 ${width} 0`} />
  }
  if (kind === 'queue') {
    const lid = Math.min(6, width / 6)
    const down = `a${lid} ${height / 2} 0 0 1`
    const sides = `M${x + lid} ${y} h${width - 2 * lid} ${down} 0 ${height} h${2 * lid - width} ${down} 0 ${-height} z`
    return <path class="shape" d={`${sides} M${-x - lid} ${y} a${lid} ${height / 2} 0 0 0 0 ${height}`} />
  }
  return <rect class={kind === 'silent' ? 'silent' : undefined} x={x} y={y} width={width} height={height} rx="5" />
}

/** One call an hour is a hairline, a thousand calls a second are six pixels. */
function widthOfLine(calls: number, us: number): number {
  const perHour = (calls / us) * 3600e6
  return Math.min(6, 1 + 0.75 * Math.log10(1 + perHour))
}

function describe({ from, to, calls, errorShare, p95 }: EdgeFigures, us: number): string {
  const words = ({ text, margin }: Told) => (margin === '' ? text : `${text} ${margin}`)
  const [rate, failed, slow] = [tellRate(calls, us), tellShare(errorShare), tellDuration(p95)].map(words)
  const figures = `${rate}, ${failed} failed, p95 ${slow}`
  return `${from.slice(0, 300)} → ${to.slice(0, 300)}: ${figures}`
}
