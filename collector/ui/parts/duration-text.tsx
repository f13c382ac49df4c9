import { type DurationClass, durationClass, formatDuration, type Usual } from '../../src/trace'

interface Props {
  /** NaN means unknown. */
  us: number
  usual?: Usual | undefined
  /** Its class where nobody knows what is usual. */
  otherwise?: DurationClass
}

/** Shows a duration in color, by what is usual for its operation. */
export function DurationText({ us, usual, otherwise }: Props) {
  if (Number.isNaN(us)) return <>–</>
  return (
    <span class="duration" data-duration={durationClass(us, usual) ?? otherwise} title={usualTitle(usual)}>
      {formatDuration(us)}
    </span>
  )
}

/** Says what a duration's color goes by. */
export function usualTitle(usual: Usual | undefined): string | undefined {
  if (usual === undefined) return undefined
  const [p50, p95, p99] = [usual.p50, usual.p95, usual.p99].map(formatDuration)
  return `Usually ${p50}; 5% of its calls take more than ${p95}, 1% more than ${p99}`
}
