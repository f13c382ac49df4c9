import { useEffect, useState } from 'preact/hooks'
import { CopyButton } from '../../parts/copy-button'
import { type DownloadFailure, DownloadLink } from '../../parts/download-link'
import { Failure, Waiting } from '../../parts/notice'
import { setQuery } from '../../shell/address'
import { ask } from '../../shell/ask'
import { token } from '../../shell/credentials'
import { type Problem, problemFrom } from '../../shell/problem'
import { indentJson } from './indent-json'
import type { TabProps } from './tab-props'

const FORMS = {
  milo: { title: 'Milo', what: 'the tree as this page shows it' },
  records: { title: 'Records', what: 'every client and server half as it was reported' },
  otlp: { title: 'OTLP', what: 'for OpenTelemetry' },
  zipkin: { title: 'Zipkin', what: 'for Zipkin, version 2' },
  jaeger: { title: 'Jaeger', what: 'as Jaeger downloads it, with a span for each half of a call' },
} as const
type Form = keyof typeof FORMS

/** The page shows this much; the download contains everything. */
const SHOWN_LENGTH = 200_000

/** Shows the trace as JSON in the formats that the API offers. */
export function RawJson({ id, query }: TabProps) {
  const asked = query.get('form') ?? 'milo'
  const form: Form = Object.hasOwn(FORMS, asked) ? (asked as Form) : 'milo'
  const url = `api/traces/${encodeURIComponent(id)}${form === 'milo' ? '' : `?form=${form}`}`
  const answer = useStart(url)
  const [failure, setFailure] = useState<DownloadFailure | null>(null)
  return (
    <div class="raw">
      <fieldset class="choices" aria-label="Format">
        {(Object.keys(FORMS) as Form[]).map(key => (
          <button
            type="button"
            key={key}
            aria-pressed={key === form}
            title={FORMS[key].what}
            onClick={() => setQuery({ form: key === 'milo' ? null : key })}
          >
            {FORMS[key].title}
          </button>
        ))}
        <DownloadLink url={url} name={`trace-${id}.${form}.json`} onFailure={setFailure} />
        {answer.state === 'ready' && answer.whole && <CopyButton text={answer.text} what="the JSON" />}
      </fieldset>
      <p class="summary">
        {FORMS[form].title}: {FORMS[form].what}.
      </p>
      {failure?.url === url && <Failure title="The download failed" problem={failure.problem} retry={failure.retry} />}
      {answer.state === 'loading' && <Waiting what="the JSON" />}
      {answer.state === 'failed' && (
        <Failure title="The trace couldn't be loaded in this format" problem={answer.problem} retry={answer.retry} />
      )}
      {answer.state === 'ready' && (
        <>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach a scrollable area */}
          <pre tabIndex={0} class="json">
            <code>{indentJson(answer.text)}</code>
          </pre>
          {!answer.whole && <p class="summary">Only the beginning is shown. The download contains everything.</p>}
        </>
      )}
    </div>
  )
}

type Start =
  | { state: 'loading' }
  | { state: 'ready'; text: string; whole: boolean }
  | { state: 'failed'; problem: Problem; retry(): void }

/** Fetches only the beginning of the file at `url`. */
function useStart(url: string): Start {
  const [answer, setAnswer] = useState<Start>({ state: 'loading' })
  const [attempt, setAttempt] = useState(0)
  useEffect(() => {
    const aborter = new AbortController()
    setAnswer({ state: 'loading' })
    readStart(url, aborter).then(setAnswer, (problem: Problem) => {
      if (!aborter.signal.aborted) setAnswer({ state: 'failed', problem, retry: () => setAttempt(n => n + 1) })
    })
    return () => aborter.abort()
  }, [url, attempt])
  return answer
}

/** @throws Problem */
async function readStart(url: string, aborter: AbortController): Promise<Start> {
  const { body } = await ask(url, token(), { signal: aborter.signal })
  const reader = body!.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read().catch(error => {
      throw problemFrom(error)
    })
    if (done) return { state: 'ready', text: text + decoder.decode(), whole: true }
    text += decoder.decode(value, { stream: true })
    if (text.length < SHOWN_LENGTH) continue
    void reader.cancel()
    return { state: 'ready', text: text.slice(0, SHOWN_LENGTH), whole: false }
  }
}
