import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { CompletionAnswer } from '../../src/http/answers'
import {
  type Completion,
  completionAt,
  decimalOf,
  insertCompletion,
  mayJoin,
  type Problem,
  parse,
} from '../../src/query'
import { findTraceId } from '../../src/trace'
import { navigate } from '../shell/address'
import { requestJson } from '../shell/json'
import { traceHref } from '../shell/route'
import { useShortcuts } from '../shell/shortcuts'
import { boxAddress, withZones } from './query-address'

const TYPING_MS = 120
const MAX_PROPOSALS = 20

/** The words of the query language, suggested together with reported keys. */
const WORDS: { text: string; what: string; joins?: true }[] = [
  { text: 'name:', what: 'the name of a span' },
  { text: 'service:', what: 'the service that reported a span' },
  { text: 'root:', what: 'the trace’s first span, or one with that name' },
  { text: 'duration>', what: 'longer than, such as duration>50ms' },
  { text: 'duration<', what: 'shorter than' },
  { text: 'error', what: 'ended in an error' },
  { text: '!error', what: 'ended without an error' },
  { text: 'last 1h', what: 'began within the last hour' },
  { text: 'key:', what: 'has an annotation with that key' },
  { text: 'NOT', what: 'the next condition must not hold' },
  { text: 'OR', what: 'the condition before or the one after holds', joins: true },
  { text: '>', what: 'is the parent of a span that meets the conditions after it', joins: true },
  { text: '>>', what: 'is anywhere above a span that meets the conditions after it', joins: true },
]

interface Proposal {
  text: string
  what: string
  /** Whether it belongs to the language and is inserted as is. */
  word: boolean
}

/**
 * One field for every search, with completion. A trace id in any form opens that trace.
 * @param props.waiting whether the text that belongs here is still to come: it replaces none that somebody has typed meanwhile
 */
export function SearchBox({ text: initial, waiting }: { text: string; waiting: boolean }) {
  const [text, setText] = useState(initial)
  const [cursor, setCursor] = useState(initial.length)
  const [open, setOpen] = useState(false)
  const [chosen, setChosen] = useState(-1)
  const [problems, setProblems] = useState<Problem[]>([])
  const field = useRef<HTMLInputElement>(null)
  const listId = useId()
  const completion = completionAt(text, cursor)
  const id = traceIdIn(text)
  const proposals = useProposals(open ? completion : undefined, mayJoin(text, cursor))
  // With what is drawn: a moment later it would undo what a fast user has typed.
  const waited = useRef(false)
  useLayoutEffect(() => {
    if (!waited.current || text === '') setText(initial)
    waited.current = waiting
  }, [initial, waiting])
  useShortcuts('Find', [{ keys: ['/', 'f'], does: 'go to the search box', run: () => field.current?.focus() }])

  const take = (proposal: Proposal) => {
    if (completion === undefined) return
    const next = proposal.word
      ? putWord(text, completion, proposal.text)
      : insertCompletion(text, completion, proposal.text)
    setText(next.text)
    setCursor(next.cursor)
    setChosen(-1)
    setProblems([])
    // Set the caret now and not after rendering, which would move it while the user types on.
    const input = field.current!
    input.value = next.text
    input.focus()
    input.setSelectionRange(next.cursor, next.cursor)
  }
  const search = (event?: Event) => {
    event?.preventDefault()
    setOpen(false)
    if (id !== null) return navigate(traceHref(id))
    const { problems } = parse(text)
    setProblems(problems)
    if (problems.length === 0) navigate(boxAddress(withZones(text)))
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault()
      setOpen(true)
      const step = event.key === 'ArrowDown' ? 1 : -1
      const count = proposals.length
      setChosen(count === 0 ? -1 : chosen === -1 && step === -1 ? count - 1 : (chosen + step + count) % count)
    } else if (event.key === 'Escape') {
      if (open) event.preventDefault()
      setOpen(false)
    } else if ((event.key === 'Enter' || event.key === 'Tab') && open && chosen !== -1) {
      event.preventDefault()
      take(proposals[chosen]!)
    }
  }
  const follow = () => {
    setCursor(field.current?.selectionStart ?? text.length)
  }
  const shown = open && proposals.length > 0
  return (
    <search>
      <form class="box" action="search" onSubmit={search}>
        <div class="box-field">
          <input
            ref={field}
            id="q"
            name="q"
            role="combobox"
            aria-label="Search"
            aria-expanded={shown}
            aria-controls={listId}
            aria-autocomplete="list"
            aria-activedescendant={shown && chosen !== -1 ? `${listId}-${chosen}` : undefined}
            aria-invalid={problems.length > 0}
            aria-describedby="q-help"
            placeholder="name:Shop.checkout user=42 duration>50ms error last 1h"
            value={text}
            onInput={event => {
              setText(event.currentTarget.value)
              setCursor(event.currentTarget.selectionStart ?? 0)
              setProblems([])
              setChosen(-1)
              setOpen(true)
            }}
            onKeyUp={follow}
            onClick={() => {
              follow()
              setOpen(true)
            }}
            onBlur={() => setOpen(false)}
            onKeyDown={onKeyDown}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
          />
          <div class="proposals" id={listId} role="listbox" aria-label="Suggestions" hidden={!shown}>
            {proposals.map(({ text, what, word }, i) => (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the field has the keys
              // biome-ignore lint/a11y/useFocusableInteractive: the field keeps the focus
              <div
                key={`${word} ${text}`}
                id={`${listId}-${i}`}
                role="option"
                aria-selected={i === chosen}
                // The field keeps the focus, or the list would close before the click.
                onMouseDown={event => event.preventDefault()}
                onClick={() => take(proposals[i]!)}
              >
                <span>{text}</span>
                <span class="what">{what}</span>
              </div>
            ))}
          </div>
        </div>
        <button type="submit" class="main">
          {id === null ? 'Search' : 'Open trace'}
        </button>
      </form>
      <div id="q-help" class="box-help">
        {problems.length > 0 ? (
          <ul role="alert">
            {problems.map(({ at, length, message }) => (
              <li key={at} class="field-problem">
                <code>{text.slice(at, at + length)}</code>: {message}
              </li>
            ))}
          </ul>
        ) : id === null ? (
          <span class="hint">
            <code>name:</code> <code>service:</code> <code>key=value</code> <code>key^=prefix</code>{' '}
            <code>key*=part</code> <code>key&gt;=5</code> <code>duration&gt;50ms</code> <code>error</code>{' '}
            <code>last 1h</code>, a word from any value, <code>NOT</code> <code>OR</code> <code>( )</code>,{' '}
            <code>parent &gt; child</code>, or a trace id
          </span>
        ) : (
          <span class="hint">
            This is a trace id: <code>{id}</code>
          </span>
        )}
      </div>
    </search>
  )
}

