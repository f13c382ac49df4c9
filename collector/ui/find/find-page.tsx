import { useEffect } from 'preact/hooks'
import type { TraceSummary } from '../../src/trace'
import { useJson } from '../shell/json'
import { Failure, Waiting } from '../shell/notice'
import { FirstTrace } from './first-trace'
import { Results } from './results'

export function FindPage({ query }: { query: URLSearchParams }) {
  const search = useJson<{ traces: TraceSummary[]; next: string | null }>(`/api/search?${query}`)
  useEffect(() => {
    document.title = 'Milo'
  }, [])
  return (
    <>
      <h1>Newest traces</h1>
      {search.state === 'loading' && <Waiting what="traces" />}
      {search.state === 'failed' && <Failure title="The search failed" problem={search.problem} retry={search.retry} />}
      {search.state === 'ready' &&
        (search.value.traces.length === 0 ? <FirstTrace /> : <Results traces={search.value.traces} />)}
    </>
  )
}
