import type { AlikeAnswer } from '../../src/http/answers'
import { formatDuration, type TraceSummary } from '../../src/trace'
import { counted } from '../parts/count'
import { KeptMark } from '../parts/kept-mark'
import { Failure, Notice, Waiting } from '../parts/notice'
import { TimeStamp } from '../parts/time-stamp'
import { useJson } from '../shell/json'

/** Where a choice of another trace leads. */
export type HrefTo = (other: string) => string

/** Loads what a trace can be compared with. */
export function useAlike(id: string | null) {
  return useJson<AlikeAnswer>(id === null ? null : `api/compare/alike?${new URLSearchParams({ trace: id })}`)
}

/** Offers traces of the same operation to compare a trace with, so that no id has to be pasted. */
export function Choices({ id, hrefTo }: { id: string; hrefTo: HrefTo }) {
  const alike = useAlike(id)
  if (alike.state === 'loading') return <Waiting what="traces of the same operation" />
  if (alike.state === 'failed') {
    return <Failure title="Other traces couldn't be read" problem={alike.problem} retry={alike.again} />
  }
  const { trace, found, typical, fastest, slowest, newest } = alike.value
  if (typical === null && newest.length === 0) return <NoOther trace={trace} />
  return (
    <section class="choose">
      <h2>Compare it with</h2>
      <p class="hint">
        {counted(found, 'other trace')} of <Operation trace={trace} /> {found === 1 ? 'was' : 'were'} looked at: the
        newest, and those within an hour of this one.
      </p>
      <div class="choose-lists">
        {typical !== null && (
          <List title="A typical one" traces={[typical]} hrefTo={hrefTo} note="of median duration" />
        )}
        <List title="The fastest" traces={fastest} hrefTo={hrefTo} />
        <List title="The slowest" traces={slowest} hrefTo={hrefTo} />
        <List title="The newest" traces={newest} hrefTo={hrefTo} />
      </div>
    </section>
  )
}

export function NoOther({ trace }: { trace: TraceSummary }) {
  return (
    <Notice title="There is no other trace of the same operation">
      <p>
        No other trace that begins with <Operation trace={trace} /> is stored. Give the id of any trace above to compare
        with that one.
      </p>
    </Notice>
  )
}

export function Operation({ trace: { service, name } }: { trace: { service: string | null; name: string } }) {
  return (
    <>
      <strong>{name || 'no name'}</strong>
      {service !== null && ` in ${service}`}
    </>
  )
}

function List({
  title,
  note,
  traces,
  hrefTo,
}: {
  title: string
  note?: string
  traces: TraceSummary[]
  hrefTo: HrefTo
}) {
  return (
    <div>
      <h3>
        {title}
        {note !== undefined && `, ${note}`}
      </h3>
      <ul>
        {traces.map(trace => (
          <li key={trace.traceId}>
            <a href={hrefTo(trace.traceId)}>{formatDuration(trace.duration)}</a>{' '}
            {trace.error && (
              <span class="error-mark">{trace.errorCount > 1 ? `${trace.errorCount} errors` : 'Error'}</span>
            )}{' '}
            {trace.kept !== undefined && <KeptMark reasons={trace.kept} />}{' '}
            <span class="choose-more">
              {counted(trace.spanCount, 'span')}
              {trace.start !== null && (
                <>
                  , <TimeStamp us={trace.start} short />
                </>
              )}
            </span>
          </li>
        ))}
      </ul>
    </div>
  )
}
