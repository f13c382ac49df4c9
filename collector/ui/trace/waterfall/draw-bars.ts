import type { Palette } from '../../parts/colors'
import { type Columns, FLAG } from '../columns'
import type { View } from './view'

export interface BarsPicture {
  columns: Columns
  /** The spans of the rows to draw, from the top. */
  rows: Int32Array
  rowHeight: number
  /** Pixels from the top of the row. */
  barTop: number
  barHeight: number
  width: number
  view: View
  /** Whether to draw times as reported rather than corrected. */
  raw: boolean
  /** Returns an index into the palette's services; −1 if unknown. */
  colorOf(span: number): number
  critical: Map<number, number[]> | null
  ticks: number[]
}

/**
 * Draws the bars of the rows:
 *
 *     ░░░▓▓▓▓▓▓▓▓▓▓░░░    ░ client half: where only it shows, the time went to network and queues
 *        ━━━    ━━━       ▓ server half, or work without a call;  ━ on the critical path
 */
export function drawBars(context: CanvasRenderingContext2D, picture: BarsPicture, palette: Palette): void {
  const { columns, rows, rowHeight, barTop, barHeight, width, view, raw, colorOf, critical, ticks } = picture
  const { numbers, flags } = columns
  const scale = width / (view.to - view.from)
  const x = (us: number) => (us - view.from) * scale
  const [start, clientStart, serverStart] = raw
    ? [numbers.rawStart, numbers.rawClientStart, numbers.rawServerStart]
    : [numbers.start, numbers.clientStart, numbers.serverStart]
  context.clearRect(0, 0, width, rows.length * rowHeight)
  context.fillStyle = palette.line
  for (const tick of ticks) context.fillRect(Math.round(x(tick)), 0, 1, rows.length * rowHeight)

  /** Draws the visible part of a bar, at least two pixels wide. */
  const bar = (from: number, length: number, top: number, height: number) => {
    const left = x(from)
    const right = x(from + (Number.isNaN(length) ? 0 : length))
    if (right < 0 || left > width) return
    const visibleLeft = Math.max(left, -4)
    const visibleWidth = Math.max(2, Math.min(right, width + 4) - visibleLeft)
    context.beginPath()
    context.roundRect(Math.min(visibleLeft, width - 2), top, visibleWidth, height, Math.min(2.5, visibleWidth / 2))
    context.fill()
  }
  for (let row = 0; row < rows.length; row++) {
    const i = rows[row]!
    const top = row * rowHeight + barTop
    const slot = colorOf(i)
    const color = slot === -1 ? palette.unknown : palette.services[slot]!
    context.fillStyle = color
    const called = !Number.isNaN(clientStart[i]!)
    const served = !Number.isNaN(serverStart[i]!)
    if (called) {
      context.globalAlpha = 0.32
      bar(clientStart[i]!, numbers.clientDuration[i]!, top, barHeight)
      context.globalAlpha = 1
    }
    if (served) bar(serverStart[i]!, numbers.serverDuration[i]!, top + (called ? 2 : 0), barHeight - (called ? 4 : 0))
    else if (!called && !Number.isNaN(start[i]!)) bar(start[i]!, numbers.duration[i]!, top, barHeight)
    const first = x(start[i]!)
    const last = x(start[i]! + (numbers.duration[i]! || 0))
    if (last < 0 || first > width) drawPointer(context, last < 0 ? 0 : width, top + barHeight / 2, palette.quiet)
    if ((flags[i]! & FLAG.error) !== 0) {
      context.fillStyle = palette.high
      bar(start[i]! + (numbers.duration[i]! || 0), 0, top - 2, barHeight + 4)
    }
    // The critical path was found in the corrected times, so it doesn't fit the raw times.
    const segments = raw ? undefined : critical?.get(i)
    if (segments === undefined) continue
    context.fillStyle = palette.ink
    let drawnTo = -Infinity
    let drawnFrom = Infinity
    for (let s = segments.length - 2; s >= 0; s -= 2) {
      const from = Math.max(0, x(segments[s]!))
      const to = Math.min(width, x(segments[s + 1]!))
      // A thousand calls in a row leave a thousand gaps: segments within one pixel are drawn once.
      if (to < from || (from >= drawnFrom && to <= drawnTo)) continue
      const right = Math.max(to, from + 1)
      context.fillRect(from, top + barHeight + 1, right - from, 2)
      drawnFrom = Math.floor(from)
      drawnTo = Math.ceil(right)
    }
  }
}

/** Draws a mark at the edge for a span before or after the view. */
function drawPointer(context: CanvasRenderingContext2D, x: number, y: number, color: string): void {
  const inward = x === 0 ? 5 : -5
  context.fillStyle = color
  context.beginPath()
  context.moveTo(x, y)
  context.lineTo(x + inward, y - 4)
  context.lineTo(x + inward, y + 4)
  context.fill()
}
