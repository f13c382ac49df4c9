import { useEffect, useState } from 'preact/hooks'

/**
 * All addresses that the page writes are relative to its base, which the collector says: a proxy may have put it under any
 * path. A place's own path begins with a slash, wherever that is.
 *
 * The address is where all state lives that a link should restore. What changes with every key or wheel event (the selected
 * span, the zoom) replaces it; browsers bound how often a page may, so those are written when they have settled.
 */
export interface Address {
  path: string
  query: URLSearchParams
}

const SETTLED_MS = 250

let current: Address =
  typeof location === 'undefined' ? { path: '/', query: new URLSearchParams() } : read(location.href)
let waiting: ReturnType<typeof setTimeout> | undefined
const listeners = new Set<() => void>()

function read(href: string): Address {
  const { pathname, searchParams } = new URL(href, document.baseURI)
  const base = basePath()
  // Not below its base is a page that was asked for without the base path; a slash alone is missing where it is the base path.
  const path = pathname.startsWith(base) ? pathname.slice(base.length - 1) : `${pathname}/` === base ? '/' : pathname
  return { path, query: searchParams }
}

/** With a slash at its end. */
function basePath(): string {
  return new URL('.', document.baseURI).pathname
}

export function currentAddress(): Address {
  return current
}

export function hrefOf({ path, query }: Address): string {
  const place = path.slice(1) || './'
  return query.size === 0 ? place : `${place}?${query}`
}

export function navigate(href: string, { replace = false } = {}): void {
  if (!replace) {
    writeNow()
    history.pushState(null, '', href)
  } else {
    clearTimeout(waiting)
    waiting = setTimeout(writeNow, SETTLED_MS)
  }
  current = read(href)
  for (const listener of listeners) listener()
}

/** Sets or, with null, removes parameters of the present address, which they replace. */
export function setQuery(changes: Record<string, string | null>, options = { replace: true }): void {
  const query = new URLSearchParams(current.query)
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) query.delete(name)
    else query.set(name, value)
  }
  navigate(hrefOf({ path: current.path, query }), options)
}

function writeNow(): void {
  if (waiting === undefined) return
  clearTimeout(waiting)
  waiting = undefined
  history.replaceState(null, '', hrefOf(current))
}

export function useAddress(): Address {
  const [address, setAddress] = useState(current)
  useEffect(() => {
    const update = () => setAddress(current)
    listeners.add(update)
    update()
    return () => {
      listeners.delete(update)
    }
  }, [])
  return address
}

/** Follows the browser's back and forward, and plain clicks on our own links, which then load no page. */
export function watchAddress(): () => void {
  const onPopState = () => {
    clearTimeout(waiting)
    waiting = undefined
    current = read(location.href)
    for (const listener of listeners) listener()
  }
  addEventListener('popstate', onPopState)
  addEventListener('pagehide', writeNow)
  document.addEventListener('click', followLink)
  return () => {
    removeEventListener('popstate', onPopState)
    removeEventListener('pagehide', writeNow)
    document.removeEventListener('click', followLink)
  }
}

function followLink(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
  const link = event.target instanceof Element ? event.target.closest('a') : null
  if (link === null || link.origin !== location.origin || link.target !== '' || link.hasAttribute('download')) return
  const base = basePath()
  if (!link.pathname.startsWith(base) || link.pathname.startsWith(`${base}api/`)) return
  event.preventDefault()
  navigate(link.href)
}
