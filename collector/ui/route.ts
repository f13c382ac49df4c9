import { useEffect, useState } from 'preact/hooks'

/** Where the viewer is. Everything that a link should restore stands in the address. */
export type Route = { page: 'find'; query: SearchTerms } | { page: 'trace'; id: string; spanId: string | null }

export interface SearchTerms {
  name: string
  key: string
  value: string
  /** The API's opaque `next`: go on after that result. Empty for the newest. */
  before: string
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parse(location))
  useEffect(() => {
    const update = () => setRoute(parse(location))
    addEventListener('popstate', update)
    document.addEventListener('click', followLink)
    return () => {
      removeEventListener('popstate', update)
      document.removeEventListener('click', followLink)
    }
  }, [])
  return route
}

export function navigate(href: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, '', href)
  else history.pushState(null, '', href)
  dispatchEvent(new PopStateEvent('popstate'))
}

export function findHref(terms: Partial<SearchTerms>): string {
  const query = new URLSearchParams(Object.entries(terms).filter(([, value]) => value !== ''))
  return query.size === 0 ? '/' : `/?${query}`
}

export function traceHref(id: string, spanId?: string | null): string {
  return `/trace/${encodeURIComponent(id)}${spanId ? `?span=${encodeURIComponent(spanId)}` : ''}`
}

/** The collector serves the page for `/`, `/search` and `/trace/{id}`; the first two are one. */
function parse({ pathname, search }: Location): Route {
  const query = new URLSearchParams(search)
  const get = (key: string) => query.get(key) ?? ''
  const id = /^\/trace\/([^/]+)\/?$/.exec(pathname)?.[1]
  if (id !== undefined) return { page: 'trace', id: decoded(id), spanId: query.get('span') }
  return { page: 'find', query: { name: get('name'), key: get('key'), value: get('value'), before: get('before') } }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

/** Plain clicks on our own links change the address without loading the page again. */
function followLink(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
  const link = event.target instanceof Element ? event.target.closest('a') : null
  if (link === null || link.origin !== location.origin || link.target !== '' || link.pathname.startsWith('/api/'))
    return
  event.preventDefault()
  navigate(link.href)
}
