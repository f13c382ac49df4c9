import { MULTIPLIER } from '../record/seed'
import { BadInput } from './fields'

/**
 * Parses JSON as senders really write it: with a byte order mark, in UTF-16, with several documents in one body (one on each
 * line, or one after the other), with NaN, with commas before a closing bracket, with raw control characters in strings. One pass
 * over the bytes finds all of that, and bounds the work that JSON.parse gets.
 */

/** One of a body's documents, or the reason why it can't be read. */
export type Document = { line: number; json: unknown } | { line: number; problem: string }

/**
 * Beyond these limits, JSON.parse would take seconds and gigabytes for a few megabytes of nothing. In real spans, a container or
 * a comma comes about every 30 bytes, so no body of 16 MiB reaches them.
 */
const MAX_CONTAINERS = 600_000
const MAX_COMMAS = 700_000
const MAX_DEPTH = 200
const MAX_REPAIRS = 700_000
/** JSON.parse needs 3 µs for each key that it hasn't met. A body of real spans has a few hundred, however many spans it has. */
const MAX_KEYS = 100_000
/** A bad line costs an exception. */
const MAX_BAD_LINES = 1_000

const [QUOTE, BACKSLASH, COMMA, MINUS, DOT, ZERO, NINE] = [0x22, 0x5c, 0x2c, 0x2d, 0x2e, 0x30, 0x39]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT, LOWER_E] = [0x5b, 0x5d, 0x7b, 0x7d, 0x65]
const COLON = 0x3a
const [NEWLINE, SPACE, RECORD_SEPARATOR, UPPER_N, UPPER_I] = [0x0a, 0x20, 0x1e, 0x4e, 0x49]
/** JavaScript's numbers are exact up to 2^53, which has 16 digits. A 64-bit number has at most 20. */
const [ROUNDED_DIGITS, MAX_DIGITS] = [16, 20]

/**
 * Parses untrusted JSON: the documents of a body, in order. Integers that JavaScript would round become strings, which the
 * formats allow.
 * @param bounded false if the body comes from the collector's operator
 * @param firstLine the number of the body's first line in its file
 * @throws BadInput if nothing in it is JSON, or it exceeds a limit
 */
