import { useEffect, useRef, useState } from 'preact/hooks'
import type { SearchAnswer } from '../../src/http/answers'
import type { TraceSummary } from '../../src/trace'
import { requestJson } from '../shell/json'
import type { Problem } from '../shell/problem'

/** A list of traces that grows at its top. */
export interface LiveList {
  traces: TraceSummary[]
  /** New ones that wait, since they would move what the viewer reads. */
  held: TraceSummary[]
}

export interface LiveTail extends LiveList {
  /** Puts those that wait on top. */
  show(): void
  /** Why the collector didn't answer last time; it is asked again. */
  problem: Problem | null
}

const EVERY_MS = 3000
const MAX_TRACES = 200

/**
 * Asks a search again and again while the page is in sight.
 * @param url of the search's newest page; null while the tail is switched off
 * @param first the traces to begin with
 * @param isReading whether new traces have to wait
 */
export function useLiveTail(url: string | null, first: TraceSummary[], isReading: () => boolean): LiveTail {
  const [grown, setGrown] = useState<LiveList & { first: TraceSummary[] }>({ first, traces: first, held: [] })
  const [problem, setProblem] = useState<Problem | null>(null)
  // Another search begins anew.
  const list = grown.first === first ? grown : { traces: first, held: [] }
  const latest = useRef({ first, isReading })
  latest.current = { first, isReading }
  const grow = (answer: TraceSummary[], hold: boolean) =>
    setGrown(grown => {
      const { first } = latest.current
      return { first, ...withNew(grown.first === first ? grown : { traces: first, held: [] }, answer, hold) }
    })
  useEffect(() => {
    if (url === null) return
    const aborter = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let isAsking = false
    const ask = async () => {
      timer = undefined
      if (document.hidden || isAsking) return
      isAsking = true
      try {
        const { traces } = await requestJson<SearchAnswer>(url, { signal: aborter.signal })
        grow(traces, latest.current.isReading())
        setProblem(null)
      } catch (problem) {
        if (aborter.signal.aborted) return
        setProblem(problem as Problem)
      } finally {
        isAsking = false
      }
      if (!aborter.signal.aborted) timer = setTimeout(ask, EVERY_MS)
    }
    const onSight = () => {
      if (!document.hidden && timer === undefined) timer = setTimeout(ask)
    }
    timer = setTimeout(ask, EVERY_MS)
    document.addEventListener('visibilitychange', onSight)
    return () => {
      aborter.abort()
      clearTimeout(timer)
      setProblem(null)
      document.removeEventListener('visibilitychange', onSight)
    }
  }, [url])
  return { traces: list.traces, held: list.held, show: () => grow([], false), problem }
}

/** Adds the newest traces of an answer, and brings those that are in the list already up to date: spans may come later. @param hold whether the new ones wait */
export function withNew({ traces, held }: LiveList, answer: TraceSummary[], hold: boolean): LiveList {
  const latest = new Map(answer.map(trace => [trace.traceId, trace]))
  const listed = new Set([...traces, ...held].map(({ traceId }) => traceId))
  const update = (trace: TraceSummary) => latest.get(trace.traceId) ?? trace
  const waiting = [...answer.filter(({ traceId }) => !listed.has(traceId)), ...held.map(update)]
  const shown = traces.map(update)
  return hold
    ? { traces: shown, held: waiting.slice(0, MAX_TRACES) }
    : { traces: [...waiting, ...shown].slice(0, MAX_TRACES), held: [] }
}
