import { useCallback, useEffect, useState } from 'preact/hooks'
import { failureOf, type TraceSpan } from '../../src/trace'
import { useShortcuts } from '../shell/shortcuts'
import { nameAt, serviceText } from './columns'
import type { Errors } from './errors'
import type { LoadedTrace } from './load-trace'

interface Props {
  trace: LoadedTrace
  errors: Errors
  /** Index of the selected span, or −1. */
  selected: number
  onSelect(span: number): void
}

/** Says what failed, and goes from error to error: first to where each arose, then to the spans through which it rose. */
export function ErrorsBar({ trace, errors: { order, arose }, selected, onSelect }: Props) {
  const position = order.indexOf(selected)
  const go = useCallback(
    (step: 1 | -1) => {
      const from = position === -1 && step === -1 ? 0 : position
      onSelect(order[(from + step + order.length) % order.length]!)
    },
    [order, position, onSelect],
  )
  const shown = order[Math.max(0, position)]!
  const span = useSpan(trace, shown)
  useShortcuts('Trace', [
    { keys: ['e'], does: 'next error, first to where each arose', run: () => go(1) },
    { keys: ['E'], does: 'previous error', run: () => go(-1) },
  ])
  const { type = null, message = null } = (span && failureOf(span)) ?? {}
  return (
    <div class="errors">
      {order.length > 1 && (
        <span class="errors-steps">
          <button
            type="button"
            class="small"
            aria-label="Previous error"
            title="Previous error (E)"
            onClick={() => go(-1)}
          >
            ↑
          </button>
          <button type="button" class="small" aria-label="Next error" title="Next error (e)" onClick={() => go(1)}>
            ↓
          </button>
          <span class="errors-position" role="status">
            {position === -1 ? '' : `${(position + 1).toLocaleString()} of ${order.length.toLocaleString()}`}
          </span>
        </span>
      )}
      <p class="errors-what">
        {type !== null && <strong>{type}</strong>}
        {type !== null && message !== null && ': '}
        {message}{' '}
        <span class="errors-place">
          {arose[shown] === 1 ? 'arose in' : 'rose through'}{' '}
          <button type="button" class="link" onClick={() => onSelect(shown)}>
            {nameAt(trace.columns, shown) || 'no name'}
          </button>
          , {serviceText(trace.columns, shown) || 'unknown service'}
        </span>
      </p>
    </div>
  )
}

/** Fetches a span; null until it is there. */
function useSpan(trace: LoadedTrace, index: number): TraceSpan | null {
  const [answer, setAnswer] = useState<{ index: number; span: TraceSpan } | null>(null)
  useEffect(() => {
    let gone = false
    void trace.span(index).then(span => !gone && setAnswer({ index, span }))
    return () => {
      gone = true
    }
  }, [index, trace.columns])
  return answer?.index === index ? answer.span : null
}
