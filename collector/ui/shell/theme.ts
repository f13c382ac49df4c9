import { useLayoutEffect, useState } from 'preact/hooks'

/** What the viewer chose; `system` follows the operating system. */
export type Theme = 'system' | 'light' | 'dark'

const KEY = 'milo.theme'
const dark = typeof matchMedia === 'function' ? matchMedia('(prefers-color-scheme: dark)') : undefined
const listeners = new Set<() => void>()

export function chosenTheme(): Theme {
  const { theme } = document.documentElement.dataset
  return theme === 'light' || theme === 'dark' ? theme : 'system'
}

export function chooseTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
  try {
    if (theme === 'system') localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, theme)
  } catch {
    // Storage is forbidden: the choice lasts until the page is closed.
  }
  for (const listener of listeners) listener()
}

/** Returns the theme in effect, for canvases, which don't follow the style sheet by themselves. */
export function useShownTheme(): 'light' | 'dark' {
  const shown = () => {
    const theme = chosenTheme()
    return theme === 'system' ? (dark?.matches ? 'dark' : 'light') : theme
  }
  const [theme, setTheme] = useState(shown)
  useLayoutEffect(() => {
    const update = () => setTheme(shown())
    listeners.add(update)
    dark?.addEventListener('change', update)
    return () => {
      listeners.delete(update)
      dark?.removeEventListener('change', update)
    }
  }, [])
  return theme
}
