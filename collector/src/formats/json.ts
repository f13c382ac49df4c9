import { BadInput } from './fields'

/**
 * Beyond these, JSON.parse would take seconds and gigabytes for a few megabytes of nothing. In real spans, one of them comes
 * every 30 bytes or so: no body of 16 MiB has as many.
 */
const MAX_CONTAINERS = 600_000
const MAX_COMMAS = 700_000
const MAX_DEPTH = 200

const [QUOTE, BACKSLASH, COMMA, MINUS, DOT, ZERO, NINE] = [0x22, 0x5c, 0x2c, 0x2d, 0x2e, 0x30, 0x39]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT, LOWER_E] = [0x5b, 0x5d, 0x7b, 0x7d, 0x65]
/** JavaScript's numbers are exact to 2^53, which has 16 digits; a 64-bit number has at most 20. */
const [ROUNDED_DIGITS, MAX_DIGITS] = [16, 20]

/**
 * Parses JSON from strangers. Whole numbers that JavaScript would round become strings, which the formats allow.
 * @throws BadInput
 */
export function parseJson(body: Buffer): unknown {
  const { longNumbers } = scan(body)
  try {
    return JSON.parse((longNumbers.length === 0 ? body : quote(body, longNumbers)).toString('utf8'))
  } catch (error) {
    throw new BadInput(`not JSON: ${(error as Error).message}`)
  }
}

/** @returns where whole numbers begin and end that are too long to be exact */
function scan(body: Buffer): { longNumbers: number[] } {
  const longNumbers: number[] = []
  let containers = 0
  let commas = 0
  let depth = 0
  for (let i = 0; i < body.length; i++) {
    let c = body[i]!
    if (c === QUOTE) {
      while (++i < body.length && (c = body[i]!) !== QUOTE) if (c === BACKSLASH) i++
    } else if (c === COMMA) {
      if (++commas > MAX_COMMAS) throw new BadInput(`JSON of more than ${MAX_COMMAS} values`)
    } else if (c === OPEN_LIST || c === OPEN_OBJECT) {
      if (++containers > MAX_CONTAINERS) throw new BadInput(`JSON of more than ${MAX_CONTAINERS} lists and objects`)
      if (++depth > MAX_DEPTH) throw new BadInput(`JSON that nests deeper than ${MAX_DEPTH}`)
    } else if (c === CLOSE_LIST || c === CLOSE_OBJECT) {
      depth--
    } else if (c >= ZERO && c <= NINE) {
      const start = body[i - 1] === MINUS ? i - 1 : i
      const first = i
      while ((c = body[i + 1]!) >= ZERO && c <= NINE) i++
      const digits = i + 1 - first
      const isWhole = c !== DOT && (c | 0x20) !== LOWER_E
      if (digits >= ROUNDED_DIGITS && digits <= MAX_DIGITS && isWhole) longNumbers.push(start, i + 1)
      // What follows are a fraction's digits, not a number's.
      else if (!isWhole) while (i + 1 < body.length && isInNumber(body[i + 1]!)) i++
    }
  }
  return { longNumbers }
}

function isInNumber(c: number): boolean {
  return (c >= ZERO && c <= NINE) || c === DOT || c === MINUS || c === 0x2b || (c | 0x20) === LOWER_E
}

function quote(body: Buffer, numbers: number[]): Buffer {
  const quoted = Buffer.allocUnsafe(body.length + numbers.length)
  let to = 0
  let from = 0
  for (const at of numbers) {
    to += body.copy(quoted, to, from, at)
    quoted[to++] = QUOTE
    from = at
  }
  body.copy(quoted, to, from)
  return quoted
}
