import { useCallback, useEffect, useState } from 'preact/hooks'
import type { Failed } from './answer-with'

export type Answer<A> =
  | { state: 'loading' }
  | { state: 'ready'; value: A }
  | { state: 'failed'; message: string; again(): void }

/** A worker that needs longer has lost its way, or died without a word. */
const DEADLINE_MS = 60_000

/**
 * One question to a worker of its own, and its answer, or why there is none: each way in which a worker ends gives one.
 * @param question the same object as long as it is the same question
 */
export function useWorker<A>(start: () => Worker, question: unknown): Answer<A> {
  const [answer, setAnswer] = useState<Answer<A>>({ state: 'loading' })
  const [attempt, setAttempt] = useState(0)
  const again = useCallback(() => setAttempt(n => n + 1), [])
  useEffect(() => {
    setAnswer({ state: 'loading' })
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
  return answer
}
