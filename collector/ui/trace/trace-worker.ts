import { isEveryMachine, type TraceSpan } from '../../src/trace'
import { ask } from '../shell/ask'
import { type Problem, problemFrom } from '../shell/problem'
import { buffersOf, type Columns, ColumnWriter, type TraceHead } from './columns'
import { SpanSplitter } from './span-splitter'
import { findText, textOf } from './span-text'

/**
 * Messages to the worker that fetches and parses a trace, so that the page stays responsive. The worker keeps the trace's JSON
 * and answers requests for single spans and searches. Each trace has its own worker.
 */
export type Request =
  | { type: 'load'; url: string; token: string | null }
  | { type: 'span'; call: number; span: number }
  | { type: 'find'; call: number; text: string }

export type Message =
  | { type: 'head'; head: TraceHead }
  | { type: 'batch'; batch: Columns }
  | { type: 'end'; head: TraceHead; bytes: number }
  | { type: 'failed'; problem: Problem }
  | { type: 'answer'; call: number; answer: TraceSpan | Int32Array }

/** On the same machine, compressing 100,000 spans takes seconds, while sending them uncompressed takes a tenth of a second. */
const UNCOMPRESSED: Record<string, string> = isEveryMachine(location.hostname) ? { 'x-no-compression': '1' } : {}

/** How many spans are parsed at once: some ten milliseconds of work. */
const BATCH_SPANS = 2000

let splitter = new SpanSplitter()
let texts: string[] | undefined

addEventListener('message', ({ data }: MessageEvent<Request>) => {
  if (data.type === 'load') void load(data.url, data.token)
  else if (data.type === 'span') {
    post({ type: 'answer', call: data.call, answer: splitter.spans(data.span, data.span + 1)[0] as TraceSpan })
  } else {
    const answer = find(data.text)
    post({ type: 'answer', call: data.call, answer }, [answer.buffer])
  }
})

async function load(url: string, token: string | null): Promise<void> {
  let writer: ColumnWriter | undefined
  let written = 0
  const write = (to: number) => {
    while (written < to) {
      const next = Math.min(to, written + BATCH_SPANS)
      const batch = writer!.write(splitter.spans(written, next) as TraceSpan[])
      post({ type: 'batch', batch }, buffersOf(batch))
      written = next
    }
  }
  try {
    const response = await ask(url, token, { headers: UNCOMPRESSED })
    splitter = new SpanSplitter(Number(response.headers.get('content-length')) || undefined)
    const reader = response.body!.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      splitter.push(value)
      if (writer === undefined) {
        const head = splitter.head() as TraceHead | undefined
        if (head === undefined) continue
        writer = new ColumnWriter(head.start)
        post({ type: 'head', head })
      }
      // The first few spans are sent at once, then full batches.
      if (written === 0 || splitter.count - written >= BATCH_SPANS) write(splitter.count)
    }
    const head = splitter.whole() as TraceHead
    writer ??= new ColumnWriter(head.start)
    write(splitter.count)
    post({ type: 'end', head, bytes: splitter.length })
  } catch (error) {
    post({ type: 'failed', problem: problemFrom(error) })
  }
}

function find(text: string): Int32Array {
  if (texts === undefined) {
    texts = []
    for (let from = 0; from < splitter.count; from += BATCH_SPANS) {
      const spans = splitter.spans(from, Math.min(splitter.count, from + BATCH_SPANS)) as TraceSpan[]
      for (const span of spans) texts.push(textOf(span))
    }
  }
  return findText(texts, text)
}

function post(message: Message, transfer: ArrayBufferLike[] = []): void {
  postMessage(message, { transfer: transfer as ArrayBuffer[] })
}