/** Finds a trace id only in strings that nobody would search for as a word: long ones, headers and links. */
function traceIdIn(text: string): string | null {
  const bare = text.trim()
  if (/\s/.test(bare) || !/^(0x)?[0-9a-f-]{16,}$|\/traces?\/|[0-9a-f]+(-|:|%3a)[0-9a-f]{16}/i.test(bare)) return null
  return findTraceId(bare)
}

function putWord(text: string, { from, to }: Completion, word: string): { text: string; cursor: number } {
  const rest = text.slice(to)
  const space = /[:<]$|[a-z]>$/.test(word) || /^[\s)]/.test(rest) ? '' : ' '
  return { text: text.slice(0, from) + word + space + rest, cursor: from + word.length + space.length }
}

/** Returns the language's words and the reported values that begin with what the user is typing. */
function useProposals(completion: Completion | undefined, joins: boolean): Proposal[] {
  const [answer, setAnswer] = useState<{ url: string; values: string[] }>({ url: '', values: [] })
  const url = completion === undefined ? null : urlOf(completion)
  useEffect(() => {
    if (url === null) return
    const aborter = new AbortController()
    const timer = setTimeout(() => {
      // Without an answer there are no suggestions; the search itself reports the problem.
      requestJson<CompletionAnswer>(url, { signal: aborter.signal }).then(
        ({ values }) => setAnswer({ url, values }),
        () => setAnswer({ url, values: [] }),
      )
    }, TYPING_MS)
    return () => {
      clearTimeout(timer)
      aborter.abort()
    }
  }, [url])
  if (completion === undefined) return []
  const { field, prefix } = completion
  const begins = ({ text }: { text: string }) => text.toLowerCase().startsWith(prefix.toLowerCase()) && text !== prefix
  const words = field === 'key' ? WORDS.filter(word => begins(word) && (joins || !word.joins)) : []
  const fits = (value: string) => value !== prefix && (!completion.numbers || decimalOf(value) !== undefined)
  const values = answer.url === url ? answer.values.filter(fits) : []
  const what = field === 'key' ? 'annotation key' : ''
  return [...words.map(word => ({ ...word, word: true })), ...values.map(text => ({ text, what, word: false }))].slice(
    0,
    MAX_PROPOSALS,
  )
}

function urlOf({ field, key, prefix }: Completion): string {
  const query = new URLSearchParams({ field, prefix, limit: '8' })
  if (key !== undefined) query.set('key', key)
  return `api/complete?${query}`
}
