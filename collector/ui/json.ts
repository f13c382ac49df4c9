import { useCallback, useEffect, useState } from 'preact/hooks'

export type Loading<T> =
  | { state: 'loading' }
  | { state: 'ready'; value: T }
  | { state: 'failed'; problem: Problem; retry: () => void }

export interface Problem {
  /** The collector's status; 0 when it didn't answer. */
  status: number
  message: string
}

/** What the collector answers at `url`; asks again when the address changes. */
export function useJson<T>(url: string): Loading<T> {
  const [answer, setAnswer] = useState<{ url: string; loading: Loading<T> } | null>(null)
  const [attempt, setAttempt] = useState(0)
  const retry = useCallback(() => {
    setAnswer(null)
    setAttempt(n => n + 1)
  }, [])
  useEffect(() => {
    const aborter = new AbortController()
    getJson<T>(url, aborter.signal).then(
      value => setAnswer({ url, loading: { state: 'ready', value } }),
      (problem: Problem) => {
        if (!aborter.signal.aborted) setAnswer({ url, loading: { state: 'failed', problem, retry } })
      },
    )
    return () => aborter.abort()
  }, [url, attempt, retry])
  return answer?.url === url ? answer.loading : { state: 'loading' }
}

async function getJson<T>(url: string, signal: AbortSignal): Promise<T> {
  let response: Response
  try {
    response = await fetch(url, { signal, headers: { accept: 'application/json' } })
  } catch {
    throw {
      status: 0,
      message: `The collector at ${location.host} didn't answer. Is it still running?`,
    } satisfies Problem
  }
  const body = await response.json().catch(() => undefined)
  if (response.ok && body !== undefined) return body
  const said = body?.error
  const message =
    typeof said === 'string' ? sentence(said) : `The collector answered ${response.status} without a reason.`
  throw { status: response.status, message } satisfies Problem
}

/** The collector's errors start small, as they also stand within others. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? '' : '.'}`
}
