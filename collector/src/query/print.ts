import { lex } from './lexer'
import type { AnnotationCondition, Match, Query } from './model'
import { printDurationUs, printTime } from './units'

const OPERATORS: Record<Match, string> = { exact: '=', prefix: '^=', contains: '*=' }

/** The query in the search box's language: parse gives the same query back. */
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

/** A value: behind an operator, where only spaces end it. */
export function quoted(text: string): string {
  return text === '' || /[\s"\\]/.test(text) ? quote(text) : text
}

/** A word, in which an operator would be seen, and which may mean something itself. */
function quotedWord(text: string): string {
  const items = lex(text)
  const plain = items.length === 1 && items[0]!.op === '' && !/^!?(error|duration)$/.test(text) && !/[*^]$/.test(text)
  return plain && quoted(text) === text ? text : quote(text)
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/** The condition as addresses have it (parseAnnotation); undefined for one that can't be said so. */
export function printAnnotation({ key, value, match }: AnnotationCondition): string | undefined {
  const text = value === undefined ? (key ?? '') : `${key ?? ''}${OPERATORS[match]}${value}`
  const ambiguous = key !== undefined && (key === '' || key.includes('=') || (value !== undefined && /[*^]$/.test(key)))
  return ambiguous ? undefined : text
}
