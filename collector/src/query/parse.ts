import { type Item, lex, type Piece } from './lexer'
import type { AnnotationCondition, Match, Query, Time } from './model'
import { DURATION_REMEDY, parseDurationUs, parseTime, TIME_REMEDY } from './units'

export interface Parsed {
  /** The conditions that were understood. */
  query: Query
  problems: Problem[]
}

/** A part of the query that can't be understood. */
export interface Problem {
  /** The part's position in the text. */
  at: number
  length: number
  /** The problem and its remedy. */
  message: string
}

const MATCHES: Record<string, Match> = { '=': 'exact', '^=': 'prefix', '*=': 'contains' }

/** Returns a message that quotes the part of the query that has the problem, shortened. */
export function describeProblem(text: string, { at, length, message }: Problem): string {
  const stretch = text.slice(at, at + length)
  return `${JSON.stringify(stretch.length > 80 ? `${stretch.slice(0, 80)}…` : stretch)}: ${message}`
}

/** Parses a query. It never throws: parts that can't be understood are in `problems`. */
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
    whole('the minimum duration is greater than the maximum: swap < and >')
  }
  if (from !== undefined && to !== undefined && endsBefore(from, to))
    whole('the time range ends before it starts: swap from and to')
  return { query, problems }
}

/** Adds an item to the query. @returns the problem, if there is one */
function take(query: Query, { word, op, value }: Item): string | undefined {
  const open = value ?? word
  if (open.open) return 'a quote is not closed: add "'
  if (op === '') return takeWord(query, word)
  const given = value!
  const missing = given.text === '' && !given.quoted
  switch (op) {
    case ':':
      return missing ? `${word.text}: has no value: give it after the colon` : takeField(query, word.text, given.text)
    case 'last': {
      const agoUs = parseDurationUs(given.text)
      if (agoUs === undefined)
        return `last needs a duration: ${DURATION_REMEDY}; to search for the word, write "last" in quotes`
      return takeTime(query, 'from', { agoUs })
    }
    case '>':
    case '>=':
    case '<':
    case '<=':
      return takeDuration(query, op, given)
    default: {
      if (missing) return `${word.text}${op} has no value: give one, or "" for an empty value`
      const key = word.from === word.to ? {} : { key: word.text }
      query.annotations.push({ ...key, value: given.text, match: MATCHES[op]! })
    }
  }
}

function takeWord(query: Query, { text, quoted }: Piece): string | undefined {
  if (!quoted && (text === 'error' || text === '!error')) {
    if (query.error !== undefined) return 'error is given twice: give it once'
    query.error = text === 'error'
  } else if (!quoted && text === 'duration') {
    return 'duration needs a comparison, such as duration>50ms or duration<=2s; to search for the word, write "duration" in quotes'
  } else {
    query.annotations.push({ value: text, match: 'contains' })
  }
}

function takeField(query: Query, field: string, value: string): string | undefined {
  if (field === 'from' || field === 'to') {
    const time = parseTime(value)
    return time === undefined ? `${field} is not a time: ${TIME_REMEDY}` : takeTime(query, field, time)
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
    return `the ${which === 'from' ? 'start' : 'end'} of the time range is given twice: give it once`
  query[which] = time
}

function takeDuration(query: Query, op: '>' | '>=' | '<' | '<=', { text }: Piece): string | undefined {
  const us = parseDurationUs(text)
  if (us === undefined) return `duration${op} needs a duration: ${DURATION_REMEDY}`
  const which = op[0] === '>' ? 'minDurationUs' : 'maxDurationUs'
  if (query[which] !== undefined) return `duration${op[0]} is given twice: give it once`
  // Durations are whole microseconds.
  const bound = op === '>' ? us + 1 : op === '<' ? us - 1 : us
  if (bound < 0 || !Number.isSafeInteger(bound)) return `no duration can be ${op} ${text}: give another one`
  query[which] = bound
}

function endsBefore(from: Time, to: Time): boolean {
  if ('atUs' in from) return 'atUs' in to && to.atUs < from.atUs
  return 'agoUs' in to && to.agoUs > from.agoUs
}

/**
 * Reads a condition in the form that URLs use, without quotes: `key`, `key=value`, `key^=value` or `key*=value`. Without a
 * key, the value may belong to any key. A key that contains `=` can't be written this way.
 */
export function parseAnnotation(text: string): AnnotationCondition {
  const at = text.indexOf('=')
  if (at === -1) return { key: text, match: 'exact' }
  const op = text[at - 1] === '^' || text[at - 1] === '*' ? text.slice(at - 1, at + 1) : '='
  const key = text.slice(0, at + 1 - op.length)
  return { ...(key === '' ? {} : { key }), value: text.slice(at + 1), match: MATCHES[op]! }
}
