import { useCallback, useEffect, useState } from 'preact/hooks'
import { askJson } from './ask'
import { token } from './credentials'
import type { Problem } from './problem'

export type Loading<T> = {
  /** Asks again; meanwhile nothing is shown. */
  again(): void
  /** Asks again; what is shown stays until the answer has come. */
  refresh(): void
} & ({ state: 'loading' } | { state: 'ready'; value: T } | { state: 'failed'; problem: Problem })

/** Loads JSON from the collector, again whenever `url` changes. With null it loads nothing. */
export function useJson<T>(url: string | null): Loading<T> {
  return useLoading(url, signal => requestJson<T>(url!, { signal }))
}

/** Loads what takes several requests, again whenever `key` changes. With null it loads nothing. @param load throws a Problem */
export function useLoading<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Loading<T> {
  const [answer, setAnswer] = useState<{ key: string; loading: Loading<T> } | null>(null)
  const [attempt, setAttempt] = useState(0)
  const again = useCallback(() => {
    setAnswer(null)
    setAttempt(n => n + 1)
  }, [])
  const refresh = useCallback(() => setAttempt(n => n + 1), [])
  useEffect(() => {
    if (key === null) return
    const aborter = new AbortController()
    load(aborter.signal).then(
      value => {
        if (!aborter.signal.aborted) setAnswer({ key, loading: { state: 'ready', value, again, refresh } })
      },
      (problem: Problem) => {
        if (!aborter.signal.aborted) setAnswer({ key, loading: { state: 'failed', problem, again, refresh } })
      },
    )
    return () => aborter.abort()
  }, [key, attempt])
  return answer !== null && answer.key === key ? answer.loading : { state: 'loading', again, refresh }
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
