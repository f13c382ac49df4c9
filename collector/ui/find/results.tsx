import { durationClass, formatDuration, type TraceSummary } from '../../src/trace'
import { serviceColors } from '../parts/colors'
import { counted } from '../parts/count'
import { usualTitle } from '../parts/duration-text'
import { KeptMark } from '../parts/kept-mark'
import { ServiceMark } from '../parts/service-mark'
import { shortLocalTime } from '../parts/time'
import { TimeStamp } from '../parts/time-stamp'
import { type UsualOf, useUsual } from '../parts/usual'
import { type TimeRange, withRange } from '../range/range'
import { traceHref } from '../shell/route'
import { MAX_TICKED } from './ticked'

interface Props {
  traces: TraceSummary[]
  range: TimeRange | undefined
  ticked: TraceSummary[]
  onTick(trace: TraceSummary, isTicked: boolean): void
}

/** Lists traces. Each is a link with a bar that compares its duration with the longest on the page, and may be ticked to be compared. */
export function Results({ traces, range, ticked, onTick }: Props) {
  const usualOf = useUsual(traces.map(({ service }) => service))
  const longest = Math.max(1, ...traces.map(trace => trace.duration ?? 0))
  const ids = new Set(ticked.map(({ traceId }) => traceId))
  return (
    <ol class="results">
      {traces.map(trace => {
        const isTicked = ids.has(trace.traceId)
        return (
          <li key={trace.traceId} class={isTicked ? 'chosen' : undefined}>
            <label class="tick" title="Tick one or two traces to compare them">
              <input
                type="checkbox"
                aria-label={`Compare ${trace.name || 'no name'} ${trace.start === null ? '' : `of ${shortLocalTime(trace.start)}`}`}
                checked={isTicked}
                disabled={!isTicked && ids.size >= MAX_TICKED}
                onChange={event => onTick(trace, event.currentTarget.checked)}
              />
            </label>
            <Result trace={trace} longest={longest} usualOf={usualOf} />
            {trace.failure !== null && <ResultFailure trace={trace} failure={trace.failure} range={range} />}
          </li>
        )
      })}
    </ol>
  )
}

function Result({ trace, longest, usualOf }: { trace: TraceSummary; longest: number; usualOf: UsualOf }) {
  const usual = usualOf(trace.service, trace.name)
  const colors = serviceColors(trace.services)
  const errors = trace.errorCount
  return (
    <a class="result" href={traceHref(trace.traceId)}>
      <span class="result-name">
        <span class="result-title">
          {trace.service !== null && <span class="result-service">{trace.service} </span>}
          <span class="name">{trace.name || <em>no name</em>}</span>
        </span>
        {trace.error && <span class="error-mark">{errors > 1 ? `${errors.toLocaleString()} errors` : 'Error'}</span>}
        {trace.kept !== undefined && <KeptMark reasons={trace.kept} />}
      </span>
      <span class="result-services" title={trace.services.join(', ')}>
        {trace.services.map((service, i) => (
          <span key={service} class="service-name">
            <ServiceMark color={colors.get(service)} />
            {service} <span class="count">{trace.serviceSpans[i]?.toLocaleString()}</span>
          </span>
        ))}
      </span>
      <span class="result-duration" data-duration={durationClass(trace.duration ?? 0, usual)} title={usualTitle(usual)}>
        <span class="duration">{formatDuration(trace.duration)}</span>
        <span class="gauge" aria-hidden="true">
          <span style={{ '--length': (100 * (trace.duration ?? 0)) / longest }} />
        </span>
      </span>
      <span
        class="result-spans"
        title={trace.truncated ? 'The trace is too large to be read completely for this list.' : undefined}
      >
        {counted(trace.spanCount, 'span')}
        {trace.truncated && ' or more'}
      </span>
      <span class="result-time">{trace.start === null ? 'no time' : <TimeStamp us={trace.start} short />}</span>
    </a>
  )
}

interface FailureProps {
  trace: TraceSummary
  failure: NonNullable<TraceSummary['failure']>
  range: TimeRange | undefined
}

/** Which error it was, and where it arose. */
function ResultFailure({ trace, failure, range }: FailureProps) {
  const { type, message, service, name, spanId } = failure
  const where = [service, name].filter(Boolean).join(' · ')
  const alike = withRange('errors', range, { operation: name, type: type ?? '' }, service === null ? {} : { service })
  return (
    <p class="result-failure">
      <a class="failure-said" href={traceHref(trace.traceId, spanId)} title={message ?? undefined}>
        {type !== null && <strong>{type}</strong>} {message}
        {type === null && message === null && 'Failed without a message'}
      </a>
      <span class="failure-where">
        {where !== '' && <>in {where} · </>}
        <a href={alike} aria-label={`others like it: ${type ?? message ?? 'errors'} in ${where}`}>
          others like it
        </a>
      </span>
    </p>
  )
}
