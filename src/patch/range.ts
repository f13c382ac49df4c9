/**
 * Ranges of versions, as npm writes them: `>=0.9.3 <1`, `^1.2.0`, `~1.2`, `1.x`, `1.2.3 - 2.3`, several joined by `||`.
 * A pre-release counts as its release.
 */

type Numbers = [number, number, number]
/** A range from the first version up to the second, which it excludes. */
type Interval = [Numbers, Numbers]

const ZERO: Numbers = [0, 0, 0]
const NO_END: Numbers = [Number.POSITIVE_INFINITY, 0, 0]
const COMPARATOR = /^(>=|<=|>|<|=|\^|~)?v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:[-+][\w.+-]+)?$/

/**
 * @param version undefined, or a string without three numbers: it is in no range
 * @throws Error when the range can't be read
 */
export function inRange(version: string | undefined, range: string): boolean {
  const intervals = parseRange(range)
  const numbers = /^v?(\d+)\.(\d+)\.(\d+)/
    .exec(version ?? '')
    ?.slice(1)
    .map(Number) as Numbers | undefined
  if (numbers === undefined) return false
  return intervals.some(all => all.every(([from, to]) => compare(numbers, from) >= 0 && compare(numbers, to) < 0))
}

/** The range's alternatives; a version must be in all intervals of one of them. */
function parseRange(range: string): Interval[][] {
  return range.split('||').map(alternative => {
    const [, from, to] = /^\s*(\S+)\s+-\s+(\S+)\s*$/.exec(alternative) ?? []
    const text = from === undefined ? alternative.replace(/([<>=^~])\s+/g, '$1') : `>=${from} <=${to}`
    return text.trim().split(/\s+/).map(interval)
  })
}

function interval(comparator: string): Interval {
  const match = COMPARATOR.exec(comparator === '' ? '*' : comparator)
  if (match === null) throw new Error(`'${comparator}' isn't a comparator such as >=1.2.3, ^1.2.3 or 1.x`)
  const missing = match.slice(2).findIndex(part => part === undefined || !/\d/.test(part))
  const parts = match.slice(2, missing === -1 ? undefined : 2 + missing).map(Number)
  const from: Numbers = [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0]
  const after = (place: number): Numbers =>
    place < 0 ? NO_END : (from.map((n, i) => (i < place ? n : i === place ? n + 1 : 0)) as Numbers)
  const last = parts.length - 1
  switch (match[1]) {
    case '>=':
      return [from, NO_END]
    case '>':
      return [after(last), NO_END]
    case '<':
      return [ZERO, from]
    case '<=':
      return [ZERO, after(last)]
    case '~':
      return [from, after(Math.min(last, 1))]
    case '^': {
      const leading = parts.findIndex(n => n > 0)
      return [from, after(leading === -1 ? last : leading)]
    }
    default:
      return [from, after(last)]
  }
}

function compare(a: Numbers, b: Numbers): number {
  const place = a.findIndex((n, i) => n !== b[i])
  return place === -1 ? 0 : a[place]! - b[place]!
}
