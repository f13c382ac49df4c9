import { useEffect, useState } from 'preact/hooks'
import type { TraceSpan } from '../../src/trace'
import { token } from '../shell/credentials'
import type { Problem } from '../shell/problem'
import { traceApi } from '../shell/route'
import { append, type Columns, emptyColumns, type TraceHead } from './columns'
import type { Message, Request } from './trace-worker'
import { deriveTree, type Tree } from './tree'

/** A trace on the page: all of it, or the part that has arrived. */
export interface LoadedTrace {
  head: TraceHead
  columns: Columns
  tree: Tree
  /** How many spans the trace will have; null while that isn't known. */
  expected: number | null
  complete: boolean
  /** Fetches one span with all its fields. */
  span(index: number): Promise<TraceSpan>
  /** Finds the indexes of spans that contain all words of the text. */
  find(text: string): Promise<Int32Array>
}

export type TraceLoading =
  | { state: 'loading' }
  | { state: 'failed'; problem: Problem; retry: () => void }
  | { state: 'ready'; trace: LoadedTrace }

/** How often the page shows the spans that have arrived. */
const SHOW_MS = 150

/** Loads a trace in a worker and returns it while it arrives. */
export function useTrace(id: string): TraceLoading {
  const [loading, setLoading] = useState<TraceLoading>({ state: 'loading' })
  const [attempt, setAttempt] = useState(0)
  useEffect(() => {
    setLoading({ state: 'loading' })
    const retry = () => setAttempt(n => n + 1)
    return loadTrace(traceApi(id), {
      onTrace: trace => setLoading({ state: 'ready', trace }),
      onFailure: problem => setLoading({ state: 'failed', problem, retry }),
    })
  }, [id, attempt])
  return loading
}

interface Watcher {
  /** Called repeatedly until the trace is complete. */
  onTrace(trace: LoadedTrace): void
  onFailure(problem: Problem): void
}

interface Started {
  url: string
  worker: Worker
  /** Messages that arrived before anyone listened. */
  early: Message[]
}

const DIED: Message = {
  type: 'failed',
  problem: {
    status: 0,
    message: "A part of the page couldn't be loaded, or the trace is too large for this browser. Reload the page.",
  },
}

let ahead: Started | undefined

/** Starts to load a trace while the code of the trace page is still loading. */
export function loadTraceAhead(id: string): void {
  ahead = start(traceApi(id))
}

function start(url: string): Started {
  const worker = new Worker(new URL('./trace-worker.ts', import.meta.url), { type: 'module' })
  const early: Message[] = []
  worker.onmessage = ({ data }) => early.push(data)
  worker.onerror = worker.onmessageerror = () => early.push(DIED)
  worker.postMessage({ type: 'load', url, token: token() } satisfies Request)
  return { url, worker, early }
}

/** @returns a function that ends the worker; the trace can't be asked for spans afterwards */
function loadTrace(url: string, { onTrace, onFailure }: Watcher): () => void {
  const { worker, early } = ahead?.url === url ? ahead : start(url)
  ahead = undefined
  const columns = emptyColumns(4096)
  const calls = new Map<number, (answer: never) => void>()
  let lastCall = 0
  let head: TraceHead | undefined
  let shownAt = 0
  const send = (request: Request) => worker.postMessage(request)
  const call = <T>(request: (call: number) => Request) =>
    new Promise<T>(resolve => {
      calls.set(++lastCall, resolve as (answer: never) => void)
      send(request(lastCall))
    })
  const show = (complete: boolean) => {
    shownAt = performance.now()
    onTrace({
      head: head!,
      columns,
      tree: deriveTree(columns),
      expected: complete ? columns.count : expectedSpans(head!),
      complete,
      span: span => call(call => ({ type: 'span', call, span })),
      find: text => call(call => ({ type: 'find', call, text })),
    })
  }
  const take = (data: Message) => {
    switch (data.type) {
      case 'head':
        head = data.head
        break
      case 'batch':
        append(columns, data.batch)
        if (performance.now() - shownAt > SHOW_MS) show(false)
        break
      case 'end':
        head = data.head
        show(true)
        break
      case 'failed':
        onFailure(data.problem)
        break
      case 'answer':
        calls.get(data.call)?.(data.answer as never)
        calls.delete(data.call)
    }
  }
  worker.onmessage = ({ data }) => take(data)
  worker.onerror = worker.onmessageerror = () => take(DIED)
  for (const data of early) take(data)
  return () => worker.terminate()
}

function expectedSpans({ totals }: TraceHead): number | null {
  const count = totals?.services.reduce((sum, service) => sum + service.count, 0) ?? 0
  return count === 0 ? null : count
}