export function parseDocuments(body: Uint8Array, bounded = true, firstLine = 1): Document[] {
  const bytes = trimmed(toUtf8(body))
  if (bytes.length === 0 && firstLine > 1) return []
  if (bytes.length === 0) throw new BadInput('not JSON: the input is empty')
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  keys.clear()
  try {
    const documents = split(bytes, bounded, firstLine)
    const [first] = documents
    if (documents.length === 1 && firstLine === 1 && 'problem' in first!)
      throw new BadInput(`not JSON: ${first.problem}`)
    return documents
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** Converts UTF-16 to UTF-8. UTF-16 shows by its byte order mark, or by the NUL in its first character. */
function toUtf8(body: Uint8Array): Buffer {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  const [a, b, c] = bytes
  if (a === 0xef && b === 0xbb && c === 0xbf) return bytes.subarray(3)
  const isLittleEndian = (a === 0xff && b === 0xfe) || (a !== 0 && b === 0)
  if (isLittleEndian || (a === 0xfe && b === 0xff) || (a === 0 && b !== 0)) {
    const even = Buffer.from(bytes.subarray(0, bytes.length & ~1))
    return Buffer.from((isLittleEndian ? even : even.swap16()).toString('utf16le').replace(/^\ufeff/, ''))
  }
  return bytes
}

/** Cuts off white space at the end, and the NULs and ^Z that some systems put there. */
function trimmed(bytes: Buffer): Buffer {
  let end = bytes.length
  while (end > 0 && bytes[end - 1]! <= SPACE) end--
  return bytes.subarray(0, end)
}

function split(bytes: Buffer, bounded: boolean, firstLine: number): Document[] {
  const documents: Document[] = []
  let badLines = 0
  let line = firstLine
  let counted = 0
  const lineAt = (at: number) => {
    for (; counted < at; counted++) if (bytes[counted] === NEWLINE) line++
    return line
  }
  for (const piece of scan(bytes, bounded)) {
    const json = parse(bytes, piece)
    if (!(json instanceof Error)) {
      documents.push({ line: lineAt(piece.start), json })
      continue
    }
    // A truncated document swallows what follows it. So if single lines can be parsed, each line is a document.
    const lines = linesOf(bytes, piece)
    const parsed = lines.map(line => (isOpening(bytes[line.start]!) ? parseLine(bytes, line, bounded) : undefined))
    if (lines.length < 2 || parsed.every(value => value === undefined || value instanceof Error)) {
      documents.push({ line: lineAt(piece.start), problem: json.message })
      continue
    }
    for (const [i, value] of parsed.entries()) {
      const at = lineAt(lines[i]!.start)
      if (value !== undefined && !(value instanceof Error)) documents.push({ line: at, json: value })
      else {
        if (++badLines > MAX_BAD_LINES) throw new BadInput(`not JSON: more than ${MAX_BAD_LINES} lines can't be parsed`)
        documents.push({ line: at, problem: value?.message ?? 'it is neither an object nor a list' })
      }
    }
  }
  return documents
}

function parseLine(bytes: Buffer, line: { start: number; end: number }, bounded: boolean): unknown {
  const [piece, ...others] = scan(bytes.subarray(line.start, line.end), bounded)
  return others.length > 0
    ? new SyntaxError('it holds more than one document')
    : parse(bytes.subarray(line.start, line.end), piece!)
}

function linesOf(bytes: Buffer, { start, end }: Piece): { start: number; end: number }[] {
  const lines = []
  while (start < end) {
    const newline = bytes.indexOf(NEWLINE, start)
    const lineEnd = newline === -1 || newline > end ? end : newline
    while (start < lineEnd && bytes[start]! <= SPACE) start++
    if (start < lineEnd) lines.push({ start, end: lineEnd })
    if (lines.length > MAX_CONTAINERS) throw new BadInput(`the JSON has more than ${MAX_CONTAINERS} lines`)
    start = lineEnd + 1
  }
  return lines
}

function isOpening(c: number): boolean {
  return c === OPEN_OBJECT || c === OPEN_LIST
}

/** A document's bytes, and their repairs: for each the start, the end, and the text to put there ('' puts quotes around it). */
interface Piece {
  start: number
  end: number
  repairs: (number | string)[]
}

function parse(bytes: Buffer, piece: Piece): unknown {
  try {
    return JSON.parse(repaired(bytes, piece).toString('utf8'))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return error
  }
}

function repaired(bytes: Buffer, { start, end, repairs }: Piece): Buffer {
  if (repairs.length === 0) return bytes.subarray(start, end)
  // A repair adds at most five bytes, for a control character.
  const whole = Buffer.allocUnsafe(end - start + (repairs.length / 3) * 5)
  let to = 0
  let from = start
  for (let i = 0; i < repairs.length; i += 3) {
    const [at, next, by] = [repairs[i] as number, repairs[i + 1] as number, repairs[i + 2] as string]
    to += bytes.copy(whole, to, from, at)
    to += whole.write(by || `"${bytes.toString('latin1', at, next)}"`, to, 'latin1')
    from = next
  }
  to += bytes.copy(whole, to, from, end)
  return whole.subarray(0, to)
}

/** Estimates how many different keys a body has. Two keys that share a bit count as one. */
class Keys {
  private readonly bits = new Uint32Array(1 << 15)
  private count = 0

  clear(): void {
    if (this.count > 0) this.bits.fill(0)
    this.count = 0
  }

  /** @returns the number of keys, including this one */
  add(bytes: Buffer, start: number, end: number): number {
    let hash = MULTIPLIER
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, MULTIPLIER)
    // Only the upper bits depend on all bytes of the key.
    const bit = Math.imul(hash ^ (hash >>> 15), MULTIPLIER) >>> 12
    if ((this.bits[bit >>> 5]! & (1 << bit)) === 0) {
      this.bits[bit >>> 5]! |= 1 << bit
      this.count++
    }
    return this.count
  }
}

/** The keys of the current body. */
const keys = new Keys()

/** Finds where documents begin and end, and what JSON.parse would refuse or round. */
function scan(body: Buffer, bounded: boolean): Piece[] {
  const pieces: Piece[] = []
  let piece: Piece | undefined
  let containers = 0
  let commas = 0
  let depth = 0
  /** The position of the last comma, if nothing has followed it yet. */
  let openComma = -1
  /** The bounds of the last string, which is a key if a colon follows. */
  let textStart = 0
  let textEnd = -1
  const repair = (from: number, to: number, by: string) => {
    const { repairs } = piece!
    repairs.push(from, to, by)
    if (repairs.length > 3 * MAX_REPAIRS)
      throw new BadInput(`the JSON has more than ${MAX_REPAIRS} long numbers and control characters`)
  }
  for (let i = 0; i < body.length; i++) {
    let c = body[i]!
    if (c <= SPACE) continue
    // Documents may be separated by commas (lines of a list) or by record separators (JSON text sequences, RFC 7464).
    if (piece === undefined && (c === COMMA || c === RECORD_SEPARATOR)) continue
    piece ??= { start: i, end: body.length, repairs: [] }
    if (c === COMMA) {
      if (++commas > MAX_COMMAS && bounded) throw new BadInput(`the JSON has more than ${MAX_COMMAS} values`)
      openComma = i
      continue
    }
    if (c === CLOSE_LIST || c === CLOSE_OBJECT) {
      if (openComma !== -1) repair(openComma, openComma + 1, ' ')
      openComma = -1
      if (--depth > 0) continue
      piece.end = i + 1
      pieces.push(piece)
      piece = undefined
      depth = 0
      continue
    }
    openComma = -1
    if (c === QUOTE) {
      textStart = i + 1
      while (++i < body.length && (c = body[i]!) !== QUOTE) {
        if (c === BACKSLASH) i++
        else if (c < SPACE) repair(i, i + 1, `\\u00${c < 16 ? '0' : ''}${c.toString(16)}`)
      }
      textEnd = i
    } else if (c === COLON) {
      if (bounded && keys.add(body, textStart, textEnd) > MAX_KEYS)
        throw new BadInput(`the JSON has more than ${MAX_KEYS} different keys`)
      // Further colons must not scan the same key again.
      textEnd = -1
    } else if (c === OPEN_LIST || c === OPEN_OBJECT) {
      if (++containers > MAX_CONTAINERS && bounded) {
        throw new BadInput(`the JSON has more than ${MAX_CONTAINERS} lists and objects`)
      }
      if (++depth > MAX_DEPTH) throw new BadInput(`the JSON nests deeper than ${MAX_DEPTH}`)
    } else if (c >= ZERO && c <= NINE) {
      const start = body[i - 1] === MINUS ? i - 1 : i
      const first = i
      while ((c = body[i + 1]!) >= ZERO && c <= NINE) i++
      const digits = i + 1 - first
      const isWhole = c !== DOT && (c | 0x20) !== LOWER_E
      if (digits >= ROUNDED_DIGITS && digits <= MAX_DIGITS && isWhole) repair(start, i + 1, '')
      // Skip the fraction and the exponent: their digits aren't another number.
      else if (!isWhole) while (i + 1 < body.length && isInNumber(body[i + 1]!)) i++
    } else if (c === UPPER_N || c === UPPER_I) {
      const word = c === UPPER_N ? 'NaN' : 'Infinity'
      if (body.toString('latin1', i, i + word.length) !== word) continue
      repair(body[i - 1] === MINUS ? i - 1 : i, i + word.length, '')
      i += word.length - 1
    }
  }
  if (piece !== undefined) pieces.push(piece)
  return pieces
}

function isInNumber(c: number): boolean {
  return (c >= ZERO && c <= NINE) || c === DOT || c === MINUS || c === 0x2b || (c | 0x20) === LOWER_E
}
