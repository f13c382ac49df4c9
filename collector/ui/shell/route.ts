import type { Address } from './address'

/** The page that an address leads to. */
export type Route =
  | { page: 'find' }
  | { page: 'trace'; id: string }
  | { page: 'services' }
  | { page: 'service'; service: string }
  | { page: 'graph' }
  | { page: 'analysis' }
  | { page: 'changes' }
  | { page: 'kept' }
  | { page: 'errors' }
  | { page: 'difference' }
  | { page: 'compare' }
  | { page: 'upload' }
  /** No page has this address. */
  | { page: 'missing' }

/** The collector serves the page for the paths of these, and for wrong ones; `/` and `/search` are the same page. */
export function routeOf({ path, query }: Address): Route {
  const [, page = '', part, ...more] = path.replace(/\/$/, '').split('/')
  if (more.length > 0) return { page: 'missing' }
  if (page === 'trace' && part !== undefined) return { page, id: decoded(part) }
  if (page === 'services') {
    const service = part === undefined ? query.get('service') : decoded(part)
    return service === null ? { page } : { page: 'service', service }
  }
  if (part !== undefined) return { page: 'missing' }
  switch (page) {
    case '':
    case 'search':
    case 'index.html':
      return { page: 'find' }
    case 'dependencies':
      // As Zipkin and Jaeger call it.
      return { page: 'graph' }
    case 'analysis':
    case 'graph':
    case 'changes':
    case 'kept':
    case 'errors':
    case 'difference':
    case 'compare':
    case 'upload':
      return { page }
    default:
      return { page: 'missing' }
  }
}

export function searchHref(terms: Record<string, string>): string {
  const query = new URLSearchParams(Object.entries(terms).filter(([, value]) => value !== ''))
  return query.size === 0 ? './' : `search?${query}`
}

export function traceHref(id: string, spanId?: string | null): string {
  return `trace/${encodeURIComponent(id)}${spanId ? `?span=${encodeURIComponent(spanId)}` : ''}`
}

/** Returns the absolute address of a trace's JSON: a worker has another base. */
export function traceApi(id: string): string {
  return new URL(`api/traces/${encodeURIComponent(id)}`, document.baseURI).href
}

/** What the page Compare lays over each other: `a` and `b`, or `a` and a typical trace; by `a` alone it offers traces. */
export function compareHref(traces: { a: string; b?: string; with?: 'typical' }): string {
  return `compare?${new URLSearchParams(traces)}`
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
