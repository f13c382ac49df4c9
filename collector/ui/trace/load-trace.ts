import { useEffect, useState } from 'preact/hooks'
import type { TraceSpan } from '../../src/trace'
import { token } from '../shell/credentials'
import type { Problem } from '../shell/problem'
import { append, type Columns, emptyColumns, type TraceHead } from './columns'
import type { Message, Request } from './trace-worker'
import { deriveTree, type Tree } from './tree'

/** A trace as the page has it, in whole or as far as it has arrived. */
export interface LoadedTrace {
  head: TraceHead
  columns: Columns
  tree: Tree
  /** How many spans it will have; null as long as that isn't known. */
  expected: number | null
  complete: boolean
  /** All of one span. */
  span(index: number): Promise<TraceSpan>
  /** Spans that hold all words of the text, by index. */
  find(text: string): Promise<Int32Array>
}

export type TraceLoading =
  | { state: 'loading' }
  | { state: 'failed'; problem: Problem; retry: () => void }
  | { state: 'ready'; trace: LoadedTrace }

/** So often the page shows what has arrived meanwhile. */
const SHOW_MS = 150

/** Loads a trace in a worker, and shows it as it comes. */
export function useTrace(id: string): TraceLoading {
  const [loading, setLoading] = useState<TraceLoading>({ state: 'loading' })
  const [attempt, setAttempt] = useState(0)
  useEffect(() => {
    setLoading({ state: 'loading' })
    const retry = () => setAttempt(n => n + 1)
    return loadTrace(urlOf(id), {
      onTrace: trace => setLoading({ state: 'ready', trace }),
      onFailure: problem => setLoading({ state: 'failed', problem, retry }),
    })
  }, [id, attempt])
  return loading
}

interface Watcher {
  /** Again and again, until it is complete. */
  onTrace(trace: LoadedTrace): void
  onFailure(problem: Problem): void
}

interface Started {
  url: string
  worker: Worker
  /** What it has said before anybody listened. */
  said: Message[]
}

const DIED: Message = {
  type: 'failed',
  problem: {
    status: 0,
    message: "A part of the page couldn't be loaded, or the trace is too large for this browser. Reload the page.",
  },
}

let ahead: Started | undefined

/** Before the trace page itself has been loaded: the collector works meanwhile. */
export function loadTraceAhead(id: string): void {
  ahead = start(urlOf(id))
}

function start(url: string): Started {
  const worker = new Worker(new URL('./trace-worker.ts', import.meta.url), { type: 'module' })
  const said: Message[] = []
  worker.onmessage = ({ data }) => said.push(data)
  worker.onerror = worker.onmessageerror = () => said.push(DIED)
  worker.postMessage({ type: 'load', url, token: token() } satisfies Request)
  return { url, worker, said }
}

/** In full: a worker has another base. */
export function urlOf(id: string): string {
  return new URL(`api/traces/${encodeURIComponent(id)}`, document.baseURI).href
}

/** @returns ends it, and all that the trace can still be asked */
function loadTrace(url: string, { onTrace, onFailure }: Watcher): () => void {
  const { worker, said } = ahead?.url === url ? ahead : start(url)
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
  for (const data of said) take(data)
  return () => worker.terminate()
}

function expectedSpans({ totals }: TraceHead): number | null {
  const count = totals?.services.reduce((sum, service) => sum + service.count, 0) ?? 0
  return count === 0 ? null : count
}
