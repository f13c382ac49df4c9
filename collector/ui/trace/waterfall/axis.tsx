import { useRef } from 'preact/hooks'
import { durationLabels } from '../../../src/trace'
import { useDrag } from './drag'
import { ticks, type View } from './view'

interface Props {
  view: View
  onChoose(view: View): void
}

/** The ruler above the bars. Dragging over it zooms to a time range. */
export function Axis({ view, onChoose }: Props) {
  const lane = useRef<HTMLDivElement>(null)
  const chosen = useDrag(lane, view, onChoose)
  const shown = ticks(view, 6)
  const labels = durationLabels(shown)
  const at = (us: number) => `${(100 * (us - view.from)) / (view.to - view.from)}%`
  return (
    <div class="axis" aria-hidden="true">
      <span>Span</span>
      <div class="lane" ref={lane} title="Drag to zoom to a time range">
        {shown.map((tick, i) => (
          <span class="tick" key={tick} style={{ left: at(tick) }}>
            {labels[i]}
          </span>
        ))}
        {chosen && <span class="choice" style={{ left: at(chosen.from), right: `calc(100% - ${at(chosen.to)})` }} />}
      </div>
      <span class="duration">Duration</span>
    </div>
  )
}
