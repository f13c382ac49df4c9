import { useEffect, useRef } from 'preact/hooks'

export interface Shortcut {
  /** As KeyboardEvent.key has them; any of them. */
  keys: string[]
  /** What it does, for the list that `?` shows. */
  does: string
  /** Absent where a control of the page takes the key itself, and the list only tells of it. */
  run?(): void
}

export interface Group {
  title: string
  shortcuts: Shortcut[]
}

const groups = new Set<{ current: Group }>()

/** Single keys that work on the page as long as the component is there, but not while somebody types. */
export function useShortcuts(title: string, shortcuts: Shortcut[]): void {
  const group = useRef<Group>({ title, shortcuts })
  group.current = { title, shortcuts }
  useEffect(() => {
    groups.add(group)
    return () => {
      groups.delete(group)
    }
  }, [])
}

/** Those of the page as it is now, by title. */
export function activeShortcuts(): Group[] {
  const byTitle = new Map<string, Group>()
  for (const { current } of groups) {
    const { title, shortcuts } = current
    const group = byTitle.get(title) ?? { title, shortcuts: [] }
    group.shortcuts = [...group.shortcuts, ...shortcuts]
    byTitle.set(title, group)
  }
  return [...byTitle.values()]
}

export function listenForShortcuts(): () => void {
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
    // A dialog has the page to itself.
    if (document.querySelector('dialog[open]') !== null) return
    for (const { current } of groups) {
      const hit = current.shortcuts.find(({ keys, run }) => run !== undefined && keys.includes(event.key))
      if (hit === undefined) continue
      event.preventDefault()
      hit.run!()
      return
    }
  }
  addEventListener('keydown', onKeyDown)
  return () => removeEventListener('keydown', onKeyDown)
}

/** Inputs in which no text is typed. */
const NO_TEXT = ['button', 'checkbox', 'color', 'file', 'image', 'radio', 'range', 'reset', 'submit']
const TEXT = `textarea, select, input${NO_TEXT.map(type => `:not([type="${type}"])`).join('')}`

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches(TEXT))
}
