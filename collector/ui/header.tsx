import { useState } from 'preact/hooks'
import { navigate, traceHref } from './route'
import { findTraceId } from './trace-id'

/** The way home, and the lookup: one field that takes an id in any form, on every page. */
export function Header() {
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
    <header class="top">
      <a class="brand" href="/">
        <img src="/icon.svg" alt="" width="24" height="24" />
        Milo
      </a>
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
            There is no trace id in that. It has up to 32 hex digits, or is a decimal number.
          </p>
        )}
      </form>
    </header>
  )
}
