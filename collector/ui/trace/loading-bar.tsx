import { counted } from '../parts/count'
import type { LoadedTrace } from './load-trace'

/** Shows how much of a large trace has arrived. It keeps its height afterwards, so that nothing moves. */
export function LoadingBar({ trace: { complete, columns, expected } }: { trace: LoadedTrace }) {
  return (
    <div class="loading-bar">
      {!complete && (
        <>
          <progress
            aria-label="Loading the trace"
            max={expected ?? undefined}
            value={expected === null ? undefined : columns.count}
          />
          <span>
            {expected === null
              ? counted(columns.count, 'span')
              : `${columns.count.toLocaleString()} of ${counted(expected, 'span')}`}
          </span>
        </>
      )}
    </div>
  )
}
