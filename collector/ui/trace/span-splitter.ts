/**
 * Finds the spans in a trace's JSON while it arrives, without parsing it: `{ …, "spans": [ {…}, {…} ], … }`. JSON.parse would
 * have to wait for the last byte, and would keep all 100,000 objects alive at once.
 */
export class SpanSplitter {
  /** The bytes that have arrived; the buffer may be longer than `length`. */
  bytes: Uint8Array
  length = 0
  /** The start of span i at 2i, and its end at 2i + 1. */
  offsets = new Uint32Array(2048)
  count = 0
  /** Offsets of the list's brackets; 0 until they have arrived. */
  private listStart = 0
  private listEnd = 0
  private at = 0
  private depth = 0
  private inString = false
  private keyStart = 0
  private keyEnd = 0

  constructor(expectedBytes = 1 << 20) {
    this.bytes = new Uint8Array(expectedBytes)
  }

  push(chunk: Uint8Array): void {
    const length = this.length + chunk.length
    if (length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.bytes.length))
      grown.set(this.bytes.subarray(0, this.length))
      this.bytes = grown
    }
    this.bytes.set(chunk, this.length)
    this.length = length
    this.scan()
  }

  private scan(): void {
    const { bytes, length } = this
    let { at, depth, inString } = this
    for (; at < length; at++) {
      const byte = bytes[at]!
      if (inString) {
        if (byte === BACKSLASH) at++
        else if (byte === QUOTE) {
          inString = false
          if (depth === 1) this.keyEnd = at
        }
        continue
      }
      switch (byte) {
        case QUOTE:
          inString = true
          if (depth === 1) this.keyStart = at + 1
          break
        case OPEN_BRACE:
        case OPEN_BRACKET:
          if (depth === 1 && byte === OPEN_BRACKET && this.listStart === 0 && this.keyIsSpans()) this.listStart = at
          else if (depth === 2 && this.listStart !== 0 && this.listEnd === 0) this.begin(at)
          depth++
          break
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          depth--
          if (this.listStart !== 0 && this.listEnd === 0) {
            if (depth === 2) this.offsets[2 * this.count++ + 1] = at + 1
            else if (depth === 1) this.listEnd = at
          }
      }
    }
    // If a backslash is the last byte of a chunk, `at` is one past the end: it skips the first byte of the next chunk.
    this.at = at
    this.depth = depth
    this.inString = inString
  }

  private keyIsSpans(): boolean {
    return text(this.bytes, this.keyStart, this.keyEnd) === 'spans'
  }

  private begin(at: number): void {
    if (2 * this.count + 2 > this.offsets.length) {
      const grown = new Uint32Array(2 * this.offsets.length)
      grown.set(this.offsets)
      this.offsets = grown
    }
    this.offsets[2 * this.count] = at
  }

  /** Parses the fields before the spans; undefined until they have arrived. */
  head(): unknown {
    return this.listStart === 0 ? undefined : JSON.parse(`${text(this.bytes, 0, this.listStart)}[]}`)
  }

  /** Parses everything but the spans. @throws SyntaxError if the JSON is incomplete */
  whole(): unknown {
    if (this.listStart === 0) return JSON.parse(text(this.bytes, 0, this.length))
    if (this.listEnd === 0) throw new SyntaxError('the trace ends within its spans')
    return JSON.parse(`${text(this.bytes, 0, this.listStart)}[]${text(this.bytes, this.listEnd + 1, this.length)}`)
  }

  /** Parses the spans from `from` (inclusive) to `to` (exclusive). */
  spans(from: number, to: number): unknown[] {
    if (from >= to) return []
    return JSON.parse(`[${text(this.bytes, this.offsets[2 * from]!, this.offsets[2 * to - 1]!)}]`)
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

const decoder = new TextDecoder()

function text(bytes: Uint8Array, from: number, to: number): string {
  return decoder.decode(bytes.subarray(from, to))
}
