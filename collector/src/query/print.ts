import { lex } from './lexer'
import type { AnnotationCondition, Match, Query } from './model'
import { printDurationUs, printTime } from './units'

const OPERATORS: Record<Match, string> = { exact: '=', prefix: '^=', contains: '*=' }

/** Prints a query in the language of the search box. parse reads the same query back. */
export function print(query: Query): string {
  const { name, service, minDurationUs, maxDurationUs, annotations, error, from, to } = query
  const parts: string[] = []
  if (name !== undefined) parts.push(`name:${quoted(name)}`)
  if (service !== undefined) parts.push(`service:${quoted(service)}`)
  parts.push(...annotations.map(printCondition))
  if (minDurationUs !== undefined) parts.push(`duration>=${printDurationUs(minDurationUs)}`)
  if (maxDurationUs !== undefined) parts.push(`duration<=${printDurationUs(maxDurationUs)}`)
  if (error !== undefined) parts.push(error ? 'error' : '!error')
  if (from !== undefined) {
    const last = 'agoUs' in from && from.agoUs > 0 && to === undefined
    parts.push(last ? `last ${printDurationUs(from.agoUs)}` : `from:${printTime(from)}`)
  }
  if (to !== undefined) parts.push(`to:${printTime(to)}`)
  return parts.join(' ')
}

function printCondition({ key, value, match }: AnnotationCondition): string {
  if (value === undefined) return `key:${quoted(key ?? '')}`
  if (key === undefined && match === 'contains') return quotedWord(value)
  return `${key === undefined ? '' : quotedWord(key)}${OPERATORS[match]}${quoted(value)}`
}

/** Quotes a value if it needs quotes. A value follows an operator, so only spaces end it. */
export function quoted(text: string): string {
  return text === '' || /[\s"\\]/.test(text) ? quote(text) : text
}

/** Quotes a word if it needs quotes: it may contain an operator, or be a word of the language. */
function quotedWord(text: string): string {
  const items = lex(text)
  const plain = items.length === 1 && items[0]!.op === '' && !/^!?(error|duration)$/.test(text) && !/[*^]$/.test(text)
  return plain && quoted(text) === text ? text : quote(text)
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/** Prints a condition in the form that URLs use (see parseAnnotation). @returns undefined if that form can't express it */
export function printAnnotation({ key, value, match }: AnnotationCondition): string | undefined {
  const text = value === undefined ? (key ?? '') : `${key ?? ''}${OPERATORS[match]}${value}`
  const ambiguous = key !== undefined && (key === '' || key.includes('=') || (value !== undefined && /[*^]$/.test(key)))
  return ambiguous ? undefined : text
}
