import 'uplot/dist/uPlot.min.css'
import { useMemo, useState } from 'preact/hooks'
import type { Box } from './difference/difference-address'
import { Histogram } from './histogram'
import type { Look } from './look'
import { drawn, isUnread, timesOf } from './plot-axes'
import { ScatterPlot } from './scatter-plot'

interface Props {
  answer: Look
  /** Whether the search itself has a time range. */
  isRanged: boolean
  /** Whose calls the bars and the bands count, if the search is of one service or operation: "cart". */
  subject: string
  /** A time range was dragged over. */
  onRange(times: { from: number; to: number }): void
  /** Returns the address of a search within a box. */
  searchOf(box: Box): string
  /** Returns the address of a comparison of a box's traces with the others. */
  differenceOf(box: Box): string
}

/**
 * Shows a search's whole time range: how much there was of what it looks for, and how long it took. The bars and the plot below them have one
 * axis of time. The list below names traces, and the box, the fields and the range picker take the same times by keyboard.
 */
export function Overview({ answer, isRanged, subject, onRange, searchOf, differenceOf }: Props) {
  const [all, setAll] = useState(false)
  const times = useMemo(() => timesOf(answer, isRanged), [answer, isRanged])
  const { points, far } = useMemo(() => drawn(answer.sample, all, times), [answer, all, times])
  const shown = useMemo(() => {
    if (!all || points.length === 0) return times
    return { from: Math.min(times.from, points[0]!.start!), to: Math.max(times.to, points.at(-1)!.start!) }
  }, [points, all, times])
  const what = answer.source === 'counts' ? 'calls' : 'traces'
  return (
    <figure class="overview">
      <Histogram answer={answer} times={shown} what={what} withAxis={points.length === 0} onRange={onRange} />
      {points.length > 0 && (
        <ScatterPlot
          points={points}
          buckets={answer.buckets}
          step={answer.step}
          times={shown}
          what={what}
          searchOf={searchOf}
          differenceOf={differenceOf}
        />
      )}
      <figcaption class="hint">
        {answer.source === 'counts'
          ? `The bars and the band are about all calls of ${subject}, extrapolated from what was sampled; the points are ${answer.sample.length.toLocaleString()} of its traces. `
          : !answer.complete &&
            `Extrapolated from ${read(answer).toLocaleString()} traces that were read; the points are ${answer.sample.length.toLocaleString()} of them. `}
        {answer.buckets.some(isUnread) &&
          'There was no time to read the rest: search again, or in a shorter time range. '}
        Drag over the bars to narrow the time, or a box in the plot to see what is different about its traces; a click
        on a point opens its trace.
        {answer.far > 0 &&
          ` ${answer.far === 1 ? 'One trace is' : `${answer.far.toLocaleString()} traces are`} far from this time and left out; choose a time range to see others.`}
        {far > 0 && (
          <>
            {' '}
            {far === 1 ? 'One trace is' : `${far.toLocaleString()} traces are`} far from the others in time or duration
            {all ? '. ' : ` and ${far === 1 ? "isn't" : "aren't"} drawn. `}
            <button type="button" class="link" onClick={() => setAll(!all)}>
              {all ? 'Leave them out' : 'Draw all'}
            </button>
          </>
        )}
      </figcaption>
    </figure>
  )
}

function read({ buckets }: Look): number {
  return buckets.reduce((sum, { read }) => sum + read, 0)
}
