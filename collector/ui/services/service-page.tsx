import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks'
import type {
  DependenciesAnswer,
  DeploymentsAnswer,
  EdgeFigures,
  OperationsAnswer,
  SeriesAnswer,
  UsualAnswer,
} from '../../src/http/answers'
import type { Query } from '../../src/query'
import type { Usual } from '../../src/trace'
import { Notice } from '../parts/notice'
import { useUsual } from '../parts/usual'
import { pickRange } from '../range/pick-range'
import { absolute, DEFAULT_RANGE, rangeOf, searchIn, serviceHref, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { earlierRange, SeriesCharts } from './series-charts'
import { Deployments, Edges, Loaded, Operations, Totals } from './service-parts'
import { type Subject, seriesUrl, subjectOf, subjectTitle } from './subject'

/** Shows one service over time, its operations, who calls it and whom it calls; or one of these over time. */
export function ServicePage({ service, query }: { service: string; query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const subject = subjectOf(query)
  const series = useJson<SeriesAnswer>(seriesUrl(service, subject, range))
  const answer = series.state === 'ready' ? series.value : undefined
  const earlier = useJson<SeriesAnswer>(answer === undefined ? null : earlierUrl(service, subject, answer))
  const deployments = useJson<DeploymentsAnswer>(withRange('api/deployments', range, {}, { service }))
  const deployed = deployments.state === 'ready' ? deployments.value.deployments : []
  const marks = useMemo(() => deployed.map(({ version, time }) => ({ us: time, label: version })), [deployments])
  const usualOf = useUsual([service])
  const work = useWork(service, subject)
  const operations = useJson<OperationsAnswer>(withRange('api/operations', range, {}, { service }))
  const edges = useJson<DependenciesAnswer>(withRange('api/dependencies', range, { operations: 'true' }, { service }))
  const title = subjectTitle(service, subject)
  const top = useRef<HTMLDivElement>(null)
  const head = useRef<HTMLElement>(null)
  useEffect(() => {
    document.title = `${title} – Milo`
  }, [title])
  const wasFirst = useRef(true)
  useLayoutEffect(() => {
    // What was chosen in a table far below shows at the top, where the keyboard goes on too.
    if (!wasFirst.current) {
      top.current?.scrollIntoView({ block: 'nearest' })
      head.current?.focus({ preventScroll: true })
    }
    wasFirst.current = false
  }, [title])
  const again = () => {
    for (const one of [series, operations, edges]) one.again()
  }
  useShortcuts('Service', [{ keys: ['r'], does: 'reload', run: again }])
  const usualOfSubject =
    subject.kind === 'operation'
      ? usualOf(service, subject.name, subject.side)
      : subject.kind === 'service'
        ? work
        : undefined
  const find = (more: Partial<Query> = {}) => searchIn(range, { ...conditionsOf(service, subject), ...more })
  const sort = query.get('sort') ?? ''
  const us = (answer: { from: number; to: number }) => answer.to - answer.from
  const headings = {
    operations: useRef<HTMLHeadingElement>(null),
    callers: useRef<HTMLHeadingElement>(null),
    callees: useRef<HTMLHeadingElement>(null),
  }
  const ofSubject = edges.state === 'ready' ? edgesOf(edges.value.edges, service, subject) : undefined
  const callsPart = (is: 'callee' | 'caller') => {
    const heading = is === 'callee' ? headings.callers : headings.callees
    const title = is === 'callee' ? 'Who calls it' : 'Whom it calls'
    return {
      title,
      heading,
      count: ofSubject?.[is].length,
      content: (
        <>
          <h2 ref={heading} tabIndex={-1}>
            {title}
          </h2>
          <Loaded loading={edges} what="the calls" title="The calls to and from the service couldn't be read">
            {answer => (
              <Edges
                title={title}
                is={is}
                edges={ofSubject![is]}
                us={us(answer)}
                truncated={answer.truncated === true}
                {...{ service, subject, range, sort }}
              />
            )}
          </Loaded>
        </>
      ),
    }
  }
  const operationsPart = {
    title: 'Operations',
    heading: headings.operations,
    count: operations.state === 'ready' ? operations.value.operations.length : undefined,
    content: (
      <>
        <h2 ref={headings.operations} tabIndex={-1}>
          Operations
        </h2>
        <Loaded loading={operations} what="the operations" title="The operations couldn't be read">
          {answer => (
            <Operations
              operations={answer.operations}
              us={us(answer)}
              truncated={answer.truncated === true}
              {...{ service, subject, range, sort, usualOf }}
            />
          )}
        </Loaded>
      </>
    ),
  }
  // A client's operation is a call itself: nobody calls it.
  const isClient = subject.kind === 'operation' && subject.side === 'client'
  const calls = isClient ? [callsPart('caller')] : [callsPart('callee'), callsPart('caller')]
  // An operation's own calls are nearer to it than its neighbors.
  const parts = subject.kind === 'operation' ? [...calls, operationsPart] : [operationsPart, ...calls]
  return (
    <>
      <div class="page-head" ref={top}>
        <h1>{service || 'A service without a name'}</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      {subject.kind !== 'service' && (
        <p class="subject">
          <strong ref={head} tabIndex={-1}>
            {title}
          </strong>{' '}
          <a href={serviceHref(service, range)}>Show the whole service</a>
        </p>
      )}
      <p class="links">
        <a href={find()}>Traces</a>
        <a href={withRange('errors', range, {}, { service })}>Its errors</a>
        <a href={find({ error: true })}>Traces with errors</a>
        <a href={withRange('graph', range, { service })}>Its place in the graph</a>
        <a href={withRange('changes', range, { service })}>What has changed</a>
        <a
          href={withRange(
            'kept',
            range,
            {},
            subject.kind === 'operation' ? { service, name: subject.name } : { service },
          )}
        >
          {subject.kind === 'operation' ? 'Keep the next traces of this operation' : 'Keep its next traces'}
        </a>
      </p>
      <nav class="links" aria-label="Parts of the page">
        {parts.map(({ title, count, heading }) => (
          <button key={title} type="button" class="link" onClick={() => reveal(heading.current)}>
            {title}
            {count !== undefined && ` (${count.toLocaleString()})`}
          </button>
        ))}
      </nav>
      <Loaded loading={series} what="the figures" title="The figures couldn't be read">
        {answer =>
          answer.total.records === 0 ? (
            <Notice title="Nothing was reported in this time range">
              {ofSubject !== undefined && ofSubject.callee.length > 0 && (
                <p>
                  It reports no spans itself, like a database or a queue. The services that call it, listed below,
                  report how the calls went.
                </p>
              )}
              <p>
                Choose another time range above, or see{' '}
                {subject.kind === 'service' ? (
                  <a href={withRange('services', range)}>all services</a>
                ) : (
                  <a href={serviceHref(service, range)}>the whole service</a>
                )}
                . New spans are counted within a minute.
              </p>
            </Notice>
          ) : (
            <>
              <Totals answer={answer} usual={usualOfSubject} />
              <SeriesCharts
                series={answer}
                earlier={earlier.state === 'ready' && earlier.value.total.records > 0 ? earlier.value : undefined}
                range={range}
                service={service}
                marks={marks}
              />
              {deployed.length > 0 && <Deployments deployed={deployed} range={range} service={service} />}
            </>
          )
        }
      </Loaded>
      {parts.map(({ title, content }) => (
        <section key={title} aria-label={title}>
          {content}
        </section>
      ))}
    </>
  )
}

/** What a search looks for to find traces of it. */
function conditionsOf(service: string, subject: Subject): Partial<Query> {
  if (subject.kind === 'operation') return { service, ...(subject.name && { name: subject.name }) }
  if (subject.kind === 'service') return { service }
  // Half of the edge is the callee's, whose span has its operation's name; what isn't traced is known by the caller's half.
  return { service: subject.from, ...(subject.toName && { name: subject.toName }) }
}

/** How long the service's own work usually takes. */
function useWork(service: string, subject: Subject): Usual | undefined {
  const usual = useJson<UsualAnswer>(
    subject.kind === 'service' ? withRange('api/usual', undefined, {}, { service }) : null,
  )
  return usual.state === 'ready' ? usual.value.services[0] : undefined
}

/** Where the API has the same steps of the time before. */
function earlierUrl(service: string, subject: Subject, series: SeriesAnswer): string {
  return `${seriesUrl(service, subject, absolute(earlierRange(series)))}&step=${series.step}`
}

/** Calls to a service, and from it; of one of its operations, if that is what the page is about. */
function edgesOf(edges: EdgeFigures[], service: string, subject: Subject) {
  const name = subject.kind === 'operation' ? subject.name : undefined
  // Calls of a client's operation are known by what they call.
  const isClient = subject.kind === 'operation' && subject.side === 'client'
  return {
    callee: edges.filter(edge => edge.to === service && !isClient && (name === undefined || edge.toName === name)),
    caller: edges.filter(edge => {
      const own = isClient ? edge.toName : edge.fromName
      return edge.from === service && (name === undefined || own === name)
    }),
  }
}

/** Scrolls to a heading, where the keyboard goes on. */
function reveal(heading: HTMLElement | null): void {
  heading?.scrollIntoView({ block: 'start' })
  heading?.focus({ preventScroll: true })
}
