import { type Item, lex, type Piece } from './lexer'
import type { AnnotationCondition, Match, Query, Time } from './model'
import { DURATION_REMEDY, parseDurationUs, parseTime, TIME_REMEDY } from './units'

export interface Parsed {
  /** What could be made of it, without what has a problem. */
  query: Query
  problems: Problem[]
}

/** Why a stretch of the text means nothing, with the remedy. */
export interface Problem {
  at: number
  length: number
  message: string
}

export const MATCHES: Record<string, Match> = { '=': 'exact', '^=': 'prefix', '*=': 'contains' }

/** Returns the stretch of the text that has a problem, shortened, and what is wrong with it. */
export function describeProblem(text: string, { at, length, message }: Problem): string {
  const stretch = text.slice(at, at + length)
  return `${JSON.stringify(stretch.length > 80 ? `${stretch.slice(0, 80)}…` : stretch)}: ${message}`
}

/** Never throws. */
export function parse(text: string): Parsed {
  const query: Query = { annotations: [] }
  const problems: Problem[] = []
  for (const item of lex(text)) {
    const message = take(query, item)
    if (message !== undefined) problems.push({ at: item.from, length: item.to - item.from, message })
  }
  const { from, to, minDurationUs, maxDurationUs } = query
  const whole = (message: string) => problems.push({ at: 0, length: text.length, message })
  if (minDurationUs !== undefined && maxDurationUs !== undefined && minDurationUs > maxDurationUs) {
    whole('no duration is that long and that short: swap < and >')
  }
  if (from !== undefined && to !== undefined && endsBefore(from, to))
    whole('the time ends before it begins: swap from and to')
  return { query, problems }
}

/** @returns what is wrong */
function take(query: Query, { word, op, value }: Item): string | undefined {
  const open = value ?? word
  if (open.open) return 'a quote has no end: put " behind it'
  if (op === '') return takeWord(query, word)
  const given = value!
  const missing = given.text === '' && !given.quoted
  switch (op) {
    case ':':
      return missing ? `${word.text}: what? give it behind the colon` : takeField(query, word.text, given.text)
    case 'last': {
      const agoUs = parseDurationUs(given.text)
      if (agoUs === undefined) return `last how long? ${DURATION_REMEDY}; for the word itself: "last"`
      return takeTime(query, 'from', { agoUs })
    }
    case '>':
    case '>=':
    case '<':
    case '<=':
      return takeDuration(query, op, given)
    default: {
      if (missing) return `${word.text}${op} what? give a value, or "" for an empty one`
      const key = word.from === word.to ? {} : { key: word.text }
      query.annotations.push({ ...key, value: given.text, match: MATCHES[op]! })
    }
  }
}

function takeWord(query: Query, { text, quoted }: Piece): string | undefined {
  if (!quoted && (text === 'error' || text === '!error')) {
    if (query.error !== undefined) return 'error is said twice: once is enough'
    query.error = text === 'error'
  } else if (!quoted && text === 'duration') {
    return 'duration is compared: duration>50ms, duration<=2s; for the word itself: "duration"'
  } else {
    query.annotations.push({ value: text, match: 'contains' })
  }
}

function takeField(query: Query, field: string, value: string): string | undefined {
  if (field === 'from' || field === 'to') {
    const time = parseTime(value)
    return time === undefined ? `${field} is no time: ${TIME_REMEDY}` : takeTime(query, field, time)
  }
  if (field === 'key') query.annotations.push({ key: value, match: 'exact' })
  else {
    const which = field as 'name' | 'service'
    if (query[which] !== undefined) return `a span has one ${which}: give it once`
    query[which] = value
  }
}

function takeTime(query: Query, which: 'from' | 'to', time: Time): string | undefined {
  if (query[which] !== undefined)
    return `where the time ${which === 'from' ? 'begins' : 'ends'} is said twice: say it once`
  query[which] = time
}

function takeDuration(query: Query, op: '>' | '>=' | '<' | '<=', { text }: Piece): string | undefined {
  const us = parseDurationUs(text)
  if (us === undefined) return `duration${op} what? ${DURATION_REMEDY}`
  const which = op[0] === '>' ? 'minDurationUs' : 'maxDurationUs'
  if (query[which] !== undefined) return `duration${op[0]} is said twice: say it once`
  // Durations are whole microseconds.
  const bound = op === '>' ? us + 1 : op === '<' ? us - 1 : us
  if (bound < 0 || !Number.isSafeInteger(bound)) return `no duration is ${op} ${text}: give another`
  query[which] = bound
}

function endsBefore(from: Time, to: Time): boolean {
  if ('atUs' in from) return 'atUs' in to && to.atUs < from.atUs
  return 'agoUs' in to && to.agoUs > from.agoUs
}

/**
 * One condition as addresses have it, without quotes: `key`, or `key=value`, `key^=value`, `key*=value`; without a key, of
 * any. A key that holds `=` can't be said so.
 */
export function parseAnnotation(text: string): AnnotationCondition {
  const at = text.indexOf('=')
  if (at === -1) return { key: text, match: 'exact' }
  const op = text[at - 1] === '^' || text[at - 1] === '*' ? text.slice(at - 1, at + 1) : '='
  const key = text.slice(0, at + 1 - op.length)
  return { ...(key === '' ? {} : { key }), value: text.slice(at + 1), match: MATCHES[op]! }
}
