import { durationClass, formatDuration, type TraceSpan } from '../src/trace'
import { type Axis, position } from './time-axis'

interface Props {
  span: TraceSpan
  axis: Axis
  selected: boolean
  onSelect(): void
}

export function spanElementId(span: TraceSpan): string {
  return `span-${span.spanId}`
}

export function SpanRow({ span, axis, selected, onSelect }: Props) {
  const service = serviceOf(span)
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the tree around it has the keyboard
    <div
      id={spanElementId(span)}
      class="row"
      role="treeitem"
      aria-level={span.depth + 1}
      aria-selected={selected}
      tabIndex={-1}
      data-duration={durationClass(span.duration ?? 0)}
      onClick={onSelect}
    >
      <span class="row-name" style={{ '--depth': span.depth }}>
        <span class="name">{span.name || <em>no name</em>}</span>
        {service !== '' && <span class="service">{service}</span>}
        {span.error && <span class="error-mark">Error</span>}
        {span.orphan && <span class="tag">parent missing</span>}
        {span.cycle && <span class="tag">circular</span>}
      </span>
      <span class="lane" aria-hidden="true">
        <Bars span={span} axis={axis} />
      </span>
      <span class="duration">{formatDuration(span.duration)}</span>
    </div>
  )
}

/** Light for the client half, solid for work: the server half, or a span that isn't a call. */
function Bars({ span, axis }: { span: TraceSpan; axis: Axis }) {
  const local = span.kind === 'local'
  const workStart = local ? span.start : span.serverStart
  const workDuration = local ? span.duration : span.serverDuration
  return (
    <>
      {span.clientStart !== null && (
        <span class="bar client" style={position(axis, span.clientStart, span.clientDuration ?? 0)} />
      )}
      {workStart !== null && <span class="bar server" style={position(axis, workStart, workDuration ?? 0)} />}
    </>
  )
}

/** Who did the work; for a call whose server said nothing, who called whom. */
function serviceOf(span: TraceSpan): string {
  if (span.service !== null) return span.service
  const callee = span.serverHost ?? ''
  return span.clientService === null ? callee : `${span.clientService} → ${callee || 'unknown'}`
}
