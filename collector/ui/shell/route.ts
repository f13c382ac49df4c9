import type { Address } from './address'

/** The page that an address leads to. */
export type Route = { page: 'find' } | { page: 'trace'; id: string } | { page: 'services' } | { page: 'difference' }

/** The collector serves the page for `/`, `/search`, `/difference`, `/services` and `/trace/{id}`; the first two are the same page. */
export function routeOf({ path }: Address): Route {
  const id = /^\/trace\/([^/]+)\/?$/.exec(path)?.[1]
  if (id !== undefined) return { page: 'trace', id: decoded(id) }
  if (/^\/difference\/?$/.test(path)) return { page: 'difference' }
  return /^\/services\/?$/.test(path) ? { page: 'services' } : { page: 'find' }
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
