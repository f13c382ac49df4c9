import { useCallback, useEffect, useState } from 'preact/hooks'
import { askJson } from './ask'
import { token } from './credentials'
import type { Problem } from './problem'

export type Loading<T> = { again(): void } & (
  | { state: 'loading' }
  | { state: 'ready'; value: T }
  | { state: 'failed'; problem: Problem }
)

/** Loads JSON from the collector, again whenever `url` changes. With null it loads nothing. */
export function useJson<T>(url: string | null): Loading<T> {
  const [answer, setAnswer] = useState<{ url: string; loading: Loading<T> } | null>(null)
  const [attempt, setAttempt] = useState(0)
  const again = useCallback(() => {
    setAnswer(null)
    setAttempt(n => n + 1)
  }, [])
  useEffect(() => {
    if (url === null) return
    const aborter = new AbortController()
    requestJson<T>(url, { signal: aborter.signal }).then(
      value => setAnswer({ url, loading: { state: 'ready', value, again } }),
      (problem: Problem) => {
        if (!aborter.signal.aborted) setAnswer({ url, loading: { state: 'failed', problem, again } })
      },
    )
    return () => aborter.abort()
  }, [url, attempt, again])
  return answer !== null && answer.url === url ? answer.loading : { state: 'loading', again }
}

/** @throws Problem */
export function requestJson<T>(url: string, options?: RequestInit): Promise<T> {
  return askJson(url, token(), options)
}

/** Sends a change, with `body` as JSON. @throws Problem */
export function sendJson<T>(method: 'POST' | 'PUT' | 'DELETE', url: string, body?: unknown): Promise<T> {
  if (body === undefined) return requestJson(url, { method })
  return requestJson(url, { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
}

/** Sends a file. @throws Problem */
export function sendBody<T>(url: string, body: Blob): Promise<T> {
  return requestJson(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
}
