import { useEffect, useState } from 'preact/hooks'

/**
 * All addresses that the page writes are relative to its base, which the collector sets: a proxy may serve the page under any
 * path. The path of an Address begins with a slash and is relative to that base.
 *
 * The address holds all state that a link should restore. State that changes with every key or wheel event (the selected span,
 * the zoom) replaces the current history entry. Browsers limit how often a page may do that, so such changes are written with a
 * delay.
 */
export interface Address {
  path: string
  query: URLSearchParams
}

const WRITE_DELAY_MS = 250

let current: Address =
  typeof location === 'undefined' ? { path: '/', query: new URLSearchParams() } : read(location.href)
let waiting: ReturnType<typeof setTimeout> | undefined
const listeners = new Set<() => void>()

function read(href: string): Address {
  const { pathname, searchParams } = new URL(href, document.baseURI)
  const base = basePath()
  // A path outside the base was requested without the base path. The base path itself may lack its last slash.
  const path = pathname.startsWith(base) ? pathname.slice(base.length - 1) : `${pathname}/` === base ? '/' : pathname
  return { path, query: searchParams }
}

/** Returns the base path, with a slash at its end. */
function basePath(): string {
  return new URL('.', document.baseURI).pathname
}

export function currentAddress(): Address {
  return current
}

export function hrefOf({ path, query }: Address): string {
  const relative = path.slice(1) || './'
  return query.size === 0 ? relative : `${relative}?${query}`
}

export function navigate(href: string, { replace = false } = {}): void {
  if (!replace) {
    writeNow()
    history.pushState(null, '', href)
  } else {
    clearTimeout(waiting)
    waiting = setTimeout(writeNow, WRITE_DELAY_MS)
  }
  current = read(href)
  for (const listener of listeners) listener()
}

/** Sets parameters of the current address, or removes those that are null. Replaces the history entry by default. */
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

/** Handles the browser's back and forward buttons, and plain clicks on links within the app, so that they load no page. */
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
