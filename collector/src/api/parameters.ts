import { HttpError, quote } from '../http/errors'
import {
  type AnnotationCondition,
  DURATION_REMEDY,
  describeProblem,
  MAX_CONDITIONS,
  type Match,
  parse,
  parseAnnotation,
  parseDurationUs,
  parseTime,
  type Query,
  TIME_REMEDY,
  type Time,
  withTimes,
} from '../query'
import type { SearchQuery } from '../store/store'

/** Reads and checks the parameters of an address. Each one that is unknown or makes no sense is an error. */

export type Parameters = Record<string, string | string[] | undefined>

const DEFAULT_LIMIT = 25
const MAX_LIMIT = 1000
const PLACE = ['limit', 'before']
const CONDITIONS = ['name', 'service', 'key', 'value', 'match', 'annotation', 'min_duration', 'max_duration', 'error']
const TIMES = ['from', 'to']

/**
 * Ignores empty parameters, as forms send them.
 * @throws HttpError for a parameter that isn't in `known`, or is given twice
 */
export function readParameters<K extends string>(given: unknown, known: readonly K[]): Partial<Record<K, string>> {
  const out: Partial<Record<K, string>> = {}
  for (const [name, value] of Object.entries(given as Parameters)) {
    mustBeKnown(name, known)
    if (typeof value !== 'string')
      throw new HttpError(400, 'MILO_BAD_PARAMETER', `${name} is given twice: give it once`)
    if (value !== '') out[name as K] = value
  }
  return out
}

function mustBeKnown(name: string, known: readonly string[]): void {
  if (known.includes(name)) return
  throw new HttpError(
    400,
    'MILO_BAD_PARAMETER',
    `unknown parameter ${quote(name)}: the parameters are ${known.join(', ') || 'none'}`,
  )
}

export function readLimit(limit: string | undefined, max = MAX_LIMIT, byDefault = DEFAULT_LIMIT): number {
  if (limit === undefined) return byDefault
  const n = /^\d{1,4}$/.test(limit) ? Number(limit) : 0
  if (n < 1 || n > max) {
    throw new HttpError(400, 'MILO_BAD_LIMIT', `limit is ${quote(limit)}: give a whole number from 1 to ${max}`)
  }
  return n
}

/** Reads a search from parameters, or from `q` in the search box's language. */
export function readSearch(given: unknown, nowUs: number): SearchQuery {
  const { annotation, ...others } = given as Parameters
  const values = readParameters(others, [...CONDITIONS, ...TIMES, 'q', ...PLACE])
  const repeated = [annotation ?? []].flat().filter(text => text !== '')
  const { q, limit, before } = values
  let query: Query
  if (q === undefined) query = readConditions(values, repeated)
  else {
    const beside = [...CONDITIONS, ...TIMES].find(name => values[name] !== undefined)
    if (beside !== undefined || repeated.length > 0) {
      throw new HttpError(
        400,
        'MILO_BAD_PARAMETER',
        `${beside ?? 'annotation'} can't be combined with q: put it into q`,
      )
    }
    const parsed = parse(q)
    query = parsed.query
    const [problem] = parsed.problems
    if (problem !== undefined) {
      throw new HttpError(400, 'MILO_BAD_QUERY', `q: ${describeProblem(q, problem)}`, { problems: parsed.problems })
    }
  }
  if (query.annotations.length > MAX_CONDITIONS) {
    throw new HttpError(
      400,
      'MILO_BAD_QUERY',
      `${query.annotations.length} annotations: give at most ${MAX_CONDITIONS}`,
    )
  }
  return {
    ...withTimes(query, nowUs),
    limit: readLimit(limit),
    ...(before === undefined ? {} : { after: before }),
  }
}

function readConditions(values: Partial<Record<string, string>>, annotations: string[]): Query {
  const { name, service, key, value, match, min_duration, max_duration, error, from, to } = values
  const query: Query = { annotations: annotations.map(parseAnnotation) }
  if (name !== undefined) query.name = name
  if (service !== undefined) query.service = service
  if (key !== undefined || value !== undefined) {
    const condition: AnnotationCondition = { match: value === undefined ? 'exact' : readMatch(match) }
    if (key !== undefined) condition.key = key
    if (value !== undefined) condition.value = value
    query.annotations.push(condition)
  } else if (match !== undefined) {
    throw new HttpError(400, 'MILO_BAD_PARAMETER', 'match needs a value: give value, or remove match')
  }
  if (min_duration !== undefined) query.minDurationUs = readDuration('min_duration', min_duration)
  if (max_duration !== undefined) query.maxDurationUs = readDuration('max_duration', max_duration)
  if (error !== undefined) {
    if (error !== 'true' && error !== 'false') {
      throw new HttpError(400, 'MILO_BAD_PARAMETER', `error is ${quote(error)}: give true or false`)
    }
    query.error = error === 'true'
  }
  if (from !== undefined) query.from = readTime('from', from)
  if (to !== undefined) query.to = readTime('to', to)
  return query
}

function readMatch(match: string | undefined): Match {
  if (match === undefined) return 'exact'
  if (match === 'exact' || match === 'prefix' || match === 'contains') return match
  throw new HttpError(400, 'MILO_BAD_PARAMETER', `match is ${quote(match)}: give exact, prefix or contains`)
}

function readDuration(name: string, text: string): number {
  const us = parseDurationUs(text, true)
  if (us !== undefined) return us
  const remedy = `${DURATION_REMEDY}, or microseconds`
  throw new HttpError(400, 'MILO_BAD_DURATION', `${name} is ${quote(text)}: ${remedy}`)
}

export function readTime(name: string, text: string): Time {
  const time = parseTime(text)
  if (time !== undefined) return time
  throw new HttpError(400, 'MILO_BAD_TIME', `${name} is ${quote(text)}: ${TIME_REMEDY}`)
}
