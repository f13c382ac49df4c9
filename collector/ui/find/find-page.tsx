import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { SearchAnswer } from '../../src/http/answers'
import { nearestTime, print } from '../../src/query'
import type { TraceSummary } from '../../src/trace'
import { Boundary } from '../parts/boundary'
import { Later } from '../parts/later'
import { Failure, Notice, Waiting } from '../parts/notice'
import { absolute, rangeOf, type TimeRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { navigate, setQuery } from '../shell/address'
import { useJson, useLoading } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { CostNote } from './cost-note'
import { differenceOf } from './difference/difference-address'
import { Empty } from './empty'
import { useLiveTail } from './live-tail'
import { lookAt } from './look'
import {
  apiQuery,
  boxAddress,
  changedAddress,
  fieldsAddress,
  inViewersZone,
  orderOf,
  readAsked,
  savedQuery,
  searchAddress,
  searchOnly,
  withView,
} from './query-address'
import { Results } from './results'
import { ResultsHead } from './results-head'
import { SavedBar } from './saved-bar'
import { useSavedSearches } from './saved-searches'
import { SearchBox } from './search-box'
import { SearchFields } from './search-fields'
import { Ticked } from './ticked'
import { Upload } from './upload'

const NONE: TraceSummary[] = []
/** How often the overview follows a live tail: it reads far more than the list. */
const OVERVIEW_EVERY_MS = 20_000

export function FindPage({ path, query }: { path: string; query: URLSearchParams }) {
  const saved = useSavedSearches()
  // The bare address shows the viewer's default search; /search without a query shows all traces.
  const savedId = query.get('saved') ?? (path === '/' && query.size === 0 ? saved.defaultId : '')
  const found = saved.list?.find(({ id }) => id === savedId)
  const waiting = savedId !== '' && saved.list === null && saved.problem === null
  const missing = query.has('saved') && saved.list !== null && found === undefined
  const params = useMemo(() => paramsOf(query, found?.query), [query, found?.query])
  const asked = useMemo(() => readAsked(params), [params])
  const ready = !waiting && !missing && asked.problems.length === 0
  const only = searchOnly(params)
  const narrowed = only !== ''
  const range = rangeOf(params)
  const order = orderOf(params)
  const before = params.get('before') ?? ''
  const searchUrl = `api/search?${apiQuery(params)}`
  const search = useJson<SearchAnswer>(ready ? searchUrl : null)
  const overview = useLoading(ready ? `api/overview?${only}` : null, signal =>
    lookAt(only, range === undefined ? asked.query : undefined, signal),
  )

  const canBeLive = order === 'newest' && before === '' && range?.to === undefined
  const isLive = canBeLive && params.get('live') === '1'
  const list = useRef<HTMLDivElement>(null)
  const first = search.state === 'ready' ? search.value.traces : NONE
  const tail = useLiveTail(isLive && search.state === 'ready' ? searchUrl : null, first, () => isReading(list.current))
  useEffect(() => {
    if (!isLive) return
    const timer = setInterval(() => !document.hidden && overview.refresh(), OVERVIEW_EVERY_MS)
    return () => clearInterval(timer)
  }, [isLive, overview.refresh])

  const [ticked, setTicked] = useState<TraceSummary[]>([])
  const tick = (trace: TraceSummary, isTicked: boolean) =>
    setTicked(ticked => [...ticked.filter(({ traceId }) => traceId !== trace.traceId), ...(isTicked ? [trace] : [])])

  const refresh = () => {
    for (const asking of [search, overview]) {
      if (asking.state === 'ready') asking.refresh()
      else asking.again()
    }
  }
  const setLive = (on: boolean) => {
    // The list ends as it is: what came meanwhile is the search's newest page.
    if (!on) search.refresh()
    setQuery({ live: on ? '1' : null }, { replace: false })
  }
  useShortcuts('Find', [
    { keys: ['r'], does: 'search again', run: refresh },
    { keys: ['l'], does: 'live: new traces on top', run: () => canBeLive && setLive(!isLive) },
  ])
  const title = found?.name ?? (narrowed ? asked.text : '')
  useEffect(() => {
    document.title = title === '' ? 'Milo' : `${title} – Milo`
  }, [title])

  const newest = new URLSearchParams(params)
  newest.delete('before')
  const at = (before: string) => {
    const next = new URLSearchParams(newest)
    next.set('before', before)
    return searchAddress(next)
  }
  const fields = fieldsAddress(asked.query)
  const pickRange = (range: TimeRange | undefined) => {
    const { from, to, ...conditions } = asked.query
    navigate(withView(changedAddress(asked, { ...conditions, ...range }), params))
  }
  const shown = overview.state === 'ready' ? overview.value : undefined
  // Without a time range it is the one that the overview shows.
  const asShown =
    range === undefined && shown !== undefined
      ? new URLSearchParams({
          q: print({ ...asked.query, from: nearestTime(shown.from), to: nearestTime(shown.to) }),
        })
      : only
  const compared = (traces: TraceSummary[]) => (shown === undefined ? traces : [...shown.sample, ...traces])
  return (
    <>
      <h1 class="hidden">Find traces</h1>
      {asked.form === 'box' ? (
        <SearchBox text={inViewersZone(asked.text)} waiting={waiting} />
      ) : (
        <SearchFields key={String(params)} query={asked.query} />
      )}
      <div class="bar">
        <SavedBar saved={saved} current={savedId} query={narrowed ? savedQuery(params) : null} />
        <div class="bar-end">
          <RangePicker range={range} orAny onPick={pickRange} />
          {asked.form === 'fields' ? (
            <a class="quiet-link" href={withView(boxAddress(asked.text), params)}>
              Search box
            </a>
          ) : (
            fields !== undefined && (
              <a class="quiet-link" href={withView(fields, params)}>
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
      {ready && (
        <>
          <ResultsHead
            title={found?.name ?? (narrowed ? 'Matching traces' : before ? 'Older traces' : 'Newest traces')}
            overview={shown}
            answer={search.state === 'ready' ? search.value : undefined}
            order={order}
            live={canBeLive ? isLive : undefined}
            isNarrowed={narrowed || found !== undefined}
            difference={first.length > 0 ? differenceOf(asked, compared(first)) : undefined}
            fastAndSlow={
              first.length > 0 && (range !== undefined || overview.state !== 'loading')
                ? `compare?${asShown}&groups=fast-slow`
                : undefined
            }
            onRefresh={refresh}
            onLive={setLive}
          />
          {search.state === 'loading' && <Waiting what="traces" />}
          {search.state === 'failed' && <Failure title="The search failed" problem={search.problem} retry={refresh} />}
          {search.state === 'ready' && <CostNote cost={search.value.cost} read={search.value.read} />}
          {search.state === 'ready' && tail.traces.length === 0 && (
            <Empty
              asked={asked}
              narrowed={narrowed}
              before={before}
              first={searchAddress(newest)}
              next={search.value.next === null ? undefined : at(search.value.next)}
            />
          )}
          {search.state === 'ready' && tail.traces.length > 0 && (
            <>
              <Boundary what="The overview" of={only}>
                {overview.state === 'failed' ? (
                  <p class="overview hint" role="alert">
                    The overview couldn't be read. {overview.problem.message}{' '}
                    <button type="button" class="link" onClick={overview.again}>
                      Try again
                    </button>
                  </p>
                ) : (
                  <Later
                    load={() => import('./overview')}
                    show={({ Overview }) =>
                      shown === undefined ? (
                        <div class="overview" />
                      ) : (
                        <Overview
                          answer={shown}
                          isRanged={range !== undefined}
                          subject={asked.query.name ?? asked.query.service ?? 'all services'}
                          onRange={times => pickRange(absolute(times))}
                          searchOf={({ times: [from, to], durations: [min, max] }) =>
                            withView(
                              changedAddress(asked, {
                                ...asked.query,
                                from: nearestTime(from),
                                to: nearestTime(to),
                                minDurationUs: min,
                                maxDurationUs: max,
                              }),
                              params,
                            )
                          }
                          differenceOf={box => differenceOf(asked, compared(first), box)}
                        />
                      )
                    }
                    meanwhile={<div class="overview" />}
                  />
                )}
              </Boundary>
              <div ref={list}>
                {isLive && <LiveState tail={tail} />}
                <Results traces={tail.traces} range={range} ticked={ticked} onTick={tick} />
              </div>
              <Ticked ticked={ticked} onTick={tick} />
              <nav class="pages" aria-label="Pages of results">
                {before !== '' && <a href={searchAddress(newest)}>Back to the newest</a>}
                {search.value.next && <a href={at(search.value.next)}>Older traces</a>}
              </nav>
            </>
          )}
        </>
      )}
    </>
  )
}

/** Says what a live tail does, for those who don't see it move, and lets in what waits. */
function LiveState({ tail: { held, show, problem } }: { tail: ReturnType<typeof useLiveTail> }) {
  return (
    <div class="live" role="status">
      {problem !== null && <span class="field-problem">{problem.message} Trying again.</span>}
      {held.length > 0 && (
        <button type="button" class="live-new" onClick={show}>
          Show {held.length === 1 ? 'a new trace' : `${held.length} new traces`}
        </button>
      )}
    </div>
  )
}

/** Whether new rows at the top would move what the viewer looks at, or is about to click. */
function isReading(list: HTMLElement | null): boolean {
  if (list === null) return false
  return list.getBoundingClientRect().top < 0 || list.matches(':hover') || list.contains(document.activeElement)
}

/** Combines the conditions of a saved search with the page of results that the address asks for. */
function paramsOf(query: URLSearchParams, saved: string | undefined): URLSearchParams {
  if (saved === undefined) return query
  const params = new URLSearchParams(saved)
  for (const name of ['before', 'limit', 'order', 'live']) if (query.has(name)) params.set(name, query.get(name)!)
  return params
}
