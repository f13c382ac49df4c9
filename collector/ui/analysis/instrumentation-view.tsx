import type { AnalysedWindow, InstrumentationAnswer, Instrumented, Tally } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { Failure, Notice, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { absolute, serviceHref } from '../range/range'
import { useJson } from '../shell/json'
import { traceHref } from '../shell/route'
import { analysisApi } from './analysis-address'
import { share } from './share'

const PROBLEMS = {
  orphans: 'Without their parent',
  missingServers: 'Calls it didn’t report',
  missingClients: 'Its own calls it didn’t report',
  skewedClocks: 'Wrong clock',
  unknownProbabilities: 'Unknown probability',
  incomplete: 'Without begin or end',
} as const

/** What is wrong with what services report, by version: each number leads to a trace that shows it. */
export function InstrumentationView({ window, query }: { window: AnalysedWindow; query: URLSearchParams }) {
  const answer = useJson<InstrumentationAnswer>(analysisApi('instrumentation', { window: window.id }))
  if (answer.state === 'loading') return <Waiting what="what services report" />
  if (answer.state === 'failed') {
    return <Failure title="What services report couldn't be read" problem={answer.problem} retry={answer.again} />
  }
  const { services, truncated } = answer.value
  if (services.length === 0) {
    return (
      <Notice title="No service reported anything">
        <p>No trace of this time was analysed for it.</p>
      </Notice>
    )
  }
  const problem = (key: keyof typeof PROBLEMS): Column<Instrumented> => ({
    key,
    title: PROBLEMS[key],
    value: row => row[key].spans,
    show: row => (
      <Problem what={`${PROBLEMS[key]}, ${row.service}`} tally={row[key]} of={row.spans} more={moreOf(row, key)} />
    ),
  })
  const columns: Column<Instrumented>[] = [
    {
      key: 'service',
      title: 'Service',
      value: ({ service }) => service,
      show: ({ service }) => <a href={serviceHref(service, absolute(window))}>{service || 'no name'}</a>,
    },
    { key: 'version', title: 'Version', value: ({ version }) => version ?? '', show: ({ version }) => version ?? '–' },
    {
      key: 'spans',
      title: 'Spans',
      value: ({ spans }) => spans,
      show: ({ spans, trace }) =>
        trace === null ? spans.toLocaleString() : <a href={traceHref(trace)}>{spans.toLocaleString()}</a>,
    },
    ...(Object.keys(PROBLEMS) as (keyof typeof PROBLEMS)[]).map(problem),
  ]
  return (
    <div class="analysis-table">
      <p class="hint">
        Spans of each version of a service, and how many of them are broken. A number leads to a trace that shows it.
        {truncated && ' There are more than are listed.'}
      </p>
      <SortedTable
        caption="Broken instrumentation"
        columns={columns}
        rows={services}
        sort={query.get('sort') ?? ''}
        rowKey={({ service, version }) => JSON.stringify([service, version])}
      />
    </div>
  )
}

function moreOf(row: Instrumented, key: keyof typeof PROBLEMS): string {
  if (key === 'missingServers' || key === 'missingClients') {
    const by = row[key].by.map(({ service, version }) => [service ?? 'unknown', version].filter(Boolean).join(' '))
    return by.length === 0 ? '' : `seen by ${by.join(', ')}`
  }
  const { medianUs, aheadUs, behindUs } = row.skewedClocks
  if (key !== 'skewedClocks' || medianUs === null) return ''
  return `by ${formatDuration(medianUs)} as a rule, at most ${formatDuration(aheadUs)} ahead and ${formatDuration(behindUs)} behind`
}

function Problem({ what, tally, of, more }: { what: string; tally: Tally; of: number; more: string }) {
  const { spans, trace } = tally
  if (spans === 0) return <span class="margin">0</span>
  const text = `${spans.toLocaleString()} (${share(spans, of)})`
  const title = [what, more].filter(Boolean).join(': ')
  return trace === null ? (
    <span title={title}>{text}</span>
  ) : (
    <a href={traceHref(trace)} title={title}>
      {text}
    </a>
  )
}
