import { useLayoutEffect, useRef } from 'preact/hooks'

export interface Shortcut {
  /** Values of KeyboardEvent.key; each of them triggers the shortcut. */
  keys: string[]
  /** What it does, for the list that `?` shows. */
  does: string
  /** Absent if a control of the page handles the key itself, and the list only mentions it. */
  run?(): void
}

export interface Group {
  title: string
  shortcuts: Shortcut[]
}

const groups = new Set<{ current: Group }>()

/** Registers single-key shortcuts while the component is mounted. They are inactive while the user types. */
export function useShortcuts(title: string, shortcuts: Shortcut[]): void {
  const group = useRef<Group>({ title, shortcuts })
  group.current = { title, shortcuts }
  // With what is drawn, and not a moment later: whoever sees a page may use its keys.
  useLayoutEffect(() => {
    groups.add(group)
    return () => {
      groups.delete(group)
    }
  }, [])
}

/** Returns the shortcuts of the current page, grouped by title. */
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
    // An open dialog disables the page's shortcuts.
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

/** Types of inputs that take no text. */
const NO_TEXT = ['button', 'checkbox', 'color', 'file', 'image', 'radio', 'range', 'reset', 'submit']
const TEXT = `textarea, select, input${NO_TEXT.map(type => `:not([type="${type}"])`).join('')}`

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches(TEXT))
}
