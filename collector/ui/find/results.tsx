import { durationClass, formatDuration, type TraceSummary } from '../../src/trace'
import { serviceColors } from '../parts/colors'
import { counted } from '../parts/count'
import { usualTitle } from '../parts/duration-text'
import { ServiceMark } from '../parts/service-mark'
import { TimeStamp } from '../parts/time-stamp'
import { type UsualOf, useUsual } from '../parts/usual'
import { traceHref } from '../shell/route'

/** Lists traces, newest first. Each is a link with a bar that compares its duration with the longest on the page. */
export function Results({ traces }: { traces: TraceSummary[] }) {
  const usualOf = useUsual(traces.map(({ service }) => service))
  const longest = Math.max(1, ...traces.map(trace => trace.duration ?? 0))
  return (
    <ol class="results">
      {traces.map(trace => (
        <li key={trace.traceId}>
          <Result trace={trace} longest={longest} usualOf={usualOf} />
        </li>
      ))}
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
        {trace.service !== null && <span class="result-service">{trace.service} </span>}
        <span class="name">{trace.name || <em>no name</em>}</span>
        {trace.error && <span class="error-mark">{errors > 1 ? `${errors.toLocaleString()} errors` : 'Error'}</span>}
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
