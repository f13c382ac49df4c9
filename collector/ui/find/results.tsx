import { durationClass, formatDuration, type TraceSummary } from '../../src/trace'
import { traceHref } from '../shell/route'
import { TimeStamp } from '../shell/time-stamp'

/** Traces, newest first; each a link, with a bar that compares its duration with the page's longest. */
export function Results({ traces }: { traces: TraceSummary[] }) {
  const longest = Math.max(1, ...traces.map(trace => trace.duration ?? 0))
  return (
    <ol class="results">
      {traces.map(trace => (
        <li key={trace.traceId}>
          <Result trace={trace} longest={longest} />
        </li>
      ))}
    </ol>
  )
}

function Result({ trace, longest }: { trace: TraceSummary; longest: number }) {
  const length = durationClass(trace.duration ?? 0)
  return (
    <a class="result" href={traceHref(trace.traceId)}>
      <span class="result-name">
        {trace.name || <em>no name</em>} {trace.error && <span class="error-mark">Error</span>}
      </span>
      <span class="result-services" title={trace.services.join(', ')}>
        {trace.services.join(', ')}
      </span>
      <span class="result-duration" data-duration={length}>
        <span class="duration">{formatDuration(trace.duration)}</span>
        <span class="gauge" aria-hidden="true">
          <span style={{ '--length': (100 * (trace.duration ?? 0)) / longest }} />
        </span>
      </span>
      <span class="result-spans">{trace.spanCount === 1 ? '1 span' : `${trace.spanCount.toLocaleString()} spans`}</span>
      <span class="result-time">{trace.start === null ? 'no time' : <TimeStamp us={trace.start} short />}</span>
    </a>
  )
}
