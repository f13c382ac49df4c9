import iconUrl from '../icon.svg'
import { rangeOf, searchIn, type TimeRange, withRange } from '../range/range'
import type { Address } from './address'
import type { Route } from './route'
import { ShortcutsDialog } from './shortcuts-dialog'
import { ThemeSwitch } from './theme-switch'
import { TraceLookup } from './trace-lookup'

/** The range of the last page that had one: a trace has none, and the way back from it leads to the same range. */
let lastRange: TimeRange | undefined

export function Header({ route, address }: { route: Route; address: Address }) {
  if (route.page !== 'trace') lastRange = rangeOf(address.query)
  const pages: [title: string, href: string, current: boolean][] = [
    ['Find', searchIn(lastRange), route.page === 'find'],
    ['Errors', withRange('errors', lastRange), route.page === 'errors'],
    ['Services', withRange('services', lastRange), route.page === 'services' || route.page === 'service'],
    ['Graph', withRange('graph', lastRange), route.page === 'graph'],
    ['Changes', withRange('changes', lastRange), route.page === 'changes'],
    ['Kept', withRange('kept', lastRange), route.page === 'kept'],
    ['Analysis', 'analysis', route.page === 'analysis'],
  ]
  return (
    <header class="top">
      <a class="brand" href="./">
        <img src={iconUrl} alt="" width="24" height="24" />
        Milo
      </a>
      <nav aria-label="Pages">
        {pages.map(([title, href, current]) => (
          <a key={title} href={href} aria-current={current ? 'page' : undefined}>
            {title}
          </a>
        ))}
      </nav>
      <TraceLookup />
      <div class="top-buttons">
        <ThemeSwitch />
        <ShortcutsDialog />
      </div>
    </header>
  )
}
