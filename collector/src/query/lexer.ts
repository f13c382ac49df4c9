/**
 * An item of a query, with its position in the text, for messages and for completion:
 *
 *     city^="New Y
 *     ╰┬─╯╰╯╰┬───╯
 *     word op value (its quote is open)
 */
export interface Item {
  from: number
  to: number
  word: Piece
  op: Operator
  /** Undefined without an operator; empty if nothing follows the operator. */
  value: Piece | undefined
}

export interface Piece {
  from: number
  to: number
  /** The piece without quotes and escapes. */
  text: string
  quoted: boolean
  /** True if a quote begins in the piece and doesn't end. */
  open: boolean
}

/** The word `last` is an operator, too: its value is what follows. */
type Operator = '' | '=' | '^=' | '*=' | ':' | '>' | '>=' | '<' | '<=' | 'last'

/** The words that may have a colon after them. In any other word, a colon is an ordinary character. */
const FIELDS = ['name', 'service', 'key', 'from', 'to']

export function lex(text: string): Item[] {
  const items: Item[] = []
  let pos = skipSpace(text, 0)
  while (pos < text.length) {
    const word = readPiece(text, pos, true)
    let op = operatorAt(text, word)
    let at = word.to + op.length
    if (op === '' && word.text === 'last' && !word.quoted) op = 'last'
    if (op === 'last' || op === ':') at = skipSpace(text, at)
    const value = op === '' ? undefined : readPiece(text, at, false)
    const end = op === 'last' ? word.to : word.to + op.length
    items.push({ from: pos, to: value === undefined || value.to === value.from ? end : value.to, word, op, value })
    pos = skipSpace(text, value?.to ?? at)
  }
  return items
}

/** Reads up to a space or, if `word` is true, an operator. Quoted and plain parts may follow each other. */
function readPiece(text: string, from: number, word: boolean): Piece {
  const piece: Piece = { from, to: from, text: '', quoted: false, open: false }
  let pos = from
  while (pos < text.length && !isSpace(text[pos]!)) {
    piece.to = pos
    if (word && operatorAt(text, piece) !== '') break
    if (text[pos] !== '"') {
      piece.text += text[pos++]
      continue
    }
    piece.quoted = true
    piece.open = true
    for (pos++; pos < text.length; pos++) {
      if (text[pos] === '"') {
        piece.open = false
        pos++
        break
      }
      if (text[pos] === '\\' && pos + 1 < text.length) pos++
      piece.text += text[pos]
    }
  }
  piece.to = pos
  return piece
}

/** Returns the operator right after a word. */
function operatorAt(text: string, { to, text: word, quoted }: Piece): Operator {
  const c = text[to]
  if (c === '=') return '='
  if ((c === '^' || c === '*') && text[to + 1] === '=') return `${c}=`
  if (quoted) return ''
  if (c === ':' && FIELDS.includes(word)) return ':'
  if ((c === '<' || c === '>') && word === 'duration') return text[to + 1] === '=' ? `${c}=` : c
  return ''
}

function skipSpace(text: string, pos: number): number {
  while (pos < text.length && isSpace(text[pos]!)) pos++
  return pos
}

function isSpace(c: string): boolean {
  return c === ' ' || c === '\t' || c === '\n' || c === '\r'
}
