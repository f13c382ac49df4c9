import { durationClass, formatDuration } from '../../src/trace'

/** Shows a duration in the color of its class; NaN means unknown. */
export function DurationText({ us, classed = true }: { us: number; classed?: boolean }) {
  if (Number.isNaN(us)) return <>–</>
  return (
    <span class="duration" data-duration={classed ? durationClass(us) : undefined}>
      {formatDuration(us)}
    </span>
  )
}
