import { formatDuration, type Trace } from '../src/trace'

/** What all bars are drawn against: microseconds. */
export interface Axis {
  start: number
  duration: number
}

export function axisOf(trace: Trace): Axis {
  return { start: trace.start ?? 0, duration: Math.max(1, trace.duration ?? 0) }
}

/** In per cent of the axis, for the style sheet to place. */
export function position(axis: Axis, start: number, duration: number): Record<string, number> {
  return { '--from': (100 * (start - axis.start)) / axis.duration, '--length': (100 * duration) / axis.duration }
}

/** Round distances from the start; none at the very end, where its label had no room. */
export function ticks(duration: number, most = 5): number[] {
  const rough = duration / most
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(n => n * magnitude).find(n => n >= rough)!
  const all: number[] = []
  for (let i = 0; i * step < duration * 0.9; i++) all.push(i * step)
  return all
}

export function TimeAxis({ axis }: { axis: Axis }) {
  const marks = ticks(axis.duration)
  const at = (tick: number) => ({ '--from': (100 * tick) / axis.duration })
  return (
    <>
      <div class="axis" aria-hidden="true">
        <span>Span</span>
        <span class="lane">
          {marks.map(tick => (
            <span class="tick" key={tick} style={at(tick)}>
              {tick === 0 ? '0' : short(formatDuration(tick))}
            </span>
          ))}
        </span>
        <span class="duration">Duration</span>
      </div>
      <div class="grid" aria-hidden="true">
        <span class="lane">
          {marks.map(tick => (
            <span class="line" key={tick} style={at(tick)} />
          ))}
        </span>
      </div>
    </>
  )
}

/** "20.0 ms" → "20 ms" */
function short(duration: string): string {
  return duration
    .replace(/\.?0+(?= )/, match => (match.startsWith('.') ? '' : match))
    .replace(/(\.\d*[1-9])0+(?= )/, '$1')
}
