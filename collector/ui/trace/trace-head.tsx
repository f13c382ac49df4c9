import { durationClass, formatDuration } from '../../src/trace'
import { serviceColors } from '../parts/colors'
import { CopyButton } from '../parts/copy-button'
import { counted } from '../parts/count'
import { usualTitle } from '../parts/duration-text'
import { ServiceMark } from '../parts/service-mark'
import { TimeStamp } from '../parts/time-stamp'
import { useUsual } from '../parts/usual'
import { compareHref } from '../shell/route'
import { FLAG, nameAt, ownerAt } from './columns'
import type { Errors } from './errors'
import { ErrorsBar } from './errors-bar'
import { KeptBar } from './kept-bar'
import type { LoadedTrace } from './load-trace'
import { logLink } from './log-link'
import type { MissingAt } from './missing'

interface Props {
  trace: LoadedTrace
  errors: Errors
  missing: MissingAt
  id: string
  /** Index of the selected span, or −1. */
  selected: number
  /** The collector's template for links to logs, if it has one. */
  logs: string | null
  onSelect(span: number): void
}

export function TraceHead({ trace, errors, missing, id, selected, logs, onSelect }: Props) {
  const { head, columns, complete, expected } = trace
  const flags = columns.flags.subarray(0, columns.count)
  const detached = flags.reduce((n, f) => n + ((f & (FLAG.orphan | FLAG.cycle)) !== 0 ? 1 : 0), 0)
  const colors = serviceColors(head.services)
  const root = columns.count === 0 ? null : ownerAt(columns, 0)
  const usual = useUsual([root])(root, root === null ? '' : nameAt(columns, 0))
  const spans = complete ? columns.count : (expected ?? columns.count)
  return (
    <div class="trace-head">
      <h1>{columns.count === 0 ? id : nameAt(columns, 0) || <em>no name</em>}</h1>
      <dl class="facts">
        <div>
          <dt>Duration</dt>
          <dd class="duration" data-duration={durationClass(head.duration ?? 0, usual)} title={usualTitle(usual)}>
            {formatDuration(head.duration)}
          </dd>
        </div>
        <div>
          <dt>Started</dt>
          <dd>{head.start === null ? 'no span has a time' : <TimeStamp us={head.start} />}</dd>
        </div>
        <div>
          <dt>Spans</dt>
          <dd>
            {spans.toLocaleString()}
            {head.truncated && ' or more'}
            {errors.order.length > 0 && (
              <button
                type="button"
                class="error-count"
                title="Go to where the first error arose (e)"
                onClick={() => onSelect(errors.order[0]!)}
              >
                {counted(errors.order.length, 'error')}
              </button>
            )}
          </dd>
        </div>
        {head.services.length > 0 && (
          <div>
            <dt>{head.services.length === 1 ? 'Service' : `${counted(head.services.length, 'service')}`}</dt>
            <dd class="services">
              {head.services.map(service => (
                <span key={service} class="service-name">
                  <ServiceMark color={colors.get(service)} />
                  {service}
                </span>
              ))}
            </dd>
          </div>
        )}
        <div>
          <dt>Trace id</dt>
          <dd>
            <code>{head.traceId}</code> <CopyButton text={head.traceId} what="the trace's id" />
          </dd>
        </div>
        <div>
          <dt>More</dt>
          <dd class="head-links">
            <a href={compareHref({ a: head.traceId, with: 'typical' })}>Compare with a typical one</a>
            <LogsLink trace={trace} template={logs} />
          </dd>
        </div>
      </dl>
      {head.kept !== undefined && (
        <KeptBar kept={head.kept} missingAt={missing} traceId={head.traceId} columns={columns} onSelect={onSelect} />
      )}
      {errors.order.length > 0 && <ErrorsBar trace={trace} errors={errors} selected={selected} onSelect={onSelect} />}
      {head.truncated && (
        <p class="hint">
          The trace has more spans than the collector reads of one trace: this page, its totals and downloads cover only
          a part. The setting <code>max_trace_bytes</code> limits how much is read.
        </p>
      )}
      {detached > 0 && (
        <p class="hint">
          {detached === 1 ? 'One span is' : `${detached.toLocaleString()} spans are`} shown at the top level although{' '}
          {detached === 1 ? 'it names' : 'they name'} a parent: that parent hasn't arrived, or the parents form a
          circle.
        </p>
      )}
    </div>
  )
}

function LogsLink({ trace: { head, columns }, template }: { trace: LoadedTrace; template: string | null }) {
  if (template === null || head.start === null || columns.count === 0) return null
  const href = logLink(template, {
    traceId: head.traceId,
    spanId: '',
    service: ownerAt(columns, 0),
    from: head.start,
    to: head.start + (head.duration ?? 0),
  })
  if (href === undefined) return null
  return (
    <a href={href} target="_blank" rel="noreferrer">
      Logs
    </a>
  )
}
