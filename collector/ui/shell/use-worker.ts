import { useCallback, useEffect, useState } from 'preact/hooks'
import type { Failed } from './answer-with'

export type Answer<A> =
  | { state: 'loading' }
  | { state: 'ready'; value: A }
  | { state: 'failed'; message: string; again(): void }

const LOADING = { state: 'loading' } as const

/** A worker that needs longer hangs, or died without an event. */
const DEADLINE_MS = 60_000

/**
 * Sends one question to a new worker and returns its answer, or the reason why there is none, however the worker ends.
 * @param question must be the same object while the question is the same
 */
export function useWorker<A>(start: () => Worker, question: unknown): Answer<A> {
  const [{ of, answer }, setState] = useState<{ of: unknown; answer: Answer<A> }>({ of: question, answer: LOADING })
  const [attempt, setAttempt] = useState(0)
  const again = useCallback(() => setAttempt(n => n + 1), [])
  useEffect(() => {
    const setAnswer = (answer: Answer<A>) => setState({ of: question, answer })
    setAnswer(LOADING)
    const fail = (message: string) => {
      end()
      setAnswer({ state: 'failed', message, again })
    }
    const worker = start()
    const timer = setTimeout(() => fail(`The worker took more than ${DEADLINE_MS / 1000} seconds.`), DEADLINE_MS)
    const end = () => {
      clearTimeout(timer)
      worker.terminate()
    }
    worker.onmessage = ({ data }: MessageEvent<A | Failed>) => {
      if (typeof data === 'object' && data !== null && 'failed' in data) return fail(data.failed)
      end()
      setAnswer({ state: 'ready', value: data as A })
    }
    worker.onerror = event => fail(event.message || "A part of the page couldn't be loaded.")
    worker.onmessageerror = () => fail("The worker's answer couldn't be read.")
    worker.postMessage(question)
    return end
  }, [question, attempt])
  // The answer to another question isn't shown, not even until the effect has run.
  return of === question ? answer : LOADING
}
