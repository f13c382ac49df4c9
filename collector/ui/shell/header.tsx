import iconUrl from '../icon.svg'
import type { Route } from './route'
import { ShortcutsDialog } from './shortcuts-dialog'
import { ThemeSwitch } from './theme-switch'
import { TraceLookup } from './trace-lookup'

export function Header({ route }: { route: Route }) {
  return (
    <header class="top">
      <a class="brand" href="./">
        <img src={iconUrl} alt="" width="24" height="24" />
        Milo
      </a>
      <nav aria-label="Pages">
        <a href="./" aria-current={route.page === 'find' ? 'page' : undefined}>
          Find
        </a>
        <a href="services" aria-current={route.page === 'services' ? 'page' : undefined}>
          Services
        </a>
      </nav>
      <TraceLookup />
      <div class="top-buttons">
        <ThemeSwitch />
        <ShortcutsDialog />
      </div>
    </header>
  )
}
