import {
  type AnnotationCondition,
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
} from '../../src/query'

/**
 * A search as the address has it: `q`, in the search box's language, or a parameter for each field. They are the API's own,
 * but for what only the page knows: which saved search it is, and whether the fields are shown.
 */
export interface AskedSearch {
  query: Query
  /** In the search box's language. */
  text: string
  /** Of the text. */
  problems: Problem[]
  form: 'box' | 'fields'
}

const FIELDS = ['name', 'service', 'key', 'value', 'match', 'min_duration', 'max_duration', 'error', 'from', 'to']
const OURS = ['saved', 'fields']
const PLACE = ['before', 'limit']

export function readAsked(params: URLSearchParams): AskedSearch {
  const q = params.get('q')
  const byFields = FIELDS.some(name => params.has(name)) || params.has('annotation')
  const form = params.has('fields') || byFields ? 'fields' : 'box'
  if (q !== null) return { ...parse(q), text: q, form: params.has('fields') ? 'fields' : 'box' }
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

/** What the API is asked. */
export function apiQuery(params: URLSearchParams): string {
  const query = new URLSearchParams(params)
  for (const name of OURS) query.delete(name)
  for (const [name, value] of [...query]) if (value === '') query.delete(name)
  return query.toString()
}

/** The search alone, without the place in its results: what is saved. */
export function searchOnly(params: URLSearchParams): string {
  const query = new URLSearchParams(apiQuery(params))
  for (const name of PLACE) query.delete(name)
  return query.toString()
}

export function searchAddress(query: URLSearchParams | string): string {
  const text = String(query)
  return text === '' ? 'search' : `search?${text}`
}

/**
 * What somebody typed into the search box, with a zone for each time that has none: it is meant in the viewer's zone, as
 * the page shows times, while the same address must mean the same to everybody.
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

/** A time without a zone as an ISO time in UTC; anything else as it is. */
export function zonedTime(text: string): string {
  const parts = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d+)?)?$/i.exec(text)
  if (parts === null || parseTime(text) === undefined) return text
  const [, day, minutes = '00:00', seconds = ':00', fraction = ''] = parts
  return `${new Date(`${day}T${minutes}${seconds}`).toISOString().slice(0, 19)}${fraction}Z`
}

export function boxAddress(text: string): string {
  return text.trim() === '' ? 'search' : searchAddress(new URLSearchParams({ q: text.trim() }))
}

/** The same search with other conditions, in the form in which it was asked. */
export function changedAddress({ form }: AskedSearch, query: Query): string {
  return form === 'fields' ? (fieldsAddress(query) ?? boxAddress(print(query))) : boxAddress(print(query))
}

/** By fields; undefined for what these can't say. */
export function fieldsAddress(query: Query): string | undefined {
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

/** Each condition by itself, in the box's language, with the search that is left without it. */
export function conditionsOf(query: Query): { text: string; without: Query }[] {
  const { annotations, ...rest } = query
  const alone = (part: Partial<Query>): string => print({ annotations: [], ...part })
  const parts: { text: string; without: Query }[] = (Object.keys(rest) as (keyof typeof rest)[]).map(key => {
    const { [key]: value, ...left } = rest
    return { text: alone({ [key]: value }), without: { ...left, annotations } }
  })
  annotations.forEach((condition: AnnotationCondition, i) => {
    parts.push({
      text: alone({ annotations: [condition] }),
      without: { ...rest, annotations: annotations.filter((_, other) => other !== i) },
    })
  })
  return parts
}
