import { formatDuration, partClass } from './duration'
import type { Trace, TraceSpan } from './model'

export interface WaterfallOptions {
  /** The columns of the terminal. Below 60, the waterfall is drawn as for 60. */
  width: number
  /** True to use ANSI colors. */
  color: boolean
}

const MIN_WIDTH = 60
/** The largest indent, so that a long chain leaves room for its names. */
const MAX_INDENT = 24
const ANSI = { high: 31, medium: 33, low: 32, dim: 2, bold: 1, error: 31 } as const

/**
 * Draws a trace for the terminal, with a line for each span:
 *
 *     name, indented by depth   service   │ bar │   duration
 *
 * In the bar, ░ is the client half (network and waiting), and █ is the server half, or work without a call. Its color says how much
 * of the trace's duration the span took itself.
 * Names are untrusted: control characters, which could steer the terminal, are shown as U+FFFD.
 */
export function renderWaterfall(trace: Trace, { width, color }: WaterfallOptions): string {
  const total = Math.max(MIN_WIDTH, Math.floor(width))
  const paint = (text: string, style: keyof typeof ANSI) => (color ? `\x1b[${ANSI[style]}m${text}\x1b[0m` : text)
  const rows = trace.spans.map(span => ({
    span,
    name: ' '.repeat(Math.min(span.depth * 2, MAX_INDENT)) + (printable(span.name) || '(no name)') + marks(span),
    services: services(span),
    duration: formatDuration(span.duration),
  }))
  const nameWidth = widest(rows, 'name', Math.floor(total * 0.35))
  const serviceWidth = widest(rows, 'services', Math.floor(total * 0.2))
  const durationWidth = widest(rows, 'duration', 14)
  const barWidth = total - nameWidth - serviceWidth - durationWidth - 7

  const lines = rows.map(({ span, name, services, duration }) => {
    const length = partClass(span.criticalTime, trace.duration)
    const shownName = fit(name, nameWidth)
    return [
      span.error ? paint(shownName, 'error') : shownName,
      '  ',
      paint(fit(services, serviceWidth), 'dim'),
      '  │',
      paint(bar(trace, span, barWidth), length),
      '│ ',
      paint(duration.padStart(durationWidth), length),
    ].join('')
  })
  const spans = trace.spans.length === 1 ? '1 span' : `${trace.spans.length} spans`
  const head = `Trace ${trace.traceId} · ${formatDuration(trace.duration)} · ${spans}`
  return [paint(head, 'bold'), ...lines, ''].join('\n')
}

function widest<K extends string>(rows: Array<Record<K, string>>, column: K, most: number): number {
  return rows.reduce((width, row) => Math.max(width, Math.min(most, columns(row[column]))), 0)
}

function marks(span: TraceSpan): string {
  return (span.error ? ' ✗' : '') + (span.orphan ? ' (parent missing)' : '') + (span.cycle ? ' (circular)' : '')
}

/** Returns "caller → callee", as far as they are known. */
function services(span: TraceSpan): string {
  const callee = span.service ?? span.serverHost
  if (span.clientService === null || span.clientService === callee) return printable(callee ?? '')
  return printable(`${span.clientService} → ${callee ?? '?'}`)
}

function bar(trace: Trace, span: TraceSpan, width: number): string {
  const cells = new Array<string>(width).fill(' ')
  const draw = (start: number | null, duration: number | null, sign: string) => {
    if (start === null || trace.start === null) return
    const scale = width / Math.max(1, trace.duration ?? 0)
    const from = Math.min(width - 1, Math.round((start - trace.start) * scale))
    const to = Math.max(from + 1, Math.min(width, Math.round((start + (duration ?? 0) - trace.start) * scale)))
    cells.fill(sign, from, to)
  }
  draw(span.clientStart, span.clientDuration, '░')
  if (span.kind === 'local') draw(span.start, span.duration, '█')
  else draw(span.serverStart, span.serverDuration, '█')
  return cells.join('')
}

/** Replaces control characters, format characters (also bidirectional overrides), separators and lone surrogates. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

const WIDE =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\uff01-\uff60]/u

/** Estimates the columns that text takes in a terminal, well enough for an aligned table. */
function columns(text: string): number {
  let n = 0
  for (const char of text) n += charColumns(char)
  return n
}

function charColumns(char: string): number {
  if (char <= '~') return 1
  return /\p{M}/u.test(char) ? 0 : WIDE.test(char) ? 2 : 1
}

/** Cuts or pads a string to exactly `width` columns. */
function fit(text: string, width: number): string {
  const full = columns(text)
  if (full <= width) return text + ' '.repeat(width - full)
  let cut = ''
  let n = 0
  for (const char of text) {
    const w = charColumns(char)
    if (n + w > width - 1) break
    cut += char
    n += w
  }
  return `${cut}…${' '.repeat(Math.max(0, width - n - 1))}`
}
