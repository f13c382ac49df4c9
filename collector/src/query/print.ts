import { conditionsOf } from './alternatives'
import { lex } from './lexer'
import { type AnnotationCondition, decimalOf, type Match, type Query, type SpanQuery, type Where } from './model'
import { printDurationUs, printTime } from './units'

const OPERATORS: Record<Match, string> = { exact: '=', prefix: '^=', contains: '*=' }

/** Prints a query in the language of the search box. parse reads the same query back. */
export function print({ from, to, ...span }: Query): string {
  const parts = [printSpan(span, (from ?? to) === undefined)]
  if (from !== undefined) {
    const last = 'agoUs' in from && from.agoUs > 0 && to === undefined
    parts.push(last ? `last ${printDurationUs(from.agoUs)}` : `from:${printTime(from)}`)
  }
  if (to !== undefined) parts.push(`to:${printTime(to)}`)
  return parts.filter(Boolean).join(' ')
}

/** @param isAll whether nothing else follows */
function printSpan(span: SpanQuery, isAll: boolean): string {
  const conditions = conditionsOf(span)
  const [first] = conditions
  const isAny = conditions.length === 1 && first!.kind === 'any' && isAll
  const text = isAny ? printWhole(first!) : conditions.map(printPart).join(' ')
  if (span.above === undefined) return text
  return `${printSpan(span.above.span, true)} ${span.above.at === 'parent' ? '>' : '>>'} ${text}`
}

function printPart(where: Where): string {
  return where.kind === 'any' || where.kind === 'all' ? `(${printWhole(where)})` : printWhole(where)
}

function printWhole(where: Where): string {
  switch (where.kind) {
    case 'all':
      return where.of.map(printPart).join(' ')
    case 'any':
      return where.of.map(printPart).join(' OR ')
    case 'not':
      return `NOT ${printPart(where.of)}`
    case 'name':
      return `name:${quoted(where.name)}`
    case 'service':
      return `service:${quoted(where.service)}`
    case 'root':
      return where.name === undefined ? 'root:' : `root:${quoted(where.name)}`
    case 'minDuration':
      return `duration>=${printDurationUs(where.us)}`
    case 'maxDuration':
      return `duration<=${printDurationUs(where.us)}`
    case 'error':
      return where.error ? 'error' : '!error'
    case 'number':
      return `${quotedWord(where.key)}${where.compare}${where.number}`
    case 'annotation':
      return printCondition(where)
  }
}

function printCondition({ key, value, match }: AnnotationCondition): string {
  if (value === undefined) return `key:${quoted(key ?? '')}`
  if (key === undefined && match === 'contains') return quotedWord(value)
  return `${key === undefined ? '' : quotedWord(key)}${OPERATORS[match]}${quoted(value)}`
}

/** Quotes a value if it needs quotes. A value follows an operator, so only spaces and closing parentheses end it. */
export function quoted(text: string): string {
  return text === '' || /[\s"\\]/.test(text) || !isBalanced(text) ? quote(text) : text
}

/** Whether each parenthesis has its partner, so that none is taken for one around the text. */
function isBalanced(text: string): boolean {
  let depth = 0
  for (const c of text) {
    if (c === '(') depth++
    if (c === ')' && depth-- === 0) return false
  }
  return depth === 0
}

/** Quotes a word if it needs quotes: it may contain an operator, or be a word of the language. */
export function quotedWord(text: string): string {
  const items = lex(text)
  const isOne = items.length === 1 && items[0]!.kind === 'condition' && items[0]!.op === ''
  // Numbers, since `a > 5` may be meant as a comparison.
  const plain = isOne && !/^!?(error|duration)$|[*^!<>]$/.test(text) && decimalOf(text) === undefined
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
