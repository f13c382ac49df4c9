/** The visible part of the time axis, in microseconds from the trace's start. */
export interface View {
  from: number
  to: number
}

/** The shortest view. */
const MIN_LENGTH_US = 4

export function fit(view: View, extent: View): View {
  const whole = extent.to - extent.from
  const length = Math.min(Math.max(view.to - view.from, Math.min(MIN_LENGTH_US, whole)), whole)
  const from = Math.min(Math.max(view.from, extent.from), extent.to - length)
  return { from, to: from + length }
}

/** @param at the time that stays where it is on the screen @param factor below 1 to zoom in */
export function zoom(view: View, extent: View, at: number, factor: number): View {
  const from = at - (at - view.from) * factor
  return fit({ from, to: from + (view.to - view.from) * factor }, extent)
}

/** @param by a fraction of the view's length; positive pans to later times */
export function pan(view: View, extent: View, by: number): View {
  const delta = (view.to - view.from) * by
  return fit({ from: view.from + delta, to: view.to + delta }, extent)
}

export function isWhole(view: View, extent: View): boolean {
  return view.from <= extent.from && view.to >= extent.to
}

/** Returns round times within the view, at least a microsecond apart, and none at the very end, where a label has no room. */
export function ticks(view: View, max: number): number[] {
  const length = view.to - view.from
  if (!(length > 0)) return [0]
  // Far from zero, as after a clock error of years, doubles themselves are further apart than that.
  const farthest = Math.max(Math.abs(view.from), Math.abs(view.to))
  const rough = Math.max(length / max, 1, farthest / 2 ** 50)
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(n => n * magnitude).find(n => n >= rough)!
  const all: number[] = []
  // Adding 0 turns −0 into 0.
  for (let n = Math.ceil(view.from / step - 1e-9); n * step < view.from + length * 0.93; n++) all.push(n * step + 0)
  return all
}
