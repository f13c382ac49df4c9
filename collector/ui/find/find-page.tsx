import { useEffect, useMemo } from 'preact/hooks'
import type { SearchAnswer } from '../../src/http/answers'
import { nearestTime } from '../../src/query'
import { Boundary } from '../parts/boundary'
import { Later } from '../parts/later'
import { Failure, Notice, Waiting } from '../parts/notice'
import { rangeOf, type TimeRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { navigate } from '../shell/address'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { CostNote } from './cost-note'
import { differenceOf } from './difference/difference-address'
import { Empty } from './empty'
import {
  apiQuery,
  boxAddress,
  changedAddress,
  fieldsAddress,
  readAsked,
  searchAddress,
  searchOnly,
} from './query-address'
import { Results } from './results'
import { SavedBar } from './saved-bar'
import { useSavedSearches } from './saved-searches'
import { SearchBox } from './search-box'
import { SearchFields } from './search-fields'
import { Upload } from './upload'

export function FindPage({ path, query }: { path: string; query: URLSearchParams }) {
  const saved = useSavedSearches()
  // The bare address shows the viewer's default search; /search without a query shows all traces.
  const savedId = query.get('saved') ?? (path === '/' && query.size === 0 ? saved.defaultId : '')
  const found = saved.list?.find(({ id }) => id === savedId)
  const waiting = savedId !== '' && saved.list === null && saved.problem === null
  const missing = query.has('saved') && saved.list !== null && found === undefined
  const params = useMemo(() => paramsOf(query, found?.query), [query, found?.query])
  const asked = useMemo(() => readAsked(params), [params])
  const ready = !waiting && !missing
  const search = useJson<SearchAnswer>(ready && asked.problems.length === 0 ? `api/search?${apiQuery(params)}` : null)
  const narrowed = searchOnly(params) !== ''
  const before = params.get('before') ?? ''
  const title = found?.name ?? (narrowed ? asked.text : '')
  useEffect(() => {
    document.title = title === '' ? 'Milo' : `${title} – Milo`
  }, [title])
  useShortcuts('Find', [{ keys: ['r'], does: 'search again', run: search.again }])
  const first = new URLSearchParams(params)
  first.delete('before')
  const at = (before: string) => {
    const next = new URLSearchParams(first)
    next.set('before', before)
    return searchAddress(next)
  }
  const fields = fieldsAddress(asked.query)
  const pickRange = (range: TimeRange | undefined) => {
    const { from, to, ...conditions } = asked.query
    navigate(changedAddress(asked, { ...conditions, ...range }))
  }
  return (
    <>
      <h1 class="hidden">Find traces</h1>
      {asked.form === 'box' ? (
        <SearchBox text={asked.text} />
      ) : (
        <SearchFields key={String(params)} query={asked.query} />
      )}
      <div class="bar">
        <SavedBar saved={saved} current={savedId} query={narrowed ? searchOnly(params) : null} />
        <div class="bar-end">
          <RangePicker range={rangeOf(params)} orAny onPick={pickRange} />
          {asked.form === 'fields' ? (
            <a class="quiet-link" href={boxAddress(asked.text)}>
              Search box
            </a>
          ) : (
            fields !== undefined && (
              <a class="quiet-link" href={fields}>
                Fields
              </a>
            )
          )}
          <Upload />
        </div>
      </div>
      {waiting && <Waiting what="the saved search" />}
      {missing && (
        <Notice title="No such saved search">
          <p>
            It may have been deleted. <a href="search">See the newest traces</a>.
          </p>
        </Notice>
      )}
      {asked.problems.length > 0 && (
        <Notice title="That search can't be understood">
          {asked.problems.map(({ at, length, message }) => (
            <p key={at}>
              <code>{asked.text.slice(at, at + length)}</code>: {message}
            </p>
          ))}
        </Notice>
      )}
      {ready && asked.problems.length === 0 && (
        <>
          <div class="results-head">
            <h2>{found?.name ?? (narrowed ? 'Matching traces' : before ? 'Older traces' : 'Newest traces')}</h2>
            <div class="bar-end">
              {search.state === 'ready' && search.value.traces.length > 0 && (
                <a class="quiet-link" href={differenceOf(asked, search.value.traces)}>
                  What is different?
                </a>
              )}
              {(narrowed || found) && (
                <a class="quiet-link" href="search">
                  All traces
                </a>
              )}
            </div>
          </div>
          {search.state === 'loading' && <Waiting what="traces" />}
          {search.state === 'failed' && (
            <Failure title="The search failed" problem={search.problem} retry={search.again} />
          )}
          {search.state === 'ready' && <CostNote cost={search.value.cost} read={search.value.read} />}
          {search.state === 'ready' && search.value.traces.length === 0 && (
            <Empty
              asked={asked}
              narrowed={narrowed}
              before={before}
              first={searchAddress(first)}
              next={search.value.next === null ? undefined : at(search.value.next)}
            />
          )}
          {search.state === 'ready' && search.value.traces.length > 0 && (
            <>
              <Boundary what="The plot" of={String(params)}>
                <Later
                  load={() => import('./scatter-plot')}
                  show={({ ScatterPlot }) => (
                    <ScatterPlot
                      traces={search.value.traces}
                      searchOf={({ times: [from, to], durations: [min, max] }) =>
                        changedAddress(asked, {
                          ...asked.query,
                          from: nearestTime(from),
                          to: nearestTime(to),
                          minDurationUs: min,
                          maxDurationUs: max,
                        })
                      }
                      differenceOf={box => differenceOf(asked, search.value.traces, box)}
                    />
                  )}
                  meanwhile={<div class="scatter" />}
                />
              </Boundary>
              <Results traces={search.value.traces} />
              <nav class="pages" aria-label="Pages of results">
                {before !== '' && <a href={searchAddress(first)}>Back to the newest</a>}
                {search.value.next && <a href={at(search.value.next)}>Older traces</a>}
              </nav>
            </>
          )}
        </>
      )}
    </>
  )
}

/** Combines the conditions of a saved search with the page of results that the address asks for. */
function paramsOf(query: URLSearchParams, saved: string | undefined): URLSearchParams {
  if (saved === undefined) return query
  const params = new URLSearchParams(saved)
  for (const name of ['before', 'limit']) if (query.has(name)) params.set(name, query.get(name)!)
  return params
}
