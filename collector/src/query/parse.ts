import { hasFewAlternatives } from './alternatives'
import { type Item, lex, type Piece } from './lexer'
import {
  type AnnotationCondition,
  allOf,
  anyOf,
  type Comparison,
  type Condition,
  countConditions,
  decimalOf,
  MAX_ALTERNATIVES,
  MAX_CONDITIONS,
  type Match,
  type Query,
  type SpanQuery,
  type Time,
  type Where,
} from './model'
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
const MAX_DEPTH = 32

/** Returns a message that quotes the part of the query that has the problem, shortened. */
export function describeProblem(text: string, { at, length, message }: Problem): string {
  const stretch = text.slice(at, at + length)
  return `${JSON.stringify(stretch.length > 80 ? `${stretch.slice(0, 80)}…` : stretch)}: ${message}`
}

/** Parses a query. It never throws: parts that can't be understood are in `problems`. */
export function parse(text: string): Parsed {
  const { query, problems } = new Parser(lex(text)).read()
  const whole = (message: string) => problems.push({ at: 0, length: text.length, message })
  for (const { minDurationUs, maxDurationUs } of spansOf(query)) {
    if (minDurationUs !== undefined && maxDurationUs !== undefined && minDurationUs > maxDurationUs)
      whole('the minimum duration is greater than the maximum: swap < and >')
  }
  const { from, to } = query
  if (from !== undefined && to !== undefined && endsBefore(from, to))
    whole('the time range ends before it starts: swap from and to')
  const count = countConditions(query)
  if ((query.where !== undefined || query.above !== undefined) && count > MAX_CONDITIONS)
    whole(`the search has ${count} conditions: give at most ${MAX_CONDITIONS}`)
  else if (!hasFewAlternatives(query))
    whole(`the search has more than ${MAX_ALTERNATIVES} alternatives when written without parentheses: give fewer`)
  return { query, problems }
}

function* spansOf(query: SpanQuery): Generator<SpanQuery, void> {
  for (let span: SpanQuery | undefined = query; span !== undefined; span = span.above?.span) yield span
}

/**
 * Reads the items by recursive descent:
 *
 *     query        span { ">" | ">>" span }
 *     span         alternative { OR alternative }
 *     alternative  part { [AND] part }
 *     part         NOT part | "(" span ")" | condition
 *
 * A time range is one of the whole query, among whichever parts it stands, but not within parentheses.
 */
class Parser {
  private readonly items: Item[]
  private readonly problems: Problem[] = []
  private readonly times: Pick<Query, 'from' | 'to'> = {}
  private at = 0
  private depth = 0
  /** Whether the reader knows already that the text ends too early. */
  private hasEnded = false

  constructor(items: Item[]) {
    this.items = items
  }

  read(): Parsed {
    let begin = 0
    let spans = 1
    let query = fieldsOf(this.span())
    for (let link = this.items[this.at]; link !== undefined; link = this.items[this.at]) {
      if (spans++ === MAX_CONDITIONS) {
        this.problem(link, `joins more than ${MAX_CONDITIONS} spans: give fewer`)
        break
      }
      const before = this.items.slice(begin, this.at++)
      begin = this.at
      const span = fieldsOf(this.span())
      this.checkLink(before, link, this.items.slice(begin, this.at))
      query = { ...span, above: { at: link.kind === '>' ? 'parent' : 'anywhere', span: query } }
    }
    return { query: { ...query, ...this.times }, problems: this.problems }
  }

  private checkLink(before: Item[], link: Item, after: Item[]): void {
    const [left] = before.filter(isPart)
    const [right] = after.filter(isPart)
    if (left === undefined || right === undefined) {
      this.problem(link, `needs conditions on both sides, such as service:shop ${link.kind} error; ${QUOTES}`)
    } else if (before.length === 1 && isWord(left) && isWord(right) && decimalOf(right.word.text) !== undefined) {
      const compared = `${left.word.text}${link.kind}${right.word.text}`
      this.problem(
        link,
        `write ${compared} without spaces to compare numbers; to search for a number, put it in quotes`,
      )
    }
  }

  private span(): Where | undefined {
    const first = this.alternative()
    let or = this.items[this.at]
    if (or?.kind !== 'OR') return first.condition
    const alternatives = [first]
    for (; or?.kind === 'OR'; or = this.items[this.at]) {
      this.at++
      alternatives.push(this.alternative())
      if (alternatives.slice(-2).some(({ parts }) => parts === 0))
        this.problem(or, `needs a condition on both sides; ${QUOTES}`)
    }
    return anyOf(alternatives.flatMap(({ condition }) => condition ?? []))
  }

