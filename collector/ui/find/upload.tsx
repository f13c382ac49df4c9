import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { UploadAnswer } from '../../src/http/answers'
import { counted } from '../parts/count'
import { navigate } from '../shell/address'
import { sendBody } from '../shell/json'
import type { Problem } from '../shell/problem'
import { traceHref } from '../shell/route'

type State =
  | { at: 'idle' }
  | { at: 'sending'; name: string }
  | { at: 'failed'; problem: Problem }
  | { at: 'done'; got: UploadAnswer }

/** Uploads a trace file from Milo, OpenTelemetry, Zipkin or Jaeger, chosen with the button or dropped on the page. */
export function Upload() {
  const [state, setState] = useState<State>({ at: 'idle' })
  const [over, setOver] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  const send = async (file: File | undefined) => {
    if (file === undefined) return
    setState({ at: 'sending', name: file.name })
    try {
      const got = await sendBody<UploadAnswer>('api/traces', file)
      // A single trace opens at once.
      if (got.traceIds.length === 1 && got.rejected === 0 && got.leftOut === undefined)
        navigate(traceHref(got.traceIds[0]!))
      else setState({ at: 'done', got })
    } catch (problem) {
      setState({ at: 'failed', problem: problem as Problem })
    }
  }
  useLayoutEffect(() => {
    const hasFile = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false
    const dragOver = (event: DragEvent) => {
      if (!hasFile(event)) return
      event.preventDefault()
      setOver(true)
    }
    const leave = (event: DragEvent) => {
      if (event.relatedTarget === null) setOver(false)
    }
    const drop = (event: DragEvent) => {
      setOver(false)
      if (!hasFile(event)) return
      event.preventDefault()
      void send(event.dataTransfer?.files[0])
    }
    addEventListener('dragover', dragOver)
    addEventListener('dragleave', leave)
    addEventListener('drop', drop)
    return () => {
      removeEventListener('dragover', dragOver)
      removeEventListener('dragleave', leave)
      removeEventListener('drop', drop)
    }
  }, [])
  return (
    <div class="uploader">
      <button type="button" class="small" disabled={state.at === 'sending'} onClick={() => input.current?.click()}>
        Upload a trace
      </button>
      <input
        ref={input}
        type="file"
        accept=".json,.jsonl,.ndjson,.gz,.pb,.bin,.txt,application/json,application/gzip"
        hidden
        aria-label="Trace file"
        onChange={event => {
          void send(event.currentTarget.files?.[0])
          event.currentTarget.value = ''
        }}
      />
      {over && <div class="drop">Drop a trace file from Milo, OpenTelemetry, Zipkin or Jaeger</div>}
      <div role="status" class="hint">
        {state.at === 'sending' && `Sending ${state.name} …`}
        {state.at === 'done' && <Result got={state.got} />}
      </div>
      {state.at === 'failed' && (
        <p class="field-problem" role="alert">
          {state.problem.message}
        </p>
      )}
    </div>
  )
}

function Result({ got: { traceIds, spans, rejected, reasons = [], leftOut = [] } }: { got: UploadAnswer }) {
  if (spans === 0) return <>Nothing was stored: {inWords(reasons)}</>
  const fields = leftOut.reduce((sum, { count }) => sum + count, 0)
  return (
    <>
      {counted(spans, 'span')} of {counted(traceIds.length, 'trace')} {spans === 1 ? 'was' : 'were'} stored
      {rejected > 0 &&
        `; ${counted(rejected, 'span')} ${rejected === 1 ? 'was' : 'were'} rejected: ${inWords(reasons)}`}
      {fields > 0 &&
        `; ${counted(fields, 'field')} couldn’t be read and ${fields === 1 ? 'was' : 'were'} left out: ${fieldsInWords(leftOut)}`}
      . Open{' '}
      {traceIds.slice(0, 20).map(id => (
        <a key={id} href={traceHref(id)}>
          {id}{' '}
        </a>
      ))}
    </>
  )
}

function inWords(reasons: NonNullable<UploadAnswer['reasons']>): string {
  return reasons.map(({ spans, message }) => `${spans.toLocaleString()} because ${message}`).join('; ')
}

function fieldsInWords(leftOut: NonNullable<UploadAnswer['leftOut']>): string {
  const words = (text: string) => text.replaceAll('_', ' ')
  return leftOut.map(({ field, reason, count }) => `${words(field)} ×${count} (${words(reason)})`).join(', ')
}
