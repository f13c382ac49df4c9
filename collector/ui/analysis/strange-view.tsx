import type { AnalysedRoot, AnalysedWindow, ShownTrace, StrangeAnswer, StrangeTrace } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { Failure, Notice, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { TimeStamp } from '../parts/time-stamp'
import { Exemplars } from '../services/told'
import { useJson } from '../shell/json'
import { traceHref } from '../shell/route'
import { analysisApi, analysisHref, rootParams } from './analysis-address'
import { RootName, rootText } from './root-name'
import { share } from './share'

interface Props {
  window: AnalysedWindow
  root: AnalysedRoot | undefined
  query: URLSearchParams
}

/** Traces that are worth a look: the slowest, and those whose tree has a shape that hardly any other has. */
export function StrangeView({ window, root, query }: Props) {
  const answer = useJson<StrangeAnswer>(analysisApi('strange', { window: window.id }, root))
  if (answer.state === 'loading') return <Waiting what="slow and strange traces" />
  if (answer.state === 'failed') {
    return <Failure title="The traces couldn't be read" problem={answer.problem} retry={answer.again} />
  }
  const { slow, strange } = answer.value
  const sort = query.get('sort') ?? ''
  const columns = <T extends ShownTrace>(): Column<T>[] => [
    {
      key: 'trace',
      title: 'Trace',
      value: ({ traceId }) => traceId,
      show: ({ traceId }) => (
        <a href={traceHref(traceId)}>
          <code>{traceId}</code>
        </a>
      ),
    },
    {
      key: 'operation',
      title: 'Root operation',
      value: ({ root }) => rootText(root),
      show: row => (
        <a href={analysisHref(query, rootParams(row.root))}>
          <RootName root={row.root} />
        </a>
      ),
    },
    {
      key: 'duration',
      title: 'Duration',
      value: ({ duration }) => duration,
      show: ({ duration }) => formatDuration(duration),
    },
    { key: 'spans', title: 'Spans', value: ({ spans }) => spans, show: ({ spans }) => spans.toLocaleString() },
    {
      key: 'start',
      title: 'Began',
      value: ({ start }) => start ?? Number.NaN,
      show: ({ start }) => (start === null ? '–' : <TimeStamp us={start} short />),
    },
  ]
  const strangeColumns: Column<StrangeTrace>[] = [
    ...columns<StrangeTrace>(),
    {
      key: 'share',
      title: 'Of its traces',
      value: ({ share }) => share,
      show: row => (
        <span title={`${row.traces} of ${row.of} analysed traces, which have ${row.shapes} shapes`}>
          {share(row.share, 1)}
        </span>
      ),
    },
    {
      key: 'alike',
      title: 'Alike',
      value: ({ traces }) => traces,
      show: ({ traces, exemplars }) => (
        <>
          {traces.toLocaleString()} <Exemplars exemplars={exemplars} />
        </>
      ),
    },
  ]
  return (
    <div class="analysis-table">
      <h2>Strange traces</h2>
      {strange.length === 0 ? (
        <Notice title="No shape is rare">
          <p>All traces call the same operations in the same way, as far as they were analysed.</p>
        </Notice>
      ) : (
        <>
          <p class="hint">
            Their trees have a shape that few traces of the same root operation have: operations that others don't call,
            or lack. Repeated calls count once.
          </p>
          <SortedTable
            caption="Traces of rare shapes"
            columns={strangeColumns}
            rows={strange}
            sort={sort}
            rowKey={({ root, traceId }) => JSON.stringify([root, traceId])}
          />
        </>
      )}
      <h2>Slowest traces</h2>
      {slow.length === 0 ? (
        <Notice title="No traces">
          <p>None with a duration was analysed.</p>
        </Notice>
      ) : (
        <SortedTable
          caption="Slowest traces"
          columns={columns<ShownTrace>()}
          rows={slow}
          sort={sort}
          rowKey={({ root, traceId }) => JSON.stringify([root, traceId])}
        />
      )}
    </div>
  )
}
