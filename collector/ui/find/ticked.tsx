import { formatDuration, type TraceSummary } from '../../src/trace'
import { compareHref } from '../shell/route'

/** How many traces are compared at once. */
export const MAX_TICKED = 2

interface Props {
  ticked: TraceSummary[]
  onTick(trace: TraceSummary, isTicked: boolean): void
}

/** What to do with the traces that are ticked in the list; it stays in sight. */
export function Ticked({ ticked, onTick }: Props) {
  const [a, b] = ticked
  return (
    <div class="ticked" role="status" hidden={a === undefined}>
      {a !== undefined && (
        <>
          <span class="ticked-names">
            {ticked.map(trace => (
              <span key={trace.traceId} class="chip">
                {trace.name || 'no name'} {formatDuration(trace.duration)}
              </span>
            ))}
          </span>
          <span class="ticked-links">
            <a
              class="button main"
              href={compareHref({ a: a.traceId, ...(b === undefined ? { with: 'typical' } : { b: b.traceId }) })}
            >
              {b === undefined ? 'Compare with a typical one' : 'Compare these two'}
            </a>
            {b === undefined && <span class="hint">or tick another one</span>}
            <button
              type="button"
              class="link"
              onClick={() => {
                for (const trace of ticked) onTick(trace, false)
              }}
            >
              Clear
            </button>
          </span>
        </>
      )}
    </div>
  )
}