  /** Reads what all must be met, and counts its parts, also those that aren't understood. */
  private alternative(): { condition: Where | undefined; parts: number } {
    const conditions: Where[] = []
    let parts = 0
    for (let item = this.items[this.at]; item !== undefined && item.kind !== 'OR'; item = this.items[this.at]) {
      if (isPart(item)) {
        parts++
        this.add(conditions, item, this.part(item))
        continue
      }
      if (item.kind === 'AND') {
        const next = this.items[this.at + 1]
        if (parts === 0 || next === undefined || !isPart(next))
          this.problem(item, `needs a condition on both sides; ${QUOTES}`)
      } else if (item.kind === ')') {
        if (this.depth > 0) break
        this.problem(item, `closes no parenthesis: remove it; ${QUOTES}`)
      } else if (item.kind === '>' || item.kind === '>>') {
        if (this.depth === 0) break
        this.problem(
          item,
          `can't stand within parentheses: it joins conditions on one span to those on another; ${QUOTES}`,
        )
      } else {
        this.takeTime(item)
      }
      this.at++
    }
    return { condition: allOf(conditions), parts }
  }

  /** Adds a part's conditions to those of which all must be met. */
  private add(conditions: Where[], item: Item, part: Where | undefined): void {
    for (const condition of part?.kind === 'all' ? part.of : [part ?? []].flat()) {
      const given = ONCE[condition.kind]
      const isTwice = given !== undefined && conditions.some(({ kind }) => kind === condition.kind)
      if (isTwice) this.problem(item, given)
      else conditions.push(condition)
    }
  }

  private part(first: Item): Where | undefined {
    let item: Item | undefined = first
    let isNegated = false
    for (; item?.kind === 'NOT'; item = this.items[this.at]) {
      isNegated = !isNegated
      this.at++
    }
    if (item === undefined || !isPart(item)) {
      const isTime = item?.kind === 'condition'
      this.problem(
        first,
        isTime ? "a time range can't be negated: give another one" : `needs a condition after it; ${QUOTES}`,
      )
      // The time range has been dealt with.
      if (isTime) this.at++
      return undefined
    }
    this.at++
    const condition = item.kind === '(' ? this.within(item) : this.take(item)
    return isNegated ? negationOf(condition) : condition
  }

  /** Reads what is within parentheses. */
  private within(open: Item): Where | undefined {
    if (this.depth === MAX_DEPTH) {
      this.problem(open, `parentheses are nested more than ${MAX_DEPTH} deep: use fewer`)
      this.at = this.items.length
      this.hasEnded = true
      return undefined
    }
    this.depth++
    const begin = this.at
    const condition = this.span()
    this.depth--
    const close = this.items[this.at]
    if (close !== undefined) {
      if (this.at === begin) this.problem(open, `has nothing within it: give a condition; ${QUOTES}`)
      this.at++
    } else if (!this.hasEnded) {
      this.hasEnded = true
      this.problem(open, 'is not closed: add ), or put it in quotes')
    }
    return condition
  }

  private problem({ from, to }: Item, message: string): void {
    this.problems.push({ at: from, length: to - from, message })
  }

  private take(item: Item): Where | undefined {
    const condition = conditionOf(item)
    if (typeof condition !== 'string') return condition
    this.problem(item, condition)
    return undefined
  }

  private takeTime(item: Item): void {
    const time = timeOf(item)
    const [which] = Object.keys(time) as ['from' | 'to']
    if (typeof time === 'string') this.problem(item, time)
    else if (this.depth > 0) this.problem(item, "a time range can't stand within parentheses: put it behind them")
    else if (this.times[which] === undefined) Object.assign(this.times, time)
    else this.problem(item, `the ${which === 'from' ? 'start' : 'end'} of the time range is given twice: give it once`)
  }
}

const QUOTES = 'to search for it, put it in quotes'

/** Of what a span has one, or a condition one bound. */
const ONCE: { [kind in Where['kind']]?: string } = {
  name: 'a span has one name: give it once',
  service: 'a span has one service: give it once',
  error: 'error is given twice: give it once',
  minDuration: 'duration> is given twice: give it once',
  maxDuration: 'duration< is given twice: give it once',
}

/** Whether a part begins with the item. */
function isPart(item: Item): boolean {
  return item.kind === 'NOT' || item.kind === '(' || (item.kind === 'condition' && !isTime(item))
}

function isTime({ op, word }: Item): boolean {
  return op === 'last' || (op === ':' && (word.text === 'from' || word.text === 'to'))
}

function isWord({ kind, op, word }: Item): boolean {
  return kind === 'condition' && op === '' && !word.quoted
}

