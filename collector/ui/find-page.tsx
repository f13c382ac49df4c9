import { useEffect } from 'preact/hooks'
import type { TraceSummary } from '../src/trace'
import { FirstTrace } from './first-trace'
import { useJson } from './json'
import { Failure, Notice, Waiting } from './notice'
import { Results } from './results'
import { findHref, type SearchTerms } from './route'
import { SearchForm } from './search-form'

interface SearchAnswer {
  traces: TraceSummary[]
  next?: string | null
}

export function FindPage({ query }: { query: SearchTerms }) {
  const given = Object.entries(query).filter(([, value]) => value !== '')
  const search = useJson<SearchAnswer>(`/api/search?${new URLSearchParams(given)}`)
  const terms = { name: query.name, key: query.key, value: query.value }
  const narrowed = terms.name !== '' || terms.key !== '' || terms.value !== ''
  useEffect(() => {
    document.title = narrowed ? `${[terms.name, terms.key, terms.value].filter(Boolean).join(' ')} – Milo` : 'Milo'
  }, [narrowed, terms.name, terms.key, terms.value])
  return (
    <>
      <SearchForm key={findHref(terms)} terms={terms} />
      <h1>{narrowed ? 'Matching traces' : query.before ? 'Older traces' : 'Newest traces'}</h1>
      {search.state === 'loading' && <Waiting what="traces" />}
      {search.state === 'failed' && <Failure title="The search failed" problem={search.problem} retry={search.retry} />}
      {search.state === 'ready' && search.value.traces.length === 0 && <Empty narrowed={narrowed} query={query} />}
      {search.state === 'ready' && search.value.traces.length > 0 && (
        <>
          <Results traces={search.value.traces} />
          <nav class="pages" aria-label="Pages of results">
            {query.before !== '' && <a href={findHref(terms)}>Back to the newest</a>}
            {search.value.next && <a href={findHref({ ...terms, before: search.value.next })}>Older traces</a>}
          </nav>
        </>
      )}
    </>
  )
}

function Empty({ narrowed, query }: { narrowed: boolean; query: SearchTerms }) {
  if (query.before !== '') {
    return (
      <Notice title="No older traces">
        <p>
          This is the end of the list. <a href={findHref({ ...query, before: '' })}>Back to the newest</a>
        </p>
      </Notice>
    )
  }
  if (!narrowed) return <FirstTrace />
  const conditions = [
    query.name && `is called “${query.name}”`,
    query.key && query.value && `has the annotation “${query.key}” with the value “${query.value}”`,
    query.key && !query.value && `has the annotation “${query.key}”`,
    !query.key && query.value && `has an annotation with the value “${query.value}”`,
  ].filter(Boolean)
  return (
    <Notice title="Nothing matches">
      <p>No span {conditions.join(' and ')}.</p>
      <p>
        Names, keys and values are compared exactly, capitals included, and all conditions must hold on one span. Leave
        a field empty to search more widely, or <a href="/">see the newest traces</a>.
      </p>
    </Notice>
  )
}
