import { type Item, lex, type Piece } from './lexer'
import { quoted } from './print'

/** What is being typed, for `GET /api/complete`. */
export interface Completion {
  field: 'name' | 'service' | 'key' | 'value'
  /** The key whose values are completed. */
  key?: string
  /** What was typed before the cursor, without quotes. */
  prefix: string
  /** What a choice replaces in the text. */
  from: number
  to: number
}

/** @returns undefined if nothing can be suggested: for a time, a duration or a value of any key */
export function completionAt(text: string, cursor: number): Completion | undefined {
  const item = lex(text).find(({ from, to, value }) => from <= cursor && cursor <= Math.max(to, value?.to ?? 0))
  if (item === undefined) return { field: 'key', prefix: '', from: cursor, to: cursor }
  const { word, op, value } = item
  if (cursor <= word.to && op !== 'last') return { field: 'key', ...place(text, word, cursor) }
  // The cursor is within the operator.
  if (value === undefined || cursor < value.from) return undefined
  const field = fieldOf(item)
  if (field === undefined) return undefined
  if (field === 'value' && word.text === '') return undefined
  const key = field === 'value' ? { key: word.text } : {}
  return { field, ...key, ...place(text, value, cursor) }
}

function fieldOf({ word, op }: Item): Completion['field'] | undefined {
  if (op === '=' || op === '^=' || op === '*=') return 'value'
  if (op !== ':' || word.text === 'from' || word.text === 'to') return undefined
  return word.text as 'name' | 'service' | 'key'
}

function place(text: string, { from, to }: Piece, cursor: number) {
  // As a value, in which no operator is seen: what stands before the cursor may end in half an operator.
  const before = lex(`key:${text.slice(from, cursor)}`)[0]
  return { prefix: before?.value?.text ?? '', from, to }
}

/** Returns the text with a choice in place of what was typed, and the cursor's position. A key gets the `=` that its value needs. */
export function insertCompletion(
  text: string,
  completion: Completion,
  choice: string,
): { text: string; cursor: number } {
  const { from, to, field } = completion
  const rest = text.slice(to)
  const afterWord = field === 'key' && !/:\s*$/.test(text.slice(0, from))
  const insert = afterWord
    ? `${/[\s"\\=:<>*^]/.test(choice) || choice === '' ? `"${choice.replace(/["\\]/g, '\\$&')}"` : choice}${/^[*^]?=/.test(rest) ? '' : '='}`
    : quoted(choice)
  const space = afterWord || /^\s/.test(rest) ? '' : ' '
  return { text: text.slice(0, from) + insert + space + rest, cursor: from + insert.length + space.length }
}
