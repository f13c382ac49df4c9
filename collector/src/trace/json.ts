import type { Trace } from './model'

/** Any text of this length fits into 64 KiB of UTF-8: a UTF-16 unit takes at most three bytes. */
const MAX_UNITS = Math.floor(65_536 / 3)

/**
 * Yields the text of JSON.stringify(trace) in pieces of at most 64 KiB. Each piece is made when it is asked for: a trace of
 * 100,000 spans is 60 MB, which would block a server for half a second and stay in its memory until the slowest reader has it.
 */
export function* traceJson(trace: Trace): Generator<string, void> {
  let chunk = ''
  for (let piece of piecesOf(trace)) {
    if (chunk.length + piece.length > MAX_UNITS) {
      if (chunk !== '') yield chunk
      chunk = ''
      while (piece.length > MAX_UNITS) {
        // Don't cut a pair of surrogates: its halves would be encoded as two replacement characters.
        const last = piece.charCodeAt(MAX_UNITS - 1)
        const at = last >= 0xd800 && last <= 0xdbff ? MAX_UNITS - 1 : MAX_UNITS
        yield piece.slice(0, at)
        piece = piece.slice(at)
      }
    }
    chunk += piece
  }
  yield chunk
}

/** Yields lists, which may be long, one element at a time, and every other field in one piece. */
function* piecesOf(value: object): Generator<string> {
  let before = '{'
  for (const [key, field] of Object.entries(value)) {
    const name = `${before}${JSON.stringify(key)}:`
    before = ','
    if (Array.isArray(field)) {
      yield `${name}[`
      for (let i = 0; i < field.length; i++) yield (i === 0 ? '' : ',') + JSON.stringify(field[i])
      yield ']'
    } else if (typeof field === 'object' && field !== null) {
      yield name
      yield* piecesOf(field)
    } else yield name + JSON.stringify(field)
  }
  yield before === '{' ? '{}' : '}'
}
