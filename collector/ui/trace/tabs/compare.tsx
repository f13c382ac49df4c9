import '../../styles/compare.css'
import { useState } from 'preact/hooks'
import { findTraceId } from '../../../src/trace'
import { Choices } from '../../compare/choices'
import { TwoTraces } from '../../compare/two-traces'
import { WithTypical } from '../../compare/with-typical'
import { currentAddress, hrefOf, setQuery } from '../../shell/address'
import type { TabProps } from './tab-props'

/** Compares this trace with another one. */
export function Compare({ trace, query }: TabProps) {
  const other = query.get('with')
  const id = trace.head.traceId
  return (
    <div class="compare">
      <OtherTrace key={other ?? ''} other={other === TYPICAL ? null : other} />
      {other === null ? (
        <Choices id={id} hrefTo={withOther} />
      ) : other === TYPICAL ? (
        <WithTypical key={id} id={id} />
      ) : (
        <TwoTraces key={other} a={other} b={id} names={NAMES} />
      )}
    </div>
  )
}

const TYPICAL = 'typical'
const NAMES = { a: 'the other trace', b: 'this trace', columnA: 'other', columnB: 'this' }

/** The address of this tab with another trace. */
function withOther(other: string): string {
  const { path, query } = currentAddress()
  const next = new URLSearchParams(query)
  next.set('with', other)
  return hrefOf({ path, query: next })
}

function OtherTrace({ other }: { other: string | null }) {
  const [text, setText] = useState(other ?? '')
  const [wrong, setWrong] = useState(false)
  const compare = (event: Event) => {
    event.preventDefault()
    const id = findTraceId(text)
    setWrong(id === null)
    if (id !== null) setQuery({ with: id }, { replace: false })
  }
  return (
    <form class="choices" onSubmit={compare}>
      <label for="other-trace">Other trace</label>
      <input
        id="other-trace"
        value={text}
        onInput={event => setText(event.currentTarget.value)}
        placeholder="id in any form, or a link"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        required
        aria-invalid={wrong}
      />
      <button type="submit">Compare</button>
      <button
        type="button"
        aria-pressed={currentAddress().query.get('with') === TYPICAL}
        onClick={() => setQuery({ with: TYPICAL }, { replace: false })}
      >
        A typical one
      </button>
      {wrong && (
        <p class="field-problem" role="alert">
          No trace id found. Enter an id or a link to a trace.
        </p>
      )}
    </form>
  )
}
