import type { Trace } from './model'

/** 64 KiB in UTF-8, whatever the text: a UTF-16 unit takes three bytes at most. */
const MAX_UNITS = Math.floor(65_536 / 3)

/**
 * The text of JSON.stringify(trace), in pieces of at most 64 KiB each, made as they are asked for: a trace of 100,000 spans
 * is 60 MB, which would hold a server up for half a second and stay in its memory until the slowest reader has it.
 */
export function* traceJson(trace: Trace): Generator<string, void> {
  let chunk = ''
  for (let piece of piecesOf(trace)) {
    if (chunk.length + piece.length > MAX_UNITS) {
      if (chunk !== '') yield chunk
      chunk = ''
      while (piece.length > MAX_UNITS) {
        // A pair of surrogates that is cut would be encoded as two characters that don't exist.
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

/** Lists, which may be long, one element at a time; the rest in one piece each. */
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
