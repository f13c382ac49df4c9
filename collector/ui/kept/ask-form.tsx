import { useId, useLayoutEffect, useState } from 'preact/hooks'
import type { OperationsAnswer, ServiceHistories } from '../../src/http/answers'
import { findTraceId } from '../../src/trace'
import { CompletedField, useCompletions } from '../parts/completed-field'
import { counted } from '../parts/count'
import { withRange } from '../range/range'
import { useJson } from '../shell/json'
import { traceHref } from '../shell/route'
import { Outcome, useAsk } from './ask'

const DAY = { from: { agoUs: 86_400e6 } }
const MAX_TRACES = 255

interface Props {
  /** What the address has: the operation whose traces are wanted. */
  service: string
  name: string
  services: ServiceHistories[]
  /** Called when processes have been told. */
  onTold(): void
}

/** Asks processes for traces: for the next ones of an operation, or for one that has been. */
export function AskForms(props: Props) {
  return (
    <section class="keep-forms" aria-label="Ask for traces">
      <NextTraces {...props} />
      <OneTrace {...props} />
    </section>
  )
}

function NextTraces({ service: givenService, name: givenName, services, onTold }: Props) {
  const [service, setService] = useState(givenService)
  const [name, setName] = useState(givenName)
  const [n, setN] = useState('10')
  const [asked, ask] = useAsk(onTold)
  const id = useId()
  useLayoutEffect(() => {
    setService(givenService)
    setName(givenName)
  }, [givenService, givenName])
  const withHistory = services.map(({ service }) => service)
  const knownServices = [...new Set([...withHistory, ...useCompletions('service', service)])]
  const isKnown = knownServices.includes(service)
  const operations = useJson<OperationsAnswer>(isKnown ? withRange('api/operations', DAY, {}, { service }) : null)
  const own = operations.state === 'ready' ? operations.value.operations.map(({ name }) => name) : []
  const knownNames = [...new Set([...own, ...useCompletions('name', name)])].filter(name => name !== '')
  return (
    <form
      onSubmit={event => {
        event.preventDefault()
        void ask({ service, name, n: Number(n) })
      }}
    >
      <fieldset>
        <legend>Keep the next traces of an operation</legend>
        <CompletedField
          label="Service"
          placeholder="shop"
          value={service}
          onInput={setService}
          known={knownServices.filter(name => name !== '')}
        />
        <CompletedField label="Operation" placeholder="Shop.order" value={name} onInput={setName} known={knownNames} />
        <div class="field">
          <label for={id}>Traces</label>
          <input
            id={id}
            type="number"
            min={1}
            max={MAX_TRACES}
            value={n}
            onInput={({ currentTarget }) => setN(currentTarget.value)}
            title="How many each process keeps"
            required
          />
        </div>
        <button type="submit" class="main" disabled={asked.state === 'asking'}>
          Keep the next
        </button>
      </fieldset>
      <Outcome asked={asked}>
        {asked.state === 'told' && 'name' in asked.answer && (
          <>
            Each process of {asked.answer.service} keeps the next {counted(asked.answer.n, 'trace')} with{' '}
            <code>{asked.answer.name}</code> that it records within an hour. They appear below.
          </>
        )}
      </Outcome>
    </form>
  )
}

function OneTrace({ onTold }: Props) {
  const [text, setText] = useState('')
  const [wrong, setWrong] = useState(false)
  const [asked, ask] = useAsk(onTold)
  const id = useId()
  return (
    <form
      onSubmit={event => {
        event.preventDefault()
        const traceId = findTraceId(text)
        setWrong(traceId === null)
        if (traceId !== null) void ask({ traceId })
      }}
    >
      <fieldset>
        <legend>Keep a trace</legend>
        <div class="field">
          <label for={id}>Trace id</label>
          <input
            id={id}
            value={text}
            onInput={({ currentTarget }) => {
              setText(currentTarget.value)
              setWrong(false)
            }}
            placeholder="hex, decimal, traceparent or a link"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            aria-invalid={wrong}
            aria-describedby={wrong ? `${id}-problem` : undefined}
            required
          />
        </div>
        <button type="submit" class="main" disabled={asked.state === 'asking'}>
          Keep it
        </button>
      </fieldset>
      {wrong && (
        <p id={`${id}-problem`} class="field-problem" role="alert">
          No trace id found. Enter up to 32 hex digits, a decimal number, or a link to a trace.
        </p>
      )}
      <Outcome asked={asked}>
        {asked.state === 'told' && 'traceId' in asked.answer && (
          <>
            What they still have of it comes within seconds:{' '}
            <a href={traceHref(asked.answer.traceId)}>open the trace</a>.
          </>
        )}
      </Outcome>
    </form>
  )
}
