import { useState } from 'preact/hooks'
import { findTraceId } from '../../src/trace'
import { navigate } from './address'
import { traceHref } from './route'

/** A field on every page that takes a trace id in any form and opens that trace. */
export function TraceLookup() {
  const [text, setText] = useState('')
  const [wrong, setWrong] = useState(false)
  const lookUp = (event: Event) => {
    event.preventDefault()
    const id = findTraceId(text)
    setWrong(id === null)
    if (id === null) return
    setText('')
    navigate(traceHref(id))
  }
  return (
    <form class="lookup" onSubmit={lookUp}>
      <label for="trace-id">Trace id</label>
      <input
        id="trace-id"
        value={text}
        onInput={event => {
          setText(event.currentTarget.value)
          setWrong(false)
        }}
        placeholder="hex, decimal, traceparent or a link"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        required
        aria-invalid={wrong}
        aria-describedby={wrong ? 'trace-id-problem' : undefined}
      />
      <button type="submit">Look up</button>
      {wrong && (
        <p id="trace-id-problem" class="field-problem" role="alert">
          No trace id found. Enter up to 32 hex digits, a decimal number, or a link to a trace.
        </p>
      )}
    </form>
  )
}
