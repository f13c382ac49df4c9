import { z } from 'zod'
import { HttpError, quote } from '../http/errors'
import {
  allOf,
  countConditions,
  DURATION_REMEDY,
  describeProblem,
  hasFewAlternatives,
  isFlat,
  MAX_ALTERNATIVES,
  MAX_CONDITIONS,
  parse,
  parseAnnotation,
  parseDurationUs,
  parseTime,
  type Query,
  TIME_REMEDY,
  type TimedQuery,
  timeUs,
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

/** A parameter that may be given several times. */
export function list(most: number, remedy: string) {
  return z
    .union([z.string(), z.array(z.string())], { error: `is missing: ${remedy}` })
    .transform(values => [values].flat())
    .refine(({ length }) => length <= most, { error: `is given more than ${most} times: ${remedy}` })
}

export const oneOf = <const V extends string>(values: readonly V[]) =>
  z.enum(values, refusal(`give ${OR.format(values)}`))

/** A string that `parse` makes something of, or refuses by returning undefined. */
export function parsed<T>(parse: (value: string) => T | undefined, remedy: string, code: string) {
  return string.refine(value => parse(value) !== undefined, refusal(remedy, code)).transform(value => parse(value)!)
}

const duration = parsed(
  value => parseDurationUs(value, true),
  `${DURATION_REMEDY}, or microseconds`,
  'MILO_BAD_DURATION',
)
type Time = NonNullable<ReturnType<typeof parseTime>>
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
 * @param mayBeEmpty names of parameters to which an empty value is one like any other
 * @throws HttpError for a parameter that the schema doesn't have or refuses, or that is given twice
 */
export function readParameters<S extends z.ZodObject>(
  schema: S,
  given: unknown,
  mayBeEmpty: readonly string[] = [],
): z.output<S> {
  const isIgnored = (name: string) => Object.hasOwn(schema.shape, name) && !mayBeEmpty.includes(name)
  const values = Object.entries(given as object).filter(([name, v]) => v !== '' || !isIgnored(name))
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

const CONDITIONS = {
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
}
type Conditions = z.output<z.ZodObject<typeof CONDITIONS>>

const SEARCH = z.strictObject({
  ...CONDITIONS,
  limit: limit(1000, 25),
  before: string.optional(),
  order: oneOf(['newest', 'longest', 'errors']).default('newest'),
})
const OVERVIEW = z.strictObject({ ...CONDITIONS, sample: limit(1000, 300) })
const ERRORS = z.strictObject({
  from: CONDITIONS.from,
  to: CONDITIONS.to,
  service: string.optional(),
  operation: string.optional(),
  type: string.optional(),
  sample: limit(2000, 400),
})

const GROUPS = z.strictObject({
  ...CONDITIONS,
  groups: oneOf(['fast-slow']).default('fast-slow'),
  rootService: string.optional(),
  rootName: string.optional(),
  sample: limit(1000, 300),
})

/** What tells the selected traces from the others: conditions on one span, as in a search, and others on the trace as a whole. */
const SELECTION = prefixed('select.', CONDITIONS)
const OF_TRACE = prefixed('trace.', {
  min_duration: duration.optional(),
  max_duration: duration.optional(),
  error: CONDITIONS.error,
  from: CONDITIONS.from,
  to: CONDITIONS.to,
})
const DIFFERENCE = z.strictObject({
  ...CONDITIONS,
  ...SELECTION,
  ...OF_TRACE,
  sample: limit(2000, 400),
  order: oneOf(['score', 'lift']).default('score'),
  limit: limit(200, 50),
})

function prefixed<P extends string, S extends z.ZodRawShape>(prefix: P, shape: S) {
  const entries = Object.entries(shape).map(([name, schema]) => [prefix + name, schema])
  return Object.fromEntries(entries) as { [K in keyof S & string as `${P}${K}`]: S[K] }
}

/** Takes the parameters with a prefix, without it. */
function withoutPrefix<T>(prefix: string, values: object): T {
  const own = Object.entries(values).filter(([name]) => name.startsWith(prefix))
  return Object.fromEntries(own.map(([name, value]) => [name.slice(prefix.length), value])) as T
}

/** Reads a search from parameters, or from `q` in the search box's language. */
export function readSearch(given: unknown, nowUs: number): SearchQuery {
  const { limit, before, order, ...conditions } = readParameters(SEARCH, given)
  if (before !== undefined && order !== 'newest') {
    throw new HttpError(400, 'MILO_BAD_PARAMETER', `before can't be combined with order=${order}, which has one page`)
  }
  const query = queryOf(conditions)
  return { ...withTimes(query, nowUs), limit, ...(before !== undefined && { after: before }) }
}

/** Reads the order of a search's traces. */
export function readOrder(given: unknown): 'newest' | 'longest' | 'errors' {
  return readParameters(SEARCH, given).order
}

/** Reads a search, and how many of its traces are shown. */
export function readOverview(given: unknown, nowUs: number): { query: TimedQuery; sample: number } {
  const { sample, ...conditions } = readParameters(OVERVIEW, given)
  const query = withTimes(queryOf(conditions), nowUs)
  if (query.fromUs !== undefined) checkRange(query.fromUs, query.toUs ?? nowUs)
  return { query, sample }
}

export interface ErrorsQuery extends Pick<z.output<typeof ERRORS>, 'service' | 'operation' | 'type' | 'sample'> {
  fromUs: number
  toUs: number
}

/** Reads which errors are asked for: by default those of the last hour. */
export function readErrors(given: unknown, nowUs: number): ErrorsQuery {
  return readRange(readParameters(ERRORS, given), nowUs)
}

/** Puts times into the place of a range as people give it: by default the last hour. */
export function readRange<P extends { from?: Time | undefined; to?: Time | undefined }>(given: P, nowUs: number) {
  const { from, to, ...others } = given
  const toUs = to === undefined ? nowUs : timeUs(to, nowUs)
  const fromUs = from === undefined ? toUs - HOUR_US : timeUs(from, nowUs)
  checkRange(fromUs, toUs)
  return { ...others, fromUs, toUs }
}

function checkRange(fromUs: number, toUs: number): void {
  if (!(fromUs < toUs)) throw new HttpError(400, 'MILO_BAD_PARAMETER', 'from is not before to: give an earlier from')
}

/** Conditions on a trace as a whole, as lists of traces show it. Times are microseconds since the epoch, all are inclusive. */
export interface TraceConditions {
  minDurationUs?: number
  maxDurationUs?: number
  error?: boolean
  fromUs?: number
  toUs?: number
}

export interface DifferenceQuery {
  fromUs: number
  toUs: number
  /** What all traces are found by. */
  base: TimedQuery
  /** What the selected ones are found by: all of `base`, and what is selected, on one and the same span. */
  selected: TimedQuery
  /** What only the selection asks for. */
  select: TimedQuery
  trace: TraceConditions
  sample: number
  order: 'score' | 'lift'
  limit: number
}

const HOUR_US = 3600e6

/** Reads a search, and what is selected of its traces. Without times, the search takes the last hour. */
export function readDifference(given: unknown, nowUs: number): DifferenceQuery {
  const { sample, order, limit, ...values } = readParameters(DIFFERENCE, given)
  const own = Object.entries(values).filter(([name]) => !/^(select|trace)\./.test(name))
  const { base, fromUs, toUs } = rangedQuery(Object.fromEntries(own) as Conditions, nowUs)
  const select = withTimes(queryOf(withoutPrefix<Conditions>('select.', values), 'select.'), nowUs)
  const { min_duration, max_duration, error, from, to } = withoutPrefix<Partial<Conditions>>('trace.', values)
  const trace: TraceConditions = {
    ...(min_duration !== undefined && { minDurationUs: min_duration }),
    ...(max_duration !== undefined && { maxDurationUs: max_duration }),
    ...(error !== undefined && { error }),
    ...(from && { fromUs: timeUs(from, nowUs) }),
    ...(to && { toUs: timeUs(to, nowUs) }),
  }
  if (Object.keys({ ...select, ...trace }).length === 1 && select.annotations.length === 0) {
    const remedy = 'give a parameter that begins with select. or trace., such as trace.min_duration=50ms'
    throw new HttpError(400, 'MILO_NOTHING_SELECTED', `nothing is selected: ${remedy}`)
  }
  return { fromUs, toUs, base, selected: bothOf(base, select), select, trace, sample, order, limit }
}

/** Returns a query for spans that meet both queries. */
function bothOf(a: TimedQuery, b: TimedQuery): TimedQuery {
  const both: TimedQuery = { ...a, ...b, annotations: [...a.annotations, ...b.annotations] }
  if (a.where !== undefined && b.where !== undefined) both.where = allOf([a.where, b.where])!
  if (a.above !== undefined && b.above !== undefined) {
    const message = "select.q: the search says what is above the span, so the selection can't: use > in one of them"
    throw new HttpError(400, 'MILO_BAD_QUERY', message)
  }
  checkCount(both)
  for (const what of ['name', 'service', 'error'] as const) {
    if (a[what] === undefined || b[what] === undefined || a[what] === b[what]) continue
    const message = `the search has ${what} ${quote(String(a[what]))}, so a span with ${quote(String(b[what]))} can't be selected`
    throw new HttpError(400, 'MILO_BAD_PARAMETER', `select.${what}: ${message}: leave one out`)
  }
  for (const [what, closer] of [
    ['minDurationUs', Math.max],
    ['fromUs', Math.max],
    ['maxDurationUs', Math.min],
    ['toUs', Math.min],
  ] as const) {
    if (a[what] !== undefined && b[what] !== undefined) both[what] = closer(a[what], b[what])
  }
  return both
}

export interface GroupsQuery {
  fromUs: number
  toUs: number
  base: TimedQuery
  /** What the compared traces begin with; the most frequent operation if it isn't given. Either may be empty for what has no name. */
  root: { service: string; name: string } | undefined
  sample: number
}

/** Reads a search whose fast and slow traces are compared. Without times, it takes the last hour. */
export function readGroups(given: unknown, nowUs: number): GroupsQuery {
  const {
    groups: _,
    rootService,
    rootName,
    sample,
    ...conditions
  } = readParameters(GROUPS, given, ['rootService', 'rootName'])
  const { base, fromUs, toUs } = rangedQuery(conditions, nowUs)
  const hasRoot = rootService !== undefined || rootName !== undefined
  const root = hasRoot ? { service: rootService ?? '', name: rootName ?? '' } : undefined
  return { fromUs, toUs, base, root, sample }
}

/** Returns a search with both ends of its time range; without one, it takes the last hour. */
function rangedQuery(conditions: Conditions, nowUs: number): { base: TimedQuery; fromUs: number; toUs: number } {
  const query = withTimes(queryOf(conditions), nowUs)
  const { toUs = nowUs } = query
  const { fromUs = toUs - HOUR_US } = query
  checkRange(fromUs, toUs)
  return { base: { ...query, fromUs, toUs }, fromUs, toUs }
}

/** @param prefix of the parameters, for messages */
function queryOf({ q, ...conditions }: Conditions, prefix = ''): Query {
  const { key, value, match, annotation, min_duration, max_duration, ...others } = conditions
  const bad = (name: string, message: string) => new HttpError(400, 'MILO_BAD_PARAMETER', `${prefix}${name} ${message}`)
  if (q !== undefined) {
    const { annotation: list, ...single } = conditions
    const beside = [
      ...Object.entries(single).flatMap(([name, value]) => (value === undefined ? [] : [name])),
      ...list.map(() => 'annotation'),
    ][0]
    if (beside !== undefined) throw bad(beside, `can't be combined with ${prefix}q: put it into ${prefix}q`)
  }
  if (match !== undefined && key === undefined && value === undefined) {
    throw bad('match', `needs a value: give ${prefix}value, or remove ${prefix}match`)
  }
  const query: Query = q === undefined ? { ...others, annotations: [...annotation] } : parseQuery(q, prefix)
  if (key !== undefined || value !== undefined) {
    query.annotations.push({
      ...(key !== undefined && { key }),
      ...(value !== undefined && { value }),
      match: (value !== undefined && match) || 'exact',
    })
  }
  if (min_duration !== undefined) query.minDurationUs = min_duration
  if (max_duration !== undefined) query.maxDurationUs = max_duration
  checkCount(query)
  return query
}

/** @throws HttpError if a search has too many conditions or alternatives */
export function checkCount(query: TimedQuery | Query): void {
  const count = countConditions(query)
  if (count > MAX_CONDITIONS) {
    const what = isFlat(query) ? 'annotations' : 'conditions'
    throw new HttpError(400, 'MILO_BAD_QUERY', `${count} ${what}: give at most ${MAX_CONDITIONS}`)
  }
  if (hasFewAlternatives(query)) return
  const message = `more than ${MAX_ALTERNATIVES} alternatives, written without parentheses: give fewer`
  throw new HttpError(400, 'MILO_BAD_QUERY', message)
}

function parseQuery(q: string, prefix: string): Query {
  const { query, problems } = parse(q)
  const [problem] = problems
  if (problem === undefined) return query
  throw new HttpError(400, 'MILO_BAD_QUERY', `${prefix}q: ${describeProblem(q, problem)}`, { problems })
}
