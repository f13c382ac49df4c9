import type { AnalysedRoot, AnalysedWindow } from '../../src/http/answers'
import type { Query } from '../../src/query'
import { absolute, searchIn } from '../range/range'
import { hrefOf } from '../shell/address'

/** Addresses of the page Analysis, of its requests to the API, and of searches for the traces that it is about. */

export const VIEWS = {
  paths: 'Critical paths',
  regression: 'Regression',
  strange: 'Slow and strange',
  instrumentation: 'Instrumentation',
  edges: 'Calls',
} as const
export type View = keyof typeof VIEWS

export function viewOf(query: URLSearchParams): View {
  const view = query.get('view') ?? ''
  return Object.hasOwn(VIEWS, view) ? (view as View) : 'paths'
}

/** What an address keeps when another view, window or root operation is chosen. */
const KEPT = ['window', 'view', 'rootService', 'rootName', 'before', 'band', 'as']

/** Returns the page's address with changes; null removes a parameter. */
export function analysisHref(query: URLSearchParams, changes: Record<string, string | null>): string {
  const next = new URLSearchParams([...query].filter(([name]) => KEPT.includes(name)))
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) next.delete(name)
    else next.set(name, value)
  }
  return hrefOf({ path: '/analysis', query: next })
}

/** The root operation of an address; undefined if it has none. A service that isn't known is left out. */
export function rootOf(query: URLSearchParams): AnalysedRoot | undefined {
  const name = query.get('rootName')
  return name === null ? undefined : { service: query.get('rootService'), name }
}

export function rootParams(root: AnalysedRoot): Record<'rootService' | 'rootName', string | null> {
  return { rootService: root.service, rootName: root.name }
}

export function sameRoot(a: AnalysedRoot, b: AnalysedRoot): boolean {
  return a.name === b.name && a.service === b.service
}

/** Returns the address of a request to the API. */
export function analysisApi(path: string, params: Record<string, string>, root?: AnalysedRoot): string {
  const given = Object.entries(root === undefined ? {} : rootParams(root)).filter(([, value]) => value !== null)
  return `api/analysis/${path}?${new URLSearchParams([...Object.entries(params), ...(given as [string, string][])])}`
}

/** Latencies in microseconds. */
export interface Latency {
  over: number
  upTo: number | null
}

/**
 * Returns a search for the traces of a window.
 * @param root what they begin with
 * @param latency how long its call took
 * @param below what it calls, directly or not
 */
export function tracesHref(
  window: Pick<AnalysedWindow, 'from' | 'to'>,
  root: AnalysedRoot,
  latency?: Latency,
  below?: AnalysedRoot,
): string {
  const top: Query = { ...conditionsOf(root), ...durations(latency) }
  const query = below === undefined ? top : { ...conditionsOf(below), above: { at: 'anywhere' as const, span: top } }
  return searchIn(absolute(window), query)
}

function conditionsOf({ service, name }: AnalysedRoot): Query {
  return { annotations: [], ...(service && { service }), ...(name && { name }) }
}

function durations({ over, upTo }: Latency = { over: 0, upTo: null }): Query {
  return {
    annotations: [],
    ...(over > 0 && { minDurationUs: Math.floor(over) }),
    ...(upTo !== null && { maxDurationUs: Math.ceil(upTo) }),
  }
}
