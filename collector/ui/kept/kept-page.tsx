import '../styles/tabs.css'
import '../styles/services.css'
import '../styles/kept.css'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { KeepsAnswer } from '../../src/http/answers'
import { whyKept } from '../parts/kept-mark'
import { Failure, Waiting } from '../parts/notice'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, type TimeRange, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { AskForms } from './ask-form'
import { Caught } from './caught'
import { Histories } from './histories'
import { Requests } from './requests'

/** What narrows the lists, as the address has it; the API has the same parameters. */
const FILTERS = ['reason', 'service', 'name'] as const
const TITLES = { reason: 'reason', service: 'service', name: 'operation' }
/** For so long after somebody has asked, what has come is read again and again. */
const WATCHED_MS = 120_000
const READ_AGAIN_MS = 2_000

/** Shows what was kept after the fact, and why; and takes what people ask for. */
export function KeptPage({ query }: { query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const filters = Object.fromEntries(FILTERS.filter(name => query.has(name)).map(name => [name, query.get(name)!]))
  const keeps = useJson<KeepsAnswer>(withRange('api/keeps', range, {}, filters))
  const page = useRef<HTMLDivElement>(null)
  const watch = useReadAgain(keeps.refresh)
  useEffect(() => {
    document.title = 'Kept after the fact – Milo'
  }, [])
  useShortcuts('Kept', [
    { keys: ['r'], does: 'reload', run: keeps.again },
    { keys: ['/', 'f'], does: 'ask for traces', run: () => page.current?.querySelector('input')?.focus() },
  ])
  const answer = keeps.state === 'ready' ? keeps.value : undefined
  return (
    <>
      <div class="page-head">
        <h1>Kept after the fact</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      <p class="summary">
        Traces that weren't sampled, but which processes had in their histories and sent when something had gone wrong,
        or when somebody asked. Figures of services don't count them.
      </p>
      <div ref={page}>
        <AskForms
          service={query.get('service') ?? ''}
          name={query.get('name') ?? ''}
          services={answer?.services ?? []}
          onTold={watch}
        />
      </div>
      {keeps.state === 'loading' && <Waiting what="what was kept" />}
      {keeps.state === 'failed' && (
        <Failure title="What was kept couldn't be read" problem={keeps.problem} retry={keeps.again} />
      )}
      <Filters filters={filters} />
      {answer !== undefined && (
        <Lists answer={answer} range={range} isNarrowed={Object.keys(filters).length > 0} query={query} />
      )}
    </>
  )
}

function Filters({ filters }: { filters: Record<string, string> }) {
  const given = FILTERS.filter(name => name in filters)
  if (given.length === 0) return null
  return (
    <p class="kept-filters">
      Only of{' '}
      {given.map(name => (
        <button
          key={name}
          type="button"
          class="chip"
          aria-label={`Of any ${TITLES[name]}`}
          title={name === 'reason' ? `Kept because ${whyKept(filters[name]!)}` : undefined}
          onClick={() => setQuery({ [name]: null }, { replace: false })}
        >
          {TITLES[name]} <code>{filters[name] || 'no name'}</code> <span aria-hidden="true">×</span>
        </button>
      ))}
    </p>
  )
}

interface ListsProps {
  answer: KeepsAnswer
  range: TimeRange
  isNarrowed: boolean
  query: URLSearchParams
}

function Lists({ answer, range, isNarrowed, query }: ListsProps) {
  const sort = query.get('sort') ?? ''
  const { caught, requests, services } = answer
  return (
    <>
      <h2>What was caught</h2>
      <Caught {...{ caught, range, sort, isNarrowed, services }} />
      <h2>What people asked for</h2>
      <Requests {...{ requests, range, sort }} />
      <h2>Which services have histories</h2>
      <Histories {...{ services, range, sort }} />
    </>
  )
}

/** Returns a function after which the answer is read again for a while, as long as somebody looks. */
function useReadAgain(refresh: () => void): () => void {
  const [until, setUntil] = useState(0)
  useEffect(() => {
    if (until === 0) return
    const timer = setInterval(() => {
      if (performance.now() > until) setUntil(0)
      else if (!document.hidden) refresh()
    }, READ_AGAIN_MS)
    return () => clearInterval(timer)
  }, [until, refresh])
  return () => {
    refresh()
    setUntil(performance.now() + WATCHED_MS)
  }
}
