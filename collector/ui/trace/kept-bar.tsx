import type { KeptReason, KeptTrace } from '../../src/trace'
import { Outcome, useAsk } from '../kept/ask'
import { counted } from '../parts/count'
import { whyKept } from '../parts/kept-mark'
import { shortLocalTime } from '../parts/time'
import { type Columns, nameAt, spanById } from './columns'
import { detailText, halfName, type MissingAt, WHY_MISSING, WHY_THEY_ARE_MISSING } from './missing'

interface Props {
  kept: KeptTrace
  missingAt: MissingAt
  traceId: string
  columns: Columns
  onSelect(span: number): void
}

const MAX_REASONS = 3

/** Says that the trace was kept after the fact and why, and what is missing in it and why. */
export function KeptBar(props: Props) {
  const { kept, columns, onSelect } = props
  const { reasons, missing, leftOut } = kept
  const more = reasons.length - MAX_REASONS
  return (
    <section class="kept-bar" aria-label="Kept after the fact">
      <p>
        <strong>Not sampled, but kept after the fact</strong>
        {reasons.length === 0 && ', because processes were asked for it'}{' '}
        {reasons.slice(0, MAX_REASONS).map((reason, i) => (
          <span key={i}>
            {i > 0 && ', and '}because <Reason reason={reason} columns={columns} onSelect={onSelect} />
          </span>
        ))}
        {more > 0 && `, and for ${more} more ${more === 1 ? 'reason' : 'reasons'}`}. Figures of services don't count it.
      </p>
      {leftOut.length > 0 && (
        <p>
          Left out, because there were too many for the limits:{' '}
          {leftOut.map(({ service, spans }) => `${counted(spans, 'span')} of ${service ?? 'no service'}`).join(', ')}.
        </p>
      )}
      {missing.length > 0 && <Missing {...props} />}
    </section>
  )
}

interface ReasonProps {
  reason: KeptReason
  columns: Columns
  onSelect(span: number): void
}

function Reason({ reason: { reason, service, name, spanId, by }, columns, onSelect }: ReasonProps) {
  if (by !== undefined) return <>{by ?? 'somebody'} asked for it by its id</>
  const span = spanId === null ? -1 : spanById(columns, spanId)
  return (
    <>
      {whyKept(reason)}, at{' '}
      {span === -1 ? (
        name || 'no name'
      ) : (
        <button type="button" class="link" onClick={() => onSelect(span)}>
          {name || 'no name'}
        </button>
      )}
      {service !== null && ` of ${service}`}
    </>
  )
}

function Missing({ kept: { missing, missingCount }, missingAt, traceId, columns, onSelect }: Props) {
  const [asked, ask] = useAsk()
  const counts = Object.entries(WHY_THEY_ARE_MISSING).flatMap(([why, text]) => {
    const count = missing.filter(half => half.why === why).length
    return count === 0 ? [] : [`${count.toLocaleString()} ${text}`]
  })
  const unlisted = missingCount - missing.length
  return (
    <>
      <details>
        <summary>
          {counted(missingCount, 'part')} missing: {unlisted > 0 && `of ${missing.length.toLocaleString()} of them, `}
          {counts.join('; ')}
        </summary>
        <ul class="missing-list">
          {[...missingAt].flatMap(([span, halves]) =>
            halves.map((half, i) => (
              <li key={`${span} ${i}`}>
                <button type="button" class="link" onClick={() => onSelect(span)}>
                  {nameAt(columns, span) || 'no name'}
                </button>
                : {halfName(half).replace('The', 'the')}
                {half.service !== null && ` in ${half.service}`}
                {half.host !== null && ` on ${half.host}`} <span class="tag">{WHY_MISSING[half.why]}</span>{' '}
                <span class="hint">{detailText(half, shortLocalTime)}</span>
              </li>
            )),
          )}
          {unlisted > 0 && <li class="hint">and {unlisted.toLocaleString()} more</li>}
        </ul>
      </details>
      {missing.some(({ why }) => why !== 'overwritten' && why !== 'ended') && (
        <p class="keep-again">
          <button
            type="button"
            class="small"
            disabled={asked.state === 'asking'}
            title="Asks all processes with a history for what they still have of this trace"
            onClick={() => void ask({ traceId })}
          >
            Ask for it again
          </button>
        </p>
      )}
      <Outcome asked={asked}>
        What they still have comes within seconds, but nothing from those that have sent some of it within the last
        minutes.{' '}
        <button type="button" class="link" onClick={() => location.reload()}>
          Load it again
        </button>
      </Outcome>
    </>
  )
}
