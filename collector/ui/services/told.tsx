import type { ComponentChildren } from 'preact'
import type { Estimate, Exemplar } from '../../src/http/answers'
import { durationClass, formatDuration } from '../../src/trace'
import { traceHref } from '../shell/route'
import { errorClass, type Told, tellDuration, tellRate, tellShare } from './estimate'

/** A value, and how far off it may be: "12.3/s ± 0.4". */
function Shown({ told: { text, margin, between }, children }: { told: Told; children?: ComponentChildren }) {
  return (
    <span class="told" title={between || undefined}>
      {children ?? text}
      {margin !== '' && <span class="margin"> {margin}</span>}
    </span>
  )
}

export function Rate({ calls, us }: { calls: Estimate; us: number }) {
  return <Shown told={tellRate(calls, us)} />
}

export function Share({ share }: { share: Estimate | null }) {
  const told = tellShare(share)
  const look = errorClass(share)
  return (
    <Shown told={told}>
      <span class={look === 'low' ? undefined : `share-mark ${look}`}>{told.text}</span>
    </Shown>
  )
}

export function Duration({ us }: { us: Estimate | null }) {
  const told = tellDuration(us)
  return (
    <Shown told={told}>
      <span class="duration" data-duration={us === null ? undefined : durationClass(us.value)}>
        {told.text}
      </span>
    </Shown>
  )
}

const KINDS = ['slow', 'failed', 'typical'] as const

/** Links to traces that show what the figures are about. */
export function Exemplars({ exemplars }: { exemplars: Exemplar[] }) {
  const sorted = [...exemplars].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind))
  return (
    <span class="exemplars">
      {sorted.map(({ kind, traceId, duration }) => (
        <a
          key={kind + traceId}
          href={traceHref(traceId)}
          class={`exemplar ${kind}`}
          title={`A ${kind} one, of ${formatDuration(duration)}`}
        >
          {kind}
        </a>
      ))}
    </span>
  )
}
