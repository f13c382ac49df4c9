import type { Address } from './address'

/** The page that an address leads to. */
export type Route =
  | { page: 'find' }
  | { page: 'trace'; id: string }
  | { page: 'services' }
  | { page: 'service'; service: string }
  | { page: 'graph' }
  | { page: 'changes' }
  | { page: 'difference' }

/** The collector serves the page for the paths of these; `/` and `/search` are the same page. */
export function routeOf({ path, query }: Address): Route {
  const [, page, part, ...more] = path.replace(/\/$/, '').split('/')
  if (more.length > 0) return { page: 'find' }
  if (page === 'trace' && part !== undefined) return { page, id: decoded(part) }
  if (page === 'services') {
    const service = part === undefined ? query.get('service') : decoded(part)
    return service === null ? { page } : { page: 'service', service }
  }
  if ((page === 'graph' || page === 'changes' || page === 'difference') && part === undefined) return { page }
  return { page: 'find' }
}

export function searchHref(terms: Record<string, string>): string {
  const query = new URLSearchParams(Object.entries(terms).filter(([, value]) => value !== ''))
  return query.size === 0 ? './' : `search?${query}`
}

export function traceHref(id: string, spanId?: string | null): string {
  return `trace/${encodeURIComponent(id)}${spanId ? `?span=${encodeURIComponent(spanId)}` : ''}`
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
