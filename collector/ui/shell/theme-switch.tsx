import { useState } from 'preact/hooks'
import { useShortcuts } from './shortcuts'
import { chooseTheme, chosenTheme, type Theme } from './theme'

const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' }
const SIGN: Record<Theme, string> = { system: '◐', light: '☀', dark: '☾' }

/** A button that cycles through the system's theme, light and dark. */
export function ThemeSwitch() {
  const [theme, setTheme] = useState(chosenTheme)
  const next = () => {
    chooseTheme(NEXT[theme])
    setTheme(NEXT[theme])
  }
  useShortcuts('Everywhere', [{ keys: ['t'], does: 'switch theme (system, light, dark)', run: next }])
  const label = `Switch theme (system, light, dark). Current theme: ${theme}`
  return (
    <button type="button" class="icon" aria-label={label} title={label} onClick={next}>
      <span aria-hidden="true">{SIGN[theme]}</span>
    </button>
  )
}
