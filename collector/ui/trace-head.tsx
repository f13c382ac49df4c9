import { durationClass, formatDuration, type Trace } from '../src/trace'
import { CopyButton } from './copy-button'
import { localTime, utcTime } from './time'

export function TraceHead({ trace }: { trace: Trace }) {
  const root = trace.spans[0]
  const errors = trace.spans.filter(span => span.error).length
  const detached = trace.spans.filter(span => span.orphan || span.cycle).length
  return (
    <div class="trace-head">
      <h1>{root?.name || <em>no name</em>}</h1>
      <dl class="facts">
        <div>
          <dt>Duration</dt>
          <dd class="duration" data-duration={durationClass(trace.duration ?? 0)}>
            {formatDuration(trace.duration)}
          </dd>
        </div>
        <div>
          <dt>Started</dt>
          <dd>
            {trace.start === null ? (
              'no span has a time'
            ) : (
              <time dateTime={utcTime(trace.start)} title={utcTime(trace.start)}>
                {localTime(trace.start)}
              </time>
            )}
          </dd>
        </div>
        <div>
          <dt>Spans</dt>
          <dd>
            {trace.spans.length.toLocaleString()}
            {errors > 0 && (
              <span class="error-mark">{errors === 1 ? '1 error' : `${errors.toLocaleString()} errors`}</span>
            )}
          </dd>
        </div>
        {trace.services.length > 0 && (
          <div>
            <dt>Services</dt>
            <dd>{trace.services.join(', ')}</dd>
          </div>
        )}
        <div>
          <dt>Trace id</dt>
          <dd>
            <code>{trace.traceId}</code> <CopyButton text={trace.traceId} of="trace" />
          </dd>
        </div>
      </dl>
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
