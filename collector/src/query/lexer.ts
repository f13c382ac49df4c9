/**
 * An item of a query, with its position in the text, for messages and for completion:
 *
 *     city^="New Y
 *     ╰┬─╯╰╯╰┬───╯
 *     word op value (its quote is open)
 */
export interface Item {
  /** A mark stands between conditions, and has neither operator nor value. */
  kind: 'condition' | Mark
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

export type Mark = '(' | ')' | 'AND' | 'OR' | 'NOT' | '>' | '>>'

/** The word `last` is an operator, too: its value is what follows. */
type Operator = '' | '=' | '^=' | '*=' | ':' | '>' | '>=' | '<' | '<=' | 'last'

/** The words that may have a colon after them. In any other word, a colon is an ordinary character. */
const FIELDS = ['name', 'service', 'key', 'from', 'to', 'root']
const MARK = /[()]|(?:AND|OR|NOT|>>?)(?=[ \t\n\r()]|$)/y
/** A comparison. In any other place, < and > are ordinary characters. */
const COMPARED = /([<>]=?)[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?(?=[ \t\n\r)]|$)/iy

export function lex(text: string): Item[] {
  const items: Item[] = []
  let pos = skipSpace(text, 0)
  while (pos < text.length) {
    const mark = matchAt(MARK, text, pos)?.[0]
    if (mark !== undefined) {
      const to = pos + mark.length
      const word = { from: pos, to, text: mark, quoted: false, open: false }
      items.push({ kind: mark as Mark, from: pos, to, word, op: '', value: undefined })
      pos = skipSpace(text, to)
      continue
    }
    const word = readPiece(text, pos, true)
    let op = operatorAt(text, word)
    let at = word.to + op.length
    if (op === '' && word.text === 'last' && !word.quoted) op = 'last'
    // A root needs no name.
    if (op === 'last' || (op === ':' && word.text !== 'root')) at = skipSpace(text, at)
    const value = op === '' ? undefined : readPiece(text, at, false)
    const end = op === 'last' ? word.to : word.to + op.length
    const to = value === undefined || value.to === value.from ? end : value.to
    items.push({ kind: 'condition', from: pos, to, word, op, value })
    pos = skipSpace(text, value?.to ?? at)
  }
  return items
}

/**
 * Reads up to a space, a parenthesis that closes none of its own or, if `word` is true, an operator. Quoted and plain parts may
 * follow each other.
 */
function readPiece(text: string, from: number, word: boolean): Piece {
  const piece: Piece = { from, to: from, text: '', quoted: false, open: false }
  let pos = from
  let depth = 0
  while (pos < text.length && !isSpace(text[pos]!)) {
    piece.to = pos
    if (word && operatorAt(text, piece) !== '') break
    if (text[pos] === '(') depth++
    if (text[pos] === ')' && depth-- === 0) break
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
function operatorAt(text: string, { from, to, text: word, quoted }: Piece): Operator {
  const c = text[to]
  if (c === '=') return '='
  if ((c === '^' || c === '*') && text[to + 1] === '=') return `${c}=`
  if ((c === '<' || c === '>') && to > from && (quoted || word !== 'duration')) {
    return (matchAt(COMPARED, text, to)?.[1] ?? '') as Operator
  }
  if (quoted) return ''
  if (c === ':' && FIELDS.includes(word)) return ':'
  if ((c === '<' || c === '>') && word === 'duration') return text[to + 1] === '=' ? `${c}=` : c
  return ''
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at
  return pattern.exec(text)
}

function skipSpace(text: string, pos: number): number {
  while (pos < text.length && isSpace(text[pos]!)) pos++
  return pos
}

function isSpace(c: string): boolean {
  return c === ' ' || c === '\t' || c === '\n' || c === '\r'
}
