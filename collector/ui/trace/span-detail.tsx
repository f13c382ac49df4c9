import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import {
  EVENTS_KEY,
  type Failure,
  failureOf,
  formatDuration,
  HISTORY_KEY,
  KEEP_KEY,
  type MissingHalf,
  NO_PARENT,
  readEvent,
  type TraceEvent,
  type TraceSpan,
} from '../../src/trace'
import { CopyButton } from '../parts/copy-button'
import { counted } from '../parts/count'
import { whyKept } from '../parts/kept-mark'
import { localTime, offset } from '../parts/time'
import { TimeStamp } from '../parts/time-stamp'
import { setQuery } from '../shell/address'
import { searchHref } from '../shell/route'
import { nameAt, type TraceHead as Trace } from './columns'
import { type Errors, originOf } from './errors'
import { FailureText } from './failure'
import type { LoadedTrace } from './load-trace'
import { logLink } from './log-link'
import { detailText, halfName } from './missing'

interface Props {
  trace: LoadedTrace
  errors: Errors
  /** What the span lacks, of a trace that was kept after the fact. */
  missing: MissingHalf[]
  index: number
  /** The collector's template for links to logs, if it has one. */
  logs: string | null
  onSelect(span: number): void
  onClose(): void
}

/** The panel beside the waterfall. The worker holds the span; until it answers, the previous span stays visible. */
export function SpanDetail({ trace, errors, missing, index, logs, onSelect, onClose }: Props) {
  const [span, setSpan] = useState<TraceSpan | null>(null)
  useEffect(() => {
    let gone = false
    void trace.span(index).then(answer => !gone && setSpan(answer))
    return () => {
      gone = true
    }
  }, [index, trace.columns])
  if (span === null) return <aside class="detail" aria-label="Selected span" />
  const origin = span.error ? originOf(errors, trace.tree, index) : -1
  return (
    <Panel trace={trace.head} span={span} logs={logs} onClose={onClose}>
      {origin !== -1 && (
        <p class="hint">
          The error arose further down, in{' '}
          <button type="button" class="link" onClick={() => onSelect(origin)}>
            {nameAt(trace.columns, origin) || 'no name'}
          </button>
          .
        </p>
      )}
      {missing.map(half => (
        <p key={half.side} class="hint span-missing">
          {halfName(half)} is missing: {detailText(half, localTime)}.
        </p>
      ))}
    </Panel>
  )
}

interface PanelProps {
  trace: Trace
  span: TraceSpan
  logs: string | null
  onClose(): void
  /** What is said below the failure. */
  children: ComponentChildren
}

/** Shows everything that was reported of one span. */
function Panel({ trace, span, logs, onClose, children }: PanelProps) {
  const panel = useRef<HTMLElement>(null)
  useEffect(() => panel.current?.scrollTo(0, 0), [span.spanId])
  const failure = failureOf(span)
  const annotations = Object.entries(span.annotations).filter(([key, value]) => !isShown(key, value, failure))
  const counters = Object.entries(span.counters)
  return (
    <aside class="detail" ref={panel} aria-label="Selected span" tabIndex={-1}>
      <div class="detail-head">
        <h2>{span.name || <em>no name</em>}</h2>
        <button type="button" class="small" onClick={onClose}>
          Close
        </button>
      </div>
      {failure !== null && (
        <div class="failure">
          <h3>Failed</h3>
          <FailureText failure={failure} hrefOf={text => sameFailureHref(span, text)} />
        </div>
      )}
      {children}
      <Times trace={trace} span={span} />
      <Pairs title="Annotations" pairs={annotations.filter(([key]) => !isOfFormat(key))} link={annotationHref} />
      <Events trace={trace} span={span} failure={failure} />
      <Pairs title="Counters" pairs={counters.filter(([key]) => !isOfFormat(key))} />
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
          <Sampled span={span} isKept={trace.kept !== undefined} />
          <Logs template={logs} trace={trace} span={span} />
        </dl>
      </Section>
      <FormatFields pairs={[...annotations, ...counters].filter(([key]) => isOfFormat(key))} />
    </aside>
  )
}

/** Annotations in which senders say what the failure was, often several times. */
const FAILURE_KEYS = new Set([
  ...['error', 'error.type', 'error.message', 'error.msg', 'error.kind', 'error.stack', 'stack', 'grpc.error_message'],
  ...['exception.type', 'exception.message', 'exception.stacktrace', 'otel.status_description'],
])

/** Whether an annotation is shown in another place: as an event, or as the failure. */
function isShown(key: string, value: string, failure: Failure | null): boolean {
  if (key === EVENTS_KEY || (key === HISTORY_KEY && historyOf(value) !== null)) return true
  if (failure === null || !FAILURE_KEYS.has(key)) return false
  return says(failure, value) || (key === 'error' && value === 'true')
}

