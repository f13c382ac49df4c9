import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { formatDuration, NO_PARENT, type TraceSpan } from '../../src/trace'
import { CopyButton } from '../parts/copy-button'
import { offset } from '../parts/time'
import { setQuery } from '../shell/address'
import { searchHref } from '../shell/route'
import type { TraceHead as Trace } from './columns'
import type { LoadedTrace } from './load-trace'

interface Props {
  trace: LoadedTrace
  index: number
  onClose(): void
}

/** The panel beside the waterfall. The worker holds the span; until it answers, the previous span stays visible. */
export function SpanDetail({ trace, index, onClose }: Props) {
  const [span, setSpan] = useState<TraceSpan | null>(null)
  useEffect(() => {
    let gone = false
    void trace.span(index).then(answer => !gone && setSpan(answer))
    return () => {
      gone = true
    }
  }, [index, trace.columns])
  if (span === null) return <aside class="detail" aria-label="Selected span" />
  return <Panel trace={trace.head} span={span} onClose={onClose} />
}

/** Shows everything that was reported of one span. */
function Panel({ trace, span, onClose }: { trace: Trace; span: TraceSpan; onClose(): void }) {
  const panel = useRef<HTMLElement>(null)
  useEffect(() => panel.current?.scrollTo(0, 0), [span.spanId])
  return (
    <aside class="detail" ref={panel} aria-label="Selected span" tabIndex={-1}>
      <div class="detail-head">
        <h2>{span.name || <em>no name</em>}</h2>
        <button type="button" class="small" onClick={onClose}>
          Close
        </button>
      </div>
      {span.error && <p class="failure">Failed: {span.annotations['error.type'] ?? span.annotations.error}</p>}
      <Times trace={trace} span={span} />
      <Pairs title="Annotations" pairs={Object.entries(span.annotations)} link={annotationHref} />
      <Events trace={trace} span={span} />
      <Pairs title="Counters" pairs={Object.entries(span.counters)} />
      <Conflicts span={span} />
      <Repeats trace={trace} span={span} />
      <Section title="Origin">
        <dl class="pairs">
          <Pair name="Service">{span.service ?? 'not reported'}</Pair>
          {span.serverHost && <Pair name="Host">{span.serverHost}</Pair>}
          {span.clientService && <Pair name="Called by">{span.clientService}</Pair>}
          {span.clientHost && <Pair name="Caller's host">{span.clientHost}</Pair>}
          <Pair name="Reported">{REPORTED[span.kind]}</Pair>
          <Pair name="Span id">
            <code>{span.spanId}</code> <CopyButton text={span.spanId} what="the span's id" />
          </Pair>
          <Pair name="Parent">
            <Parent span={span} />
          </Pair>
          <Pair name="Sampled">{sampled(span.probability)}</Pair>
        </dl>
      </Section>
    </aside>
  )
}

const REPORTED = {
  rpc: 'client and server half',
  client: 'client half only',
  server: 'server half only',
  local: 'local work, not a call',
} as const

function Times({ trace, span }: { trace: Trace; span: TraceSpan }) {
  if (span.start === null) return <p class="hint">No event of this span has a time.</p>
  const raw = [span.rawStart, span.rawClientStart, span.rawServerStart].some(time => time !== undefined)
  return (
    <table class="times">
      <thead>
        <tr>
          <th scope="col">Half</th>
          <th scope="col">Start</th>
          <th scope="col">Duration</th>
        </tr>
      </thead>
      <tbody>
        {span.clientStart !== null && (
          <TimesRow what="Client" at={offset(span.clientStart, trace.start)} duration={span.clientDuration} />
        )}
        {span.serverStart !== null && (
          <TimesRow what="Server" at={offset(span.serverStart, trace.start)} duration={span.serverDuration} />
        )}
        {span.kind === 'local' && (
          <TimesRow what="Local" at={offset(span.start, trace.start)} duration={span.duration} />
        )}
        {span.networkTime !== null && <TimesRow what="Network and waiting" at="" duration={span.networkTime} />}
        <TimesRow what="Self time" at="" duration={span.selfTime} />
        {span.criticalTime > 0 && <TimesRow what="On the critical path" at="" duration={span.criticalTime} />}
        {raw && <RawTimes trace={trace} span={span} />}
      </tbody>
    </table>
  )
}

