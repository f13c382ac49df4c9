import { durationClass, formatDuration } from '../../src/trace'

/** A duration in its class's colour; NaN is unknown. */
export function DurationText({ us, classed = true }: { us: number; classed?: boolean }) {
  if (Number.isNaN(us)) return <>–</>
  return (
    <span class="duration" data-duration={classed ? durationClass(us) : undefined}>
      {formatDuration(us)}
    </span>
  )
}
