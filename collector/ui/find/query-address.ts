import {
  type AnnotationCondition,
  allOf,
  isFlat,
  lex,
  type Match,
  type Problem,
  parse,
  parseAnnotation,
  parseDurationUs,
  parseTime,
  print,
  printAnnotation,
  printDurationUs,
  printTime,
  type Query,
  type Where,
} from '../../src/query'

/**
 * The search in the page's address: `q` in the search box's language, or a parameter for each field. The parameters are those
 * of the API, and two that only the page knows: the id of the saved search, and whether to show the fields.
 */
export interface AskedSearch {
  query: Query
  /** The query in the search box's language. */
  text: string
  /** Problems in `text`. */
  problems: Problem[]
  form: 'box' | 'fields'
}

const FIELDS = ['name', 'service', 'key', 'value', 'match', 'min_duration', 'max_duration', 'error', 'from', 'to']
const PAGE_ONLY = ['saved', 'fields']
const PAGING = ['before', 'limit']

export function readAsked(params: URLSearchParams): AskedSearch {
  const q = params.get('q')
  const byFields = FIELDS.some(name => params.has(name)) || params.has('annotation')
  const form = params.has('fields') || byFields ? 'fields' : 'box'
  if (q !== null) {
    const parsed = parse(q)
    return { ...parsed, text: q, form: params.has('fields') && isFlat(parsed.query) ? 'fields' : 'box' }
  }
  const query = readFields(params)
  return { query, text: print(query), problems: [], form }
}

function readFields(params: URLSearchParams): Query {
  const get = (name: string) => params.get(name) || undefined
  const query: Query = { annotations: params.getAll('annotation').map(parseAnnotation) }
  const [name, service, key, value] = [get('name'), get('service'), get('key'), get('value')]
  if (name !== undefined) query.name = name
  if (service !== undefined) query.service = service
  if (key !== undefined || value !== undefined) {
    const match = value === undefined ? 'exact' : ((get('match') ?? 'exact') as Match)
    query.annotations.unshift({
      ...(key === undefined ? {} : { key }),
      ...(value === undefined ? {} : { value }),
      match,
    })
  }
  const min = parseDurationUs(get('min_duration') ?? '', true)
  const max = parseDurationUs(get('max_duration') ?? '', true)
  if (min !== undefined) query.minDurationUs = min
  if (max !== undefined) query.maxDurationUs = max
  if (params.has('error')) query.error = get('error') === 'true'
  const from = parseTime(get('from') ?? '')
  const to = parseTime(get('to') ?? '')
  if (from !== undefined) query.from = from
  if (to !== undefined) query.to = to
  return query
}

/** Returns the query string for the API. */
export function apiQuery(params: URLSearchParams): string {
  const query = new URLSearchParams(params)
  for (const name of PAGE_ONLY) query.delete(name)
  for (const [name, value] of [...query]) if (value === '') query.delete(name)
  return query.toString()
}

/** Returns the search without the position in its results, as it is saved. */
export function searchOnly(params: URLSearchParams): string {
  const query = new URLSearchParams(apiQuery(params))
  for (const name of PAGING) query.delete(name)
  return query.toString()
}

export function searchAddress(query: URLSearchParams | string): string {
  const text = String(query)
  return text === '' ? 'search' : `search?${text}`
}

/**
 * Adds a zone to each time in the search box that has none. Users type times in their own zone, as the page shows them, but an
 * address must mean the same for everyone.
 */
export function withZones(text: string): string {
  let zoned = text
  for (const { word, op, value } of lex(text).reverse()) {
    if (op !== ':' || value === undefined || (word.text !== 'from' && word.text !== 'to')) continue
    const time = zonedTime(value.text)
    if (time !== value.text) zoned = zoned.slice(0, value.from) + time + zoned.slice(value.to)
  }
  return zoned
}

/** Converts a local time without a zone to an ISO time in UTC; returns any other string unchanged. */
export function zonedTime(text: string): string {
  const parts = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d+)?)?$/i.exec(text)
  if (parts === null || parseTime(text) === undefined) return text
  const [, day, minutes = '00:00', seconds = ':00', fraction = ''] = parts
  return `${new Date(`${day}T${minutes}${seconds}`).toISOString().slice(0, 19)}${fraction}Z`
}

export function boxAddress(text: string): string {
  return text.trim() === '' ? 'search' : searchAddress(new URLSearchParams({ q: text.trim() }))
}

/** Returns the address of a search with other conditions, as box or fields like the original search. */
export function changedAddress({ form }: AskedSearch, query: Query): string {
  return form === 'fields' ? (fieldsAddress(query) ?? boxAddress(print(query))) : boxAddress(print(query))
}

/** Returns the address of a search by fields; undefined if the fields can't express the query. */
export function fieldsAddress(query: Query): string | undefined {
  if (!isFlat(query)) return undefined
  const { name, service, annotations, minDurationUs, maxDurationUs, error, from, to } = query
  const params = new URLSearchParams()
  const put = (key: string, value: string | undefined) => {
    if (value !== undefined && value !== '') params.set(key, value)
  }
  put('name', name)
  put('service', service)
  const [first, ...others] = annotations
  if (first !== undefined) {
    if (first.value === '' || first.key === '') return undefined
    put('key', first.key)
    put('value', first.value)
    if (first.match !== 'exact') put('match', first.match)
  }
  for (const other of others) {
    const text = printAnnotation(other)
    if (text === undefined) return undefined
    params.append('annotation', text)
  }
  put('min_duration', minDurationUs === undefined ? undefined : printDurationUs(minDurationUs))
  put('max_duration', maxDurationUs === undefined ? undefined : printDurationUs(maxDurationUs))
  put('error', error === undefined ? undefined : String(error))
  put('from', from === undefined ? undefined : printTime(from))
  put('to', to === undefined ? undefined : printTime(to))
  params.set('fields', '1')
  return searchAddress(params)
}

/** Lists each condition in the box's language, together with the query without it. */
export function conditionsOf(query: Query): { text: string; without: Query }[] {
  const { annotations, where, above, ...rest } = query
  const alone = (part: Partial<Query>): string => print({ annotations: [], ...part })
  const parts: { text: string; without: Query }[] = (Object.keys(rest) as (keyof typeof rest)[]).map(key => {
    const { [key]: _, ...others } = query
    return { text: alone({ [key]: rest[key] }), without: others as Query }
  })
  annotations.forEach((condition: AnnotationCondition, i) => {
    parts.push({
      text: alone({ annotations: [condition] }),
      without: { ...query, annotations: annotations.filter((_, other) => other !== i) },
    })
  })
  const others = where?.kind === 'all' ? where.of : [where ?? []].flat()
  others.forEach((condition: Where, i) => {
    const { where: _, ...without } = query
    const left = allOf(others.filter((_, other) => other !== i))
    parts.push({ text: alone({ where: condition }), without: { ...without, ...(left && { where: left }) } })
  })
  if (above !== undefined) {
    const { above: _, ...without } = query
    parts.push({ text: `${print(above.span)} ${above.at === 'parent' ? '>' : '>>'}`, without })
  }
  // What is below another span needs a condition.
  return parts.filter(({ without }) => parse(print(without)).problems.length === 0)
}
