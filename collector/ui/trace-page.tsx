import { useEffect } from 'preact/hooks'
import type { Trace } from '../src/trace'
import { useJson } from './json'
import { Failure, Notice, Waiting } from './notice'
import { navigate, traceHref } from './route'
import { SpanDetail } from './span-detail'
import { TraceHead } from './trace-head'
import { Waterfall } from './waterfall'

export function TracePage({ id, spanId }: { id: string; spanId: string | null }) {
  const answer = useJson<Trace>(`/api/traces/${encodeURIComponent(id)}`)
  const name = answer.state === 'ready' ? answer.value.spans[0]?.name : undefined
  useEffect(() => {
    document.title = `${name || `Trace ${id}`} – Milo`
  }, [name, id])
  if (answer.state === 'loading') return <Waiting what={`trace ${id}`} />
  if (answer.state === 'failed') {
    if (answer.problem.status === 400) {
      return (
        <Notice page title="That is no trace id">
          <p>{answer.problem.message}</p>
          <p>
            <a href="/">See the newest traces</a>, or look another id up above.
          </p>
        </Notice>
      )
    }
    if (answer.problem.status !== 404) {
      return <Failure page title="The trace couldn't be read" problem={answer.problem} retry={answer.retry} />
    }
    return (
      <Notice page title="No such trace">
        <p>
          Nothing has been stored under <code>{id}</code>. It may be on its way, it may not have been sampled, or it is
          older than what this collector keeps.
        </p>
        <p>
          <button type="button" onClick={answer.retry}>
            Look again
          </button>{' '}
          or <a href="/">see the newest traces</a>.
        </p>
      </Notice>
    )
  }
  return <LoadedTrace trace={answer.value} id={id} spanId={spanId} />
}

function LoadedTrace({ trace, id, spanId }: { trace: Trace; id: string; spanId: string | null }) {
  const select = (span: string | null) => navigate(traceHref(id, span), { replace: true })
  const selected = spanId === null ? -1 : trace.spans.findIndex(span => span.spanId === spanId)
  return (
    <>
      <TraceHead trace={trace} />
      <div class={selected === -1 ? 'trace' : 'trace with-detail'}>
        <Waterfall trace={trace} selected={selected} onSelect={i => select(i === -1 ? null : trace.spans[i]!.spanId)} />
        {selected !== -1 && (
          <SpanDetail trace={trace} span={trace.spans[selected]!} id={id} onClose={() => select(null)} />
        )}
      </div>
    </>
  )
}
