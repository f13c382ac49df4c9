import { hrefOf, navigate } from '../../shell/address'
import { useShortcuts } from '../../shell/shortcuts'
import type { LoadedTrace } from '../load-trace'
import { Waterfall } from '../waterfall/waterfall'

export interface TabProps {
  trace: LoadedTrace
  /** The trace's, as in the address. */
  id: string
  query: URLSearchParams
  /** Index of a span, or −1. */
  selected: number
  colourOf(span: number): number
  onSelect(span: number): void
}

const TABS = {
  waterfall: 'Waterfall',
} as const
type Tab = keyof typeof TABS

export function tabOf(query: URLSearchParams): Tab {
  const tab = query.get('tab') ?? ''
  return Object.hasOwn(TABS, tab) ? (tab as Tab) : 'waterfall'
}

/** Ways to look at one trace; each has its address. */
export function Tabs({ id, query }: { id: string; query: URLSearchParams }) {
  const current = tabOf(query)
  const hrefTo = (tab: Tab) => {
    const next = new URLSearchParams(query)
    if (tab === 'waterfall') next.delete('tab')
    else next.set('tab', tab)
    return hrefOf({ path: `/trace/${encodeURIComponent(id)}`, query: next })
  }
  const tabs = Object.keys(TABS) as Tab[]
  useShortcuts(
    'Trace',
    tabs.map((tab, i) => ({ keys: [String(i + 1)], does: TABS[tab], run: () => navigate(hrefTo(tab)) })),
  )
  return (
    <nav class="tabs" aria-label="Ways to look at the trace">
      {tabs.map(tab => (
        <a key={tab} href={hrefTo(tab)} aria-current={tab === current ? 'page' : undefined}>
          {TABS[tab]}
        </a>
      ))}
    </nav>
  )
}

export function TabPanel({ tab, ...props }: TabProps & { tab: Tab }) {
  switch (tab) {
    case 'waterfall':
      return <Waterfall {...props} />
  }
}
