import type { AnalysedEdgesAnswer, AnalysedWindow } from '../../src/http/answers'
import { Failure, Notice, Waiting } from '../parts/notice'
import { absolute } from '../range/range'
import { EdgeTable } from '../services/edge-table'
import { useJson } from '../shell/json'
import { analysisApi } from './analysis-address'

/** Calls between operations, counted of every analysed trace. */
export function EdgesView({ window, query }: { window: AnalysedWindow; query: URLSearchParams }) {
  const answer = useJson<AnalysedEdgesAnswer>(analysisApi('edges', { window: window.id }))
  if (answer.state === 'loading') return <Waiting what="calls" />
  if (answer.state === 'failed') {
    return <Failure title="The calls couldn't be read" problem={answer.problem} retry={answer.again} />
  }
  const { edges, truncated } = answer.value
  if (edges.length === 0) {
    return (
      <Notice title="No calls between services">
        <p>No trace of this time has one.</p>
      </Notice>
    )
  }
  return (
    <>
      {truncated && (
        <p class="hint">
          There are more than are listed. These are the {edges.length.toLocaleString()} with the most calls.
        </p>
      )}
      <EdgeTable
        caption="Calls between operations"
        edges={edges}
        us={window.to - window.from}
        range={absolute(window)}
        sort={query.get('sort') ?? ''}
      />
    </>
  )
}