/** Whether a text says nothing that the failure doesn't: its type, its message, both, or its stack. */
function says({ type, message, stack }: Failure, text: string): boolean {
  const said = text.trim()
  if (said === '' || [type, message, stack].includes(said)) return true
  // The message with its type, or with the type's last name, in front.
  if (type === null || message === null || !said.endsWith(message)) return false
  const front = said.slice(0, -message.length).replace(/[\s:-]+$/, '')
  return front !== '' && type.endsWith(front)
}

/** Returns where traces are found that have the same text in the same annotation. */
function sameFailureHref({ annotations }: TraceSpan, text: string): string | undefined {
  const [key] = Object.entries(annotations).find(([key, value]) => FAILURE_KEYS.has(key) && value === text) ?? []
  return key === undefined ? undefined : searchHref({ key, value: text })
}

/** Whether an annotation or counter belongs to the format that the span came in, rather than to what happened. */
function isOfFormat(key: string): boolean {
  return key.startsWith('otel.')
}

/** What OpenTelemetry's format says about a span beside its attributes: few readers need it. */
function FormatFields({ pairs }: { pairs: [string, string][] }) {
  if (pairs.length === 0) return null
  return (
    <details>
      <summary>{counted(pairs.length, 'field')} of OpenTelemetry's format</summary>
      <dl class="pairs">
        {pairs.map(([key, value]) => (
          <Pair key={key} name={key}>
            {value}
          </Pair>
        ))}
      </dl>
    </details>
  )
}

function Logs({ template, trace, span }: { template: string | null; trace: Trace; span: TraceSpan }) {
  if (template === null || span.start === null) return null
  const href = logLink(template, {
    traceId: trace.traceId,
    spanId: span.spanId,
    service: span.service ?? span.clientService ?? '',
    from: span.start,
    to: span.start + (span.duration ?? 0),
  })
  if (href === undefined) return null
  return (
    <Pair name="Logs">
      <a href={href} target="_blank" rel="noreferrer">
        Logs of this span
      </a>
    </Pair>
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

function Events({ trace, span, failure }: { trace: Trace; span: TraceSpan; failure: Failure | null }) {
  if (span.events.length === 0) return null
  return (
    <Section title="Events">
      <ol class="events">
        {span.events.map((event, i) => (
          <li key={i}>
            <span class="offset">{offset(event.time, trace.start)}</span>
            <EventText event={event} failure={failure} />
            {span.kind === 'rpc' && <span class="tag">{event.side}</span>}
          </li>
        ))}
      </ol>
    </Section>
  )
}

/** @param failure the span's, which is shown above and so isn't repeated here */
function EventText({ event, failure }: { event: TraceEvent; failure: Failure | null }) {
  const { name, attributes = {} } =
    event.attributes === undefined ? readEvent(event.value) : { ...event, name: event.value }
  const {
    'exception.type': type = null,
    'exception.message': message = null,
    'exception.stacktrace': stack = null,
    ...others
  } = attributes
  const exception = { type, message, stack }
  const isThrown = type !== null || message !== null || stack !== null
  const isKnown =
    isThrown && failure !== null && [type, message, stack].every(text => text === null || says(failure, text))
  return (
    <div>
      <span>{name || <em>empty</em>}</span>
      {isKnown ? (
        <span class="offset"> that made this span fail</span>
      ) : (
        isThrown && <FailureText failure={exception} />
      )}
      {Object.keys(others).length > 0 && (
        <dl class="pairs">
          {Object.entries(others).map(([key, value]) => (
            <Pair key={key} name={key}>
              {value}
            </Pair>
          ))}
        </dl>
      )}
    </div>
  )
}

function Conflicts({ span }: { span: TraceSpan }) {
  const conflicts = span.conflicts.filter(({ key }) => key !== EVENTS_KEY)
  if (conflicts.length === 0) return null
  const what = { name: 'Name', parentId: 'Parent', annotation: 'Annotation', counter: 'Counter' } as const
  return (
    <Section title="Conflicting reports">
      <dl class="pairs">
        {conflicts.map(({ field, key, value, side }, i) => (
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

/** With what probability the span was sampled, or why it was kept after the fact. */
function Sampled({ span: { probability, annotations }, isKept }: { span: TraceSpan; isKept: boolean }) {
  const reason = isKept && !(Number(probability) > 0) ? annotations[KEEP_KEY] : undefined
  const history = historyOf(annotations[HISTORY_KEY])
  return (
    <>
      <Pair name="Sampled">{reason === undefined ? sampled(probability) : 'no'}</Pair>
      {reason !== undefined && <Pair name="Kept">after the fact, because {whyKept(reason)}</Pair>}
      {history !== null && (
        <Pair name="History since">
          <TimeStamp us={history} />
        </Pair>
      )}
    </>
  )
}

/** When the history began from which the process sent the span; null if that isn't a time. */
function historyOf(value: string | undefined): number | null {
  return value !== undefined && /^\d{16}$/.test(value) ? Number(value) : null
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
