/** A stretch of the time axis, in microseconds from the trace's start: what is to be seen of it. */
export interface View {
  from: number
  to: number
}

/** No shorter stretch is worth a screen. */
const SHORTEST_US = 4

export function fit(view: View, extent: View): View {
  const whole = extent.to - extent.from
  const length = Math.min(Math.max(view.to - view.from, Math.min(SHORTEST_US, whole)), whole)
  const from = Math.min(Math.max(view.from, extent.from), extent.to - length)
  return { from, to: from + length }
}

/** @param factor below 1 shows less, larger; `at` stays where it is on the screen */
export function zoom(view: View, extent: View, at: number, factor: number): View {
  const from = at - (at - view.from) * factor
  return fit({ from, to: from + (view.to - view.from) * factor }, extent)
}

/** @param by a part of what is to be seen; positive is later */
export function pan(view: View, extent: View, by: number): View {
  const delta = (view.to - view.from) * by
  return fit({ from: view.from + delta, to: view.to + delta }, extent)
}

export function isWhole(view: View, extent: View): boolean {
  return view.from <= extent.from && view.to >= extent.to
}

/** Round times within the view, apart by a microsecond at least; none at its very end, where the label had no room. */
export function ticks(view: View, most: number): number[] {
  const length = view.to - view.from
  if (!(length > 0)) return [0]
  // Far from zero, as where a clock was wrong by ages, numbers themselves are further apart than that.
  const farthest = Math.max(Math.abs(view.from), Math.abs(view.to))
  const rough = Math.max(length / most, 1, farthest / 2 ** 50)
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(n => n * magnitude).find(n => n >= rough)!
  const all: number[] = []
  // The sum makes a zero of a negative one.
  for (let n = Math.ceil(view.from / step - 1e-9); n * step < view.from + length * 0.93; n++) all.push(n * step + 0)
  return all
}