/** Shows times before the clocks were corrected. */
function RawTimes({ trace, span }: { trace: Trace; span: TraceSpan }) {
  const { rawClientStart, rawServerStart, rawStart } = span
  return (
    <>
      {rawClientStart !== undefined && (
        <TimesRow what="Client, as reported" at={offset(rawClientStart, trace.start)} duration={span.clientDuration} />
      )}
      {rawServerStart !== undefined && (
        <TimesRow what="Server, as reported" at={offset(rawServerStart, trace.start)} duration={span.serverDuration} />
      )}
      {span.kind === 'local' && rawStart !== undefined && (
        <TimesRow what="Local, as reported" at={offset(rawStart, trace.start)} duration={span.duration} />
      )}
    </>
  )
}

function TimesRow({ what, at, duration }: { what: string; at: string; duration: number | null }) {
  return (
    <tr>
      <th scope="row">{what}</th>
      <td>{at}</td>
      <td>{formatDuration(duration)}</td>
    </tr>
  )
}

function annotationHref(key: string, value: string): string {
  return searchHref({ key, value })
}

/** Shows keys and values, if there are any. With `link`, each value links to the traces that share it. */
function Pairs({ title, pairs, link }: { title: string; pairs: [string, string][]; link?: typeof annotationHref }) {
  if (pairs.length === 0) return null
  return (
    <Section title={title}>
      <dl class="pairs">
        {pairs.map(([key, value]) => (
          <Pair key={key} name={key}>
            {link ? (
              <a href={link(key, value)} title="Find traces with the same value">
                {value || <em>empty</em>}
              </a>
            ) : (
              value
            )}
          </Pair>
        ))}
      </dl>
    </Section>
  )
}

function Events({ trace, span }: { trace: Trace; span: TraceSpan }) {
  if (span.events.length === 0) return null
  return (
    <Section title="Events">
      <ol class="events">
        {span.events.map((event, i) => (
          <li key={i}>
            <span class="offset">{offset(event.time, trace.start)}</span>
            <span>{event.value || <em>empty</em>}</span>
            {span.kind === 'rpc' && <span class="tag">{event.side}</span>}
          </li>
        ))}
      </ol>
    </Section>
  )
}

function Conflicts({ span }: { span: TraceSpan }) {
  if (span.conflicts.length === 0) return null
  const what = { name: 'Name', parentId: 'Parent', annotation: 'Annotation', counter: 'Counter' } as const
  return (
    <Section title="Conflicting reports">
      <dl class="pairs">
        {span.conflicts.map(({ field, key, value, side }, i) => (
          <Pair key={i} name={key === null ? what[field] : `${what[field]} ${key}`}>
            {value} <span class="tag">{side}</span>
          </Pair>
        ))}
      </dl>
    </Section>
  )
}

function Repeats({ trace, span }: { trace: Trace; span: TraceSpan }) {
  if (span.repeats.length === 0) return null
  return (
    <Section title="Reported more than once">
      <table class="times">
        <tbody>
          {span.repeats.map(({ side, service, host, start, duration }, i) => (
            <TimesRow
              key={i}
              what={[side, service, host].filter(Boolean).join(' · ')}
              at={offset(start, trace.start)}
              duration={duration}
            />
          ))}
        </tbody>
      </table>
    </Section>
  )
}

function Parent({ span }: { span: TraceSpan }) {
  if (span.parentId === NO_PARENT) return <>none: this is the root of its trace</>
  if (span.orphan) {
    return (
      <>
        <code>{span.parentId}</code>, which hasn't arrived
      </>
    )
  }
  return (
    <button type="button" class="link" onClick={() => setQuery({ span: span.parentId })}>
      <code>{span.parentId}</code>
    </button>
  )
}

function sampled(probability: number | null): string {
  if (probability === null) return 'with unknown probability'
  if (probability === 0) return 'because sampling was forced'
  return probability >= 1 ? 'always' : `with probability ${Number(probability.toPrecision(3))}`
}

function Section({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section>
      <h3>{title}</h3>
      {children}
    </section>
  )
}

function Pair({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}
