import type { Palette } from '../../parts/colors'
import { type Columns, FLAG } from '../columns'
import { firstOf, type Groups } from '../siblings'
import type { View } from './view'

export interface BarsPicture {
  columns: Columns
  /** The rows to draw, from the top: spans and groups (see groupEntry). */
  rows: Int32Array
  groups: Groups
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
 *
 * The row of a group has all its members' bars.
 */
export function drawBars(context: CanvasRenderingContext2D, picture: BarsPicture, palette: Palette): void {
  const { columns, rows, groups, rowHeight, barTop, barHeight, width, view, raw, colorOf, critical, ticks } = picture
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
  /** Draws the bars of many spans, pixel by pixel: there may be 100,000 of them in one row. */
  const group = (members: Int32Array, top: number, color: string) => {
    const [covered, failed, onPath] = [0, 1, 2].map(() => new Pixels(width)) as [Pixels, Pixels, Pixels]
    for (const i of members) {
      const from = x(start[i]!)
      const to = x(start[i]! + (numbers.duration[i]! || 0))
      covered.add(from, to)
      if ((flags[i]! & FLAG.error) !== 0) failed.add(to, to + 1)
      const segments = raw ? undefined : critical?.get(i)
      for (let s = 0; segments !== undefined && s < segments.length; s += 2) {
        onPath.add(x(segments[s]!), x(segments[s + 1]!))
      }
    }
    const fill = (pixels: Pixels, style: string, y: number, height: number) => {
      context.fillStyle = style
      pixels.runs((from, to) => context.fillRect(from, y, to - from, height))
    }
    fill(covered, color, top, barHeight)
    fill(failed, palette.high, top - 2, barHeight + 4)
    fill(onPath, palette.ink, top + barHeight + 1, 2)
  }
  for (let row = 0; row < rows.length; row++) {
    const entry = rows[row]!
    const i = entry >= 0 ? entry : firstOf(entry)
    const top = row * rowHeight + barTop
    const slot = colorOf(i)
    const color = slot === -1 ? palette.unknown : palette.services[slot]!
    if (entry < 0) {
      group(groups.members.get(i)!, top, color)
      continue
    }
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

/** Which pixels of a row are covered. Adding a bar takes the same time whatever its length. */
class Pixels {
  private readonly width: number
  /** How many more bars cover a pixel than the one before it. */
  private readonly steps: Int32Array

  constructor(width: number) {
    this.width = Math.ceil(width)
    this.steps = new Int32Array(this.width + 1)
  }

  /** Covers at least one pixel, if any of the bar is in view. */
  add(from: number, to: number): void {
    // Also for times that aren't known.
    if (!(to >= 0 && from < this.width)) return
    const first = Math.max(0, Math.floor(from))
    this.steps[first]!++
    this.steps[Math.min(this.width, Math.max(first + 1, Math.ceil(to)))]!--
  }

  runs(visit: (from: number, to: number) => void): void {
    let depth = 0
    let began = 0
    for (let x = 0; x <= this.width; x++) {
      const next = depth + this.steps[x]!
      if (depth === 0 && next > 0) began = x
      if (depth > 0 && next === 0) visit(began, x)
      depth = next
    }
  }
}
