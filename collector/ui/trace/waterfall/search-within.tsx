import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { setQuery } from '../../shell/address'
import { useShortcuts } from '../../shell/shortcuts'
import type { LoadedTrace } from '../load-trace'

const TYPING_MS = 150
const NONE = new Int32Array(0)

export interface WithinSearch {
  text: string
  /** Indexes of the matching spans; null while the search runs. */
  found: Int32Array | null
  matching: ReadonlySet<number>
  /** Position of the selected span among the matches, from 1; 0 if it isn't one. */
  position: number
  go(step: 1 | -1): void
}

/** Finds the spans that contain all words of `text`, and steps between them. */
export function useSearchWithin(trace: LoadedTrace, text: string, selected: number, goTo: (span: number) => void) {
  const [answer, setAnswer] = useState<{ text: string; found: Int32Array }>({ text: '', found: NONE })
  useEffect(() => {
    if (text.trim() === '' || !trace.complete) return
    let gone = false
    const timer = setTimeout(() => {
      void trace.find(text).then(found => !gone && setAnswer({ text, found }))
    }, TYPING_MS)
    return () => {
      gone = true
      clearTimeout(timer)
    }
  }, [text, trace.complete])
  const found = text.trim() === '' ? NONE : answer.text === text ? answer.found : null
  const matching = useMemo(() => new Set(found ?? []), [found])
  const go = useCallback(
    (step: 1 | -1) => {
      if (found === null || found.length === 0) return
      const after = found.findIndex(span => span > selected)
      const before = found.findLastIndex(span => span < selected)
      const next = step === 1 ? (after === -1 ? 0 : after) : before === -1 ? found.length - 1 : before
      goTo(found[next]!)
    },
    [found, selected, goTo],
  )
  return { text, found, matching, position: found === null ? 0 : found.indexOf(selected) + 1, go }
}

/** The field above the waterfall; Enter and Shift+Enter step through the matches. */
export function SearchWithin({ search }: { search: WithinSearch }) {
  const field = useRef<HTMLInputElement>(null)
  const { text, found, position, go } = search
  useShortcuts('Waterfall', [
    { keys: ['f', '/'], does: 'search within the trace', run: () => field.current?.focus() },
    { keys: ['n'], does: 'next match', run: () => go(1) },
    { keys: ['N'], does: 'previous match', run: () => go(-1) },
  ])
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter') go(event.shiftKey ? -1 : 1)
    if (event.key === 'Escape') field.current?.blur()
  }
  const none = found !== null && found.length === 0
  return (
    <search class="within">
      <input
        ref={field}
        type="search"
        aria-label="Search within the trace"
        placeholder="Search within: name, service, key=value …"
        value={text}
        onInput={event => setQuery({ find: event.currentTarget.value || null })}
        onKeyDown={onKeyDown}
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
      />
      <span class="within-count" role="status">
        {text.trim() === ''
          ? ''
          : found === null
            ? '…'
            : none
              ? 'no match'
              : `${position > 0 ? `${position.toLocaleString()} of ` : ''}${found.length.toLocaleString()}`}
      </span>
      <button
        type="button"
        class="small"
        aria-label="Previous match"
        disabled={none || text === ''}
        onClick={() => go(-1)}
      >
        ↑
      </button>
      <button type="button" class="small" aria-label="Next match" disabled={none || text === ''} onClick={() => go(1)}>
        ↓
      </button>
    </search>
  )
}
