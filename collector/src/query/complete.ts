import { type Item, lex, type Piece } from './lexer'
import { quoted } from './print'

/** The part of a query that is being typed, for `GET /api/complete`. */
export interface Completion {
  field: 'name' | 'service' | 'key' | 'value'
  /** The key whose values are completed. */
  key?: string
  /** Whether only values that are numbers fit. */
  numbers?: true
  /** The text that was typed before the cursor, without quotes. */
  prefix: string
  /** The bounds of the text that a choice replaces. */
  from: number
  to: number
}

/** @returns undefined if nothing can be suggested: a time, a duration, or a value without a key */
export function completionAt(text: string, cursor: number): Completion | undefined {
  // Right behind a parenthesis something else begins.
  const items = lex(text).filter(({ kind }) => kind !== '(' && kind !== ')')
  const item = items.find(({ from, to, value }) => from <= cursor && cursor <= Math.max(to, value?.to ?? 0))
  if (item === undefined) return { field: 'key', prefix: '', from: cursor, to: cursor }
  const { word, op, value } = item
  // A comparison whose number is still to come, which the lexer takes for a word, or for one and =.
  const begun = (op === '' || op === '=') && !word.quoted ? /^(.+)[<>]$/.exec(word.text) : null
  if (begun !== null && cursor >= word.to + op.length && !value?.text) {
    return { field: 'value', key: begun[1]!, numbers: true, prefix: '', from: cursor, to: cursor }
  }
  if (cursor <= word.to && op !== 'last') return { field: 'key', ...typed(text, word, cursor) }
  // The cursor is within the operator.
  if (value === undefined || cursor < value.from) return undefined
  const field = fieldOf(item)
  if (field === undefined) return undefined
  if (field === 'value' && word.text === '') return undefined
  const key = field === 'value' ? { key: word.text } : {}
  const numbers = /[<>]/.test(op) ? { numbers: true as const } : {}
  return { field, ...key, ...numbers, ...typed(text, value, cursor) }
}

/** Whether OR, > or >> may stand at the cursor: behind a condition, or in the place of the word there. */
export function mayJoin(text: string, cursor: number): boolean {
  const before = lex(text.slice(0, cursor))
    .filter(({ to }) => to < cursor || text[to - 1] === ')')
    .at(-1)
  return before?.kind === 'condition' || before?.kind === ')'
}

function fieldOf({ word, op }: Item): Completion['field'] | undefined {
  if (op === '=' || op === '^=' || op === '*=') return 'value'
  if (/[<>]/.test(op)) return word.text === 'duration' && !word.quoted ? undefined : 'value'
  if (op !== ':' || word.text === 'from' || word.text === 'to') return undefined
  if (word.text === 'root') return 'name'
  return word.text as 'name' | 'service' | 'key'
}

/** Returns what was typed of a piece before the cursor, and the piece's bounds. */
function typed(text: string, { from, to }: Piece, cursor: number) {
  // Read it as a value, in which operators have no meaning: the text before the cursor may end in half an operator.
  const before = lex(`key:${text.slice(from, cursor)}`)[0]
  return { prefix: before?.value?.text ?? '', from, to }
}

/** Replaces what was typed with a choice. Returns the new text and cursor. A key gets the `=` that its value needs. */
export function insertCompletion(
  text: string,
  completion: Completion,
  choice: string,
): { text: string; cursor: number } {
  const { from, to, field } = completion
  const rest = text.slice(to)
  const afterWord = field === 'key' && !/(?:^|[\s()])key:\s*$/.test(text.slice(0, from))
  const insert = afterWord
    ? `${/[\s"\\=:<>*^()!]/.test(choice) || choice === '' ? `"${choice.replace(/["\\]/g, '\\$&')}"` : choice}${/^(?:[*^]?=|[<>])/.test(rest) ? '' : '='}`
    : quoted(choice)
  const space = afterWord || /^[\s)]/.test(rest) ? '' : ' '
  return { text: text.slice(0, from) + insert + space + rest, cursor: from + insert.length + space.length }
}