function negationOf(condition: Where | undefined): Where | undefined {
  if (condition === undefined) return undefined
  if (condition.kind === 'not') return condition.of
  return condition.kind === 'error' ? { kind: 'error', error: !condition.error } : { kind: 'not', of: condition }
}

/** Returns the query whose fields have as much of the condition as they can. */
function fieldsOf(condition: Where | undefined): SpanQuery {
  const query: SpanQuery = { annotations: [] }
  const others: Where[] = []
  for (const part of condition?.kind === 'all' ? condition.of : [condition ?? []].flat()) {
    if (part.kind === 'name') query.name = part.name
    else if (part.kind === 'service') query.service = part.service
    else if (part.kind === 'minDuration') query.minDurationUs = part.us
    else if (part.kind === 'maxDuration') query.maxDurationUs = part.us
    else if (part.kind === 'error') query.error = part.error
    else if (part.kind === 'annotation') {
      const { kind, ...annotation } = part
      query.annotations.push(annotation)
    } else others.push(part)
  }
  const where = allOf(others)
  if (where !== undefined) query.where = where
  return query
}

/** @returns the problem, if there is one */
function conditionOf({ word, op, value }: Item): Condition | string {
  const given = value ?? word
  if (given.open) return 'a quote is not closed: add "'
  const missing = given.text === '' && !given.quoted
  switch (op) {
    case '':
      return ofWord(word)
    case ':':
      return ofField(word.text, given.text, missing)
    case '>':
    case '>=':
    case '<':
    case '<=':
      return !word.quoted && word.text === 'duration' ? ofDuration(op, given) : ofNumber(word.text, op, given.text)
    default: {
      if (!word.quoted && op === '=' && word.text.endsWith('!')) {
        const condition = `NOT ${word.text.slice(0, -1)}=${given.text}`
        return `write ${condition} for what isn't so; for a key that ends in !, put the key in quotes`
      }
      if (op === '=' && !word.quoted && /[<>]$/.test(word.text)) return word.text.length > 1 ? NO_NUMBER : COMPARE
      if (missing) return `${word.text}${op} has no value: give one, or "" for an empty value`
      const key = word.from === word.to ? {} : { key: word.text }
      return { kind: 'annotation', ...key, value: given.text, match: MATCHES[op]! }
    }
  }
}

const NO_NUMBER = 'a comparison needs a number, such as status>=500; for a key that ends so, put the key in quotes'
const COMPARE = 'write a comparison without spaces, such as status>=500; to search for the character, put it in quotes'

function ofWord({ text, quoted }: Piece): Condition | string {
  if (!quoted) {
    if (text === 'error' || text === '!error') return { kind: 'error', error: text === 'error' }
    if (text === 'duration')
      return 'duration needs a comparison, such as duration>50ms or duration<=2s; to search for the word, write "duration" in quotes'
    if (text === '<') return COMPARE
  }
  return { kind: 'annotation', value: text, match: 'contains' }
}

function ofField(field: string, value: string, missing: boolean): Condition | string {
  if (field === 'root') return missing ? { kind: 'root' } : { kind: 'root', name: value }
  if (missing) return `${field}: has no value: give it after the colon`
  if (field === 'key') return { kind: 'annotation', key: value, match: 'exact' }
  return field === 'name' ? { kind: 'name', name: value } : { kind: 'service', service: value }
}

function ofNumber(key: string, compare: Comparison, text: string): Condition | string {
  const number = decimalOf(text)
  return number === undefined
    ? `${text} is too large to be compared: give a smaller number`
    : { kind: 'number', key, compare, number }
}

function ofDuration(op: Comparison, { text }: Piece): Condition | string {
  const us = parseDurationUs(text)
  if (us === undefined) return `duration${op} needs a duration: ${DURATION_REMEDY}`
  // Durations are whole microseconds.
  const bound = op === '>' ? us + 1 : op === '<' ? us - 1 : us
  if (bound < 0 || !Number.isSafeInteger(bound)) return `no duration can be ${op} ${text}: give another one`
  return { kind: op[0] === '>' ? 'minDuration' : 'maxDuration', us: bound }
}

function timeOf({ word, op, value }: Item): { from: Time } | { to: Time } | string {
  const { text, open, quoted } = value!
  if (open) return 'a quote is not closed: add "'
  if (op === 'last') {
    const agoUs = parseDurationUs(text)
    return agoUs === undefined
      ? `last needs a duration: ${DURATION_REMEDY}; to search for the word, write "last" in quotes`
      : { from: { agoUs } }
  }
  if (text === '' && !quoted) return `${word.text}: has no value: give it after the colon`
  const time = parseTime(text)
  if (time === undefined) return `${word.text} is not a time: ${TIME_REMEDY}`
  return word.text === 'from' ? { from: time } : { to: time }
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
