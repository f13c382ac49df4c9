/** How long calls of an operation usually take: quantiles of its last days, in microseconds. */
export interface Usual {
  p50: number
  p95: number
  p99: number
}

/** Three classes of durations, which color the calls. */
export type DurationClass = 'high' | 'medium' | 'low'

/** What is this many times the median at most isn't slow, however alike an operation's calls are. */
const SLOW = 1.5

/**
 * Classes a call by what is usual for its operation: slower than 99 of 100 calls, slower than 95, and the rest. Undefined where
 * nobody knows what is usual.
 */
export function durationClass(us: number, usual?: Usual): DurationClass | undefined {
  if (usual === undefined || Number.isNaN(us)) return undefined
  if (us <= SLOW * usual.p50) return 'low'
  return us > usual.p99 ? 'high' : us > usual.p95 ? 'medium' : 'low'
}

/**
 * Classes a call by the part of its trace's duration that it took itself, where nothing else is known: half of it or more, a
 * fifth or more, and the rest.
 */
export function partClass(ownUs: number, traceUs: number | null): DurationClass {
  const part = ownUs / (traceUs || Number.POSITIVE_INFINITY)
  return part >= 0.5 ? 'high' : part >= 0.2 ? 'medium' : 'low'
}

/**
 * Formats a duration with three digits and a unit: "870 µs", "12.3 ms", "1.52 s", "2 min 05 s". Null, NaN and infinities give
 * "–".
 */
export function formatDuration(us: number | null): string {
  if (us === null || !Number.isFinite(us)) return '–'
  if (us < 0) return `−${formatDuration(-us)}`
  if (us < 999.5) return `${Math.round(us)} µs`
  if (us < 999_500) return `${threeDigits(us / 1000)} ms`
  if (us < 59_950_000) return `${threeDigits(us / 1_000_000)} s`
  const seconds = Math.round(us / 1_000_000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${twoDigits(seconds % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} min`
  return `${Math.round(minutes / 1440)} days`
}

/** Returns labels for the ticks of an axis, in order: short ones if they all differ, or else labels with all digits. */
export function durationLabels(ticks: number[]): string[] {
  const short = ticks.map(us =>
    us === 0
      ? '0'
      : formatDuration(us)
          .replace(/(\.\d*?)0+(?= )/, '$1')
          .replace(/\.(?= )/, ''),
  )
  if (new Set(short).size === ticks.length && ticks.every(Number.isInteger)) return short
  const largest = Math.max(...ticks.map(Math.abs))
  const [unit, name] = largest < 1000 ? [1, 'µs'] : largest < 1_000_000 ? [1000, 'ms'] : [1_000_000, 's']
  const step = Math.min(...ticks.slice(1).map((us, i) => us - ticks[i]!))
  const digits = Math.min(20, Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9)))
  return ticks.map(us => (us === 0 ? '0' : `${(us / unit).toFixed(digits).replace('-', '−')} ${name}`))
}

function threeDigits(n: number): string {
  return n < 9.995 ? n.toFixed(2) : n < 99.95 ? n.toFixed(1) : n.toFixed(0)
}

function twoDigits(n: number): string {
  return String(n).padStart(2, '0')
}
