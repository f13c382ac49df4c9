import { useEffect, useId, useState } from 'preact/hooks'
import type { CompletionAnswer } from '../../src/http/answers'
import { requestJson } from '../shell/json'

const TYPING_MS = 120
const MAX_PROPOSED = '50'

interface Props {
  label: string
  placeholder: string
  value: string
  onInput(value: string): void
  /** What is proposed. */
  known: string[]
}

/** A labeled input that proposes what is known, and takes anything. It must not be empty. */
export function CompletedField({ label, placeholder, value, onInput, known }: Props) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        list={`${id}-known`}
        value={value}
        placeholder={placeholder}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        required
      />
      <datalist id={`${id}-known`}>
        {known.map(name => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </div>
  )
}

/** Returns reported names of services or spans that begin with what was typed. */
export function useCompletions(field: 'service' | 'name', prefix: string): string[] {
  const [values, setValues] = useState<string[]>([])
  useEffect(() => {
    const aborter = new AbortController()
    const timer = setTimeout(() => {
      const query = new URLSearchParams({ field, prefix, limit: MAX_PROPOSED })
      requestJson<CompletionAnswer>(`api/complete?${query}`, { signal: aborter.signal }).then(
        ({ values }) => setValues(values),
        // Without an answer there are no proposals.
        () => {},
      )
    }, TYPING_MS)
    return () => {
      clearTimeout(timer)
      aborter.abort()
    }
  }, [field, prefix])
  return values
}
