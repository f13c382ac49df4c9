/**
 * A query's text as items, each with where it stands, for messages and for completion:
 *
 *     city^="New Y
 *     ╰┬─╯╰╯╰┬───╯
 *     word op value, whose quote is open
 */
export interface Item {
  from: number
  to: number
  word: Piece
  op: Operator
  /** Undefined without an operator; empty when nothing follows it. */
  value: Piece | undefined
}

export interface Piece {
  from: number
  to: number
  /** The piece without quotes and escapes. */
  text: string
  quoted: boolean
  /** A quote begins in it and doesn't end. */
  open: boolean
}

/** `last` stands between that word and what follows it. */
type Operator = '' | '=' | '^=' | '*=' | ':' | '>' | '>=' | '<' | '<=' | 'last'

/** What may stand before a colon; elsewhere a colon is part of the word. */
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

/** Up to a space or, when `word`, an operator. Quoted and plain stretches may follow each other. */
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

/** The operator right behind a word. */
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
