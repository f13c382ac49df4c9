import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks'
import type { DependenciesAnswer, EdgeFigures, PeersAnswer, ServicesAnswer } from '../../src/http/answers'
import { counted } from '../parts/count'
import { Failure, Notice, Waiting } from '../parts/notice'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, searchIn, serviceHref, type TimeRange, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { EdgeTable } from './edge-table'
import { kindsOf, unreported } from './node-kinds'
import { ServiceGraph } from './service-graph'
import { fitsWhole, neighborhood, wholeGraph } from './shown-graph'

/** Draws which service calls which. */
export function GraphPage({ query }: { query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const dependencies = useJson<DependenciesAnswer>(withRange('api/dependencies', range))
  const services = useJson<ServicesAnswer>(withRange('api/services', range))
  const again = () => {
    dependencies.again()
    services.again()
  }
  useEffect(() => {
    document.title = 'Graph of services – Milo'
  }, [])
  useShortcuts('Graph', [
    { keys: ['r'], does: 'reload', run: again },
    { keys: ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'], does: 'walk from service to service' },
    { keys: ['Enter'], does: 'choose a service' },
  ])
  return (
    <>
      <div class="page-head">
        <h1>Graph of services</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      {dependencies.state === 'loading' && <Waiting what="the calls between services" />}
      {dependencies.state === 'failed' && (
        <Failure title="The calls between services couldn't be read" problem={dependencies.problem} retry={again} />
      )}
      {dependencies.state === 'ready' && dependencies.value.edges.length === 0 && (
        <Notice title="No calls between services in this time range">
          <p>
            Choose another time range above, or <a href={searchIn(range)}>see the traces</a> of this one. New spans are
            counted within a minute.
          </p>
        </Notice>
      )}
      {dependencies.state === 'ready' && dependencies.value.edges.length > 0 && (
        <Graph
          answer={dependencies.value}
          services={services.state === 'ready' ? services.value : undefined}
          range={range}
          query={query}
        />
      )}
    </>
  )
}

interface GraphProps {
  answer: DependenciesAnswer
  services: ServicesAnswer | undefined
  range: TimeRange
  query: URLSearchParams
}

function Graph({ answer, services, range, query }: GraphProps) {
  const { edges } = answer
  const names = useMemo(() => [...new Set(edges.flatMap(({ from, to }) => [from, to]))].sort(), [edges])
  const asked = query.get('service') ?? ''
  const chosen = names.includes(asked) ? asked : ''
  const whole = useMemo(() => fitsWhole(edges), [edges])
  const askedHops = Number(query.get('hops') ?? (whole ? 0 : 1))
  const hops = chosen === '' ? 0 : [0, 1, 2].includes(askedHops) ? askedHops : 1
  const shown = useMemo(
    () => (hops === 0 ? wholeGraph(edges) : neighborhood(edges, chosen, hops)),
    // What is chosen changes the picture only of a neighborhood.
    [edges, hops, hops === 0 ? '' : chosen],
  )
  const silent = useMemo(() => (services === undefined ? [] : unreported(edges, services)), [edges, services])
  const asking = new URLSearchParams(silent.map(name => ['name', name]))
  const peers = useJson<PeersAnswer>(silent.length === 0 ? null : `api/peers?${asking}`)
  const kinds = useMemo(
    () => kindsOf(edges, silent, peers.state === 'ready' ? peers.value : { peers: [] }, services?.truncated === true),
    [edges, silent, peers],
  )
  const first = useRef(chosen)
  const us = answer.to - answer.from
  const choose = (service: string) => setQuery({ service: service === chosen ? null : service }, { replace: false })
  return (
    <>
      <div class="graph-tools">
        <ServiceField names={names} chosen={chosen} onChoose={service => setQuery({ service }, { replace: false })} />
        {chosen !== '' && (
          <fieldset class="choices" aria-label="What is drawn">
            {(['All', '1 call away', '2 calls away'] as const).map((title, i) => (
              <button
                key={title}
                type="button"
                aria-pressed={i === hops}
                onClick={() => setQuery({ hops: String(i) }, { replace: false })}
              >
                {title}
              </button>
            ))}
          </fieldset>
        )}
      </div>
      {answer.truncated && (
        <p class="hint">
          There are more pairs of services than can be shown here. These are the {edges.length.toLocaleString()} with
          the most calls.
        </p>
      )}
      {shown.leftOut > 0 && (
        <p class="hint">
          The picture shows {counted(shown.edges.length, 'pair')} of services, those with the most calls, and leaves out{' '}
          {shown.leftOut.toLocaleString()}. {hops === 0 && 'Choose a service to see all calls around it. '}The table
          below lists {hops === 0 ? 'all of them' : 'all pairs'}.
        </p>
      )}
      <ServiceGraph
        shown={shown}
        figures={services?.services ?? []}
        kinds={kinds}
        us={us}
        chosen={chosen}
        range={range}
        onChoose={choose}
      />
      {chosen !== '' && (
        <Around service={chosen} opens={chosen !== first.current} edges={edges} us={us} range={range} query={query} />
      )}
      <h2>All calls between services</h2>
      <EdgeTable
        caption="All calls between services"
        edges={edges}
        us={us}
        range={range}
        sort={query.get('sort') ?? ''}
      />
    </>
  )
}

interface AroundProps {
  service: string
  /** Whether it was chosen on this page. */
  opens: boolean
  edges: EdgeFigures[]
  us: number
  range: TimeRange
  query: URLSearchParams
}

/** Who calls the chosen service, and whom it calls. */
function Around({ service, opens, edges, us, range, query }: AroundProps) {
  const section = useRef<HTMLElement>(null)
  useLayoutEffect(() => {
    // Below the picture it may be out of sight.
    if (!opens) return
    section.current?.scrollIntoView({ block: 'nearest' })
    section.current?.focus({ preventScroll: true })
  }, [service])
  const [callers, callees] = [edges.filter(({ to }) => to === service), edges.filter(({ from }) => from === service)]
  const table = (caption: string, edges: EdgeFigures[], is: 'caller' | 'callee') =>
    edges.length > 0 && (
      <div>
        <h3>{caption}</h3>
        <EdgeTable
          caption={caption}
          edges={edges}
          us={us}
          range={range}
          sort={query.get('sort') ?? ''}
          of={{ service, is }}
        />
      </div>
    )
  return (
    <section class="service-detail" aria-label={service} ref={section} tabIndex={-1}>
      <div class="results-head">
        <h2>{service}</h2>
        <p>
          <a href={serviceHref(service, range)}>Its page</a> · <a href={searchIn(range, { service })}>Traces</a>
        </p>
      </div>
      <div class="side-by-side">
        {table(`Calls to ${service}`, callers, 'callee')}
        {table(`Calls from ${service}`, callees, 'caller')}
      </div>
    </section>
  )
}

interface ServiceFieldProps {
  names: string[]
  chosen: string
  onChoose(service: string | null): void
}

/** Finds a service by its name. */
function ServiceField({ names, chosen, onChoose }: ServiceFieldProps) {
  return (
    <label class="service-field">
      Service
      <input
        type="search"
        list="graph-services"
        placeholder="choose one of the services"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        // Chosen in the picture, it shows here too.
        key={chosen}
        defaultValue={chosen}
        onInput={({ currentTarget: { value } }) => {
          if (value === '') onChoose(null)
          else if (value !== chosen && names.includes(value)) onChoose(value)
        }}
      />
      <datalist id="graph-services">
        {names.map(name => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </label>
  )
}
