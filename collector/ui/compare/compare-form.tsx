import { useState } from 'preact/hooks'
import { findTraceId } from '../../src/trace'
import { Field } from '../parts/field'
import { navigate } from '../shell/address'
import { compareHref } from '../shell/route'

/** Takes two traces by ids in any form; with one alone, the page offers others. */
export function CompareForm({ a, b }: { a: string | null; b: string | null }) {
  const [wrong, setWrong] = useState(false)
  const compare = (event: SubmitEvent) => {
    event.preventDefault()
    const data = new FormData(event.currentTarget as HTMLFormElement)
    const texts = ['a', 'b'].map(name => String(data.get(name) ?? '').trim()).filter(text => text !== '')
    const ids = texts.map(findTraceId)
    const known = ids.filter(id => id !== null)
    setWrong(known.length < ids.length || known.length === 0)
    const [first, second] = known
    if (known.length < ids.length || first === undefined) return
    navigate(compareHref({ a: first, ...(second !== undefined && { b: second }) }))
  }
  return (
    <form class="compare-form" onSubmit={compare} aria-label="Traces to compare">
      <Field name="a" label="First trace" placeholder="id in any form, or a link" value={a ?? ''} />
      <Field name="b" label="Second trace" placeholder="id in any form, or a link" value={b ?? ''} />
      <button type="submit">Compare</button>
      {wrong && (
        <p class="field-problem" role="alert">
          No trace id found. Enter an id or a link to a trace.
        </p>
      )}
    </form>
  )
}
