import { z } from 'zod'
import { HttpError, quote } from '../http/errors'
import {
  DURATION_REMEDY,
  describeProblem,
  MAX_CONDITIONS,
  parse,
  parseAnnotation,
  parseDurationUs,
  parseTime,
  type Query,
  TIME_REMEDY,
  withTimes,
} from '../query'
import type { SearchQuery } from '../store/store'

/**
 * Reads addresses and bodies by schemas. Whatever is unknown or makes no sense is an error. A schema's messages follow the name
 * of the parameter.
 */

const OR = new Intl.ListFormat('en-GB', { type: 'disjunction' })

/** Options of a check on a required or optional string. The error gives the value and the remedy. */
export function refusal(remedy: string, code?: string) {
  const error = ({ input }: { input?: unknown }) => {
    if (input === undefined) return `is missing: ${remedy}`
    return typeof input === 'string' ? `is ${quote(input)}: ${remedy}` : 'is given twice: give it once'
  }
  return { error, params: { code } }
}

export const string = z.string(refusal('give it'))
export const oneOf = <const V extends string>(values: readonly V[]) =>
  z.enum(values, refusal(`give ${OR.format(values)}`))

/** A string that `parse` makes something of, or refuses by returning undefined. */
function parsed<T>(parse: (value: string) => T | undefined, remedy: string, code: string) {
  return string.refine(value => parse(value) !== undefined, refusal(remedy, code)).transform(value => parse(value)!)
}

const duration = parsed(
  value => parseDurationUs(value, true),
  `${DURATION_REMEDY}, or microseconds`,
  'MILO_BAD_DURATION',
)
export const time = parsed(parseTime, TIME_REMEDY, 'MILO_BAD_TIME')

export function limit(max: number, byDefault: number) {
  const read = (value: string) => {
    const n = /^\d{1,4}$/.test(value) ? Number(value) : 0
    return n >= 1 && n <= max ? n : undefined
  }
  return parsed(read, `give a whole number from 1 to ${max}`, 'MILO_BAD_LIMIT').default(byDefault)
}

/**
 * Ignores empty parameters, as forms send them.
 * @throws HttpError for a parameter that the schema doesn't have or refuses, or that is given twice
 */
export function readParameters<S extends z.ZodObject>(schema: S, given: unknown): z.output<S> {
  const values = Object.entries(given as object).filter(([name, v]) => v !== '' || !Object.hasOwn(schema.shape, name))
  return read(schema, Object.fromEntries(values), 'parameter', 'MILO_BAD_PARAMETER')
}

/** @throws HttpError for a field that the schema doesn't have or refuses */
export function readBody<S extends z.ZodObject>(schema: S, body: unknown): z.output<S> {
  return read(schema, body, 'field', 'MILO_BAD_BODY')
}

function read<S extends z.ZodObject>(schema: S, input: unknown, what: string, code: string): z.output<S> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  for (const issue of result.error.issues) {
    if (issue.code !== 'unrecognized_keys') continue
    const known = Object.keys(schema.shape).join(', ') || 'none'
    throw new HttpError(400, code, `unknown ${what} ${quote(issue.keys[0]!)}: the ${what}s are ${known}`)
  }
  const issue = result.error.issues[0] as z.core.$ZodIssueCustom
  throw new HttpError(400, issue.params?.code ?? code, [...issue.path, issue.message].join(' '))
}

const SEARCH = z
  .strictObject({
    name: string.optional(),
    service: string.optional(),
    key: string.optional(),
    value: string.optional(),
    match: oneOf(['exact', 'prefix', 'contains']).optional(),
    annotation: z
      .union([z.string(), z.array(z.string())])
      .transform(values => [values].flat().filter(Boolean).map(parseAnnotation))
      .default([]),
    min_duration: duration.optional(),
    max_duration: duration.optional(),
    error: oneOf(['true', 'false'])
      .transform(value => value === 'true')
      .optional(),
    from: time.optional(),
    to: time.optional(),
    q: string.optional(),
    limit: limit(1000, 25),
    before: string.optional(),
  })
  .check(({ value: { q, limit, before, annotation, ...conditions }, issues }) => {
    const beside = [...Object.keys(conditions), ...annotation.map(() => 'annotation')][0]
    if (q === undefined || beside === undefined) return
    issues.push({ code: 'custom', input: q, path: [beside], message: "can't be combined with q: put it into q" })
  })
  .refine(({ match, key, value }) => match === undefined || (key ?? value) !== undefined, {
    error: 'match needs a value: give value, or remove match',
  })

/** Reads a search from parameters, or from `q` in the search box's language. */
export function readSearch(given: unknown, nowUs: number): SearchQuery {
  const { q, limit, before, ...conditions } = readParameters(SEARCH, given)
  const query = q === undefined ? queryOf(conditions) : parseQuery(q)
  if (query.annotations.length > MAX_CONDITIONS) {
    throw new HttpError(
      400,
      'MILO_BAD_QUERY',
      `${query.annotations.length} annotations: give at most ${MAX_CONDITIONS}`,
    )
  }
  return { ...withTimes(query, nowUs), limit, ...(before !== undefined && { after: before }) }
}

function queryOf(conditions: Omit<z.output<typeof SEARCH>, 'q' | 'limit' | 'before'>): Query {
  const { key, value, match, annotation, min_duration, max_duration, ...others } = conditions
  const query: Query = { ...others, annotations: annotation }
  if (key !== undefined || value !== undefined) {
    query.annotations.push({
      ...(key !== undefined && { key }),
      ...(value !== undefined && { value }),
      match: (value !== undefined && match) || 'exact',
    })
  }
  if (min_duration !== undefined) query.minDurationUs = min_duration
  if (max_duration !== undefined) query.maxDurationUs = max_duration
  return query
}

function parseQuery(q: string): Query {
  const { query, problems } = parse(q)
  const [problem] = problems
  if (problem === undefined) return query
  throw new HttpError(400, 'MILO_BAD_QUERY', `q: ${describeProblem(q, problem)}`, { problems })
}
