import type { ComponentChildren } from 'preact'
import type { Estimate, Exemplar } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { type ErrorClass, errorClass, type Told, tellDuration, tellRate, tellShare } from '../parts/estimate'
import { traceHref } from '../shell/route'
import { slowness } from './usual-figures'

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
      <span class={look === 'none' ? undefined : `share-mark ${look}`}>{told.text}</span>
    </Shown>
  )
}

/** @param usualUs the same quantile of the last days: what is much slower than that is colored */
export function Duration({ us, usualUs }: { us: Estimate | null; usualUs?: number | undefined }) {
  const told = tellDuration(us)
  const usually = usualUs === undefined ? '' : `Usually ${formatDuration(usualUs)}`
  const between = [told.between, usually].filter(Boolean).join('. ')
  return (
    <Shown told={{ ...told, between }}>
      <span class="duration" data-duration={us === null ? undefined : slowness(us, usualUs)}>
        {told.text}
      </span>
    </Shown>
  )
}

const KINDS = ['slow', 'failed', 'typical'] as const

/** Links to traces that show what the figures are about. @param failures the class of their share: a rare one looks harmless */
export function Exemplars({ exemplars, failures = 'low' }: { exemplars: Exemplar[]; failures?: ErrorClass }) {
  const sorted = [...exemplars].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind))
  return (
    <span class="exemplars">
      {sorted.map(({ kind, traceId, duration }) => (
        <a
          key={kind + traceId}
          href={traceHref(traceId)}
          class={`exemplar ${kind === 'failed' ? failures : ''}`}
          title={`A ${kind} one, of ${formatDuration(duration)}`}
        >
          {kind}
        </a>
      ))}
    </span>
  )
}
