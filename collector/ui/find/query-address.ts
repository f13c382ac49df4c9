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
const PAGE_ONLY = ['saved', 'fields', 'live']
/** How the results are shown, rather than which. */
const VIEW = ['before', 'limit', 'order']

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

/** Returns the search alone: without its order, and without the position in its results. */
export function searchOnly(params: URLSearchParams): string {
  const query = new URLSearchParams(apiQuery(params))
  for (const name of VIEW) query.delete(name)
  return query.toString()
}

export type Order = 'newest' | 'longest' | 'errors'

export function orderOf(params: URLSearchParams): Order {
  const order = params.get('order')
  return order === 'longest' || order === 'errors' ? order : 'newest'
}

/** Returns the search as it is saved, with its order; an empty string if it asks for nothing but the newest traces. */
export function savedQuery(params: URLSearchParams): string {
  const query = new URLSearchParams(searchOnly(params))
  const order = orderOf(params)
  if (order !== 'newest') query.set('order', order)
  return query.toString()
}

/** Returns a search's address with the order and the live tail of another. */
export function withView(address: string, params: URLSearchParams): string {
  const [path, query = ''] = address.split('?')
  const kept = new URLSearchParams(query)
  for (const name of ['order', 'live']) if (params.get(name)) kept.set(name, params.get(name)!)
  return kept.size === 0 ? path! : `${path}?${kept}`
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

/**
 * Writes the times of a search in the viewer's zone, as the box and the fields show them. withZones converts them back: of an hour that
 * comes twice in autumn, the second has its zone.
 */
export function inViewersZone(text: string): string {
  let local = text
  for (const { word, op, value } of lex(text).reverse()) {
    if (op !== ':' || value === undefined || (word.text !== 'from' && word.text !== 'to')) continue
    const time = localIsoTime(value.text)
    if (time !== value.text) local = local.slice(0, value.from) + time + local.slice(value.to)
  }
  return local
}

/** Converts an absolute time to an ISO time in the viewer's zone; returns any other string unchanged. */
export function localIsoTime(text: string): string {
  const time = parseTime(text)
  if (time === undefined || !('atUs' in time) || time.atUs >= FAR_US) return text
  const date = new Date(Math.floor(time.atUs / 1000))
  const offset = -date.getTimezoneOffset()
  const shifted = time.atUs + offset * 60e6
  if (shifted < 0) return text
  // The digits of a time in UTC that is as late as it is here.
  const local = printTime({ atUs: shifted }).slice(0, -1)
  const back = parseTime(zonedTime(local))
  if (back !== undefined && 'atUs' in back && back.atUs === time.atUs) return local.replace(/(T\d\d:\d\d):00$/, '$1')
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0')
  return `${local}${offset < 0 ? '-' : '+'}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`
}

/** The year 9000: later years have no ISO time that is read back. */
const FAR_US = 221_845_392_000_000_000

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
