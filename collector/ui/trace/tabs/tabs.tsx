import { Waiting } from '../../parts/notice'
import { hrefOf, navigate } from '../../shell/address'
import { useShortcuts } from '../../shell/shortcuts'
import { Waterfall } from '../waterfall/waterfall'
import { CallGraph } from './call-graph'
import { Compare } from './compare'
import { FlameGraph } from './flame-graph'
import { RawJson } from './raw-json'
import { Statistics } from './statistics'
import type { TabProps } from './tab-props'
import { TreeTable } from './tree-table'

const TABS = {
  waterfall: 'Waterfall',
  table: 'Tree table',
  graph: 'Call graph',
  flame: 'Flame graph',
  statistics: 'Statistics',
  compare: 'Compare',
  json: 'JSON',
} as const
type Tab = keyof typeof TABS

export function tabOf(query: URLSearchParams): Tab {
  const tab = query.get('tab') ?? ''
  return Object.hasOwn(TABS, tab) ? (tab as Tab) : 'waterfall'
}

/** Links to the views of one trace; each view has its own address. */
export function Tabs({ id, query }: { id: string; query: URLSearchParams }) {
  const current = tabOf(query)
  const hrefTo = (tab: Tab) => {
    const next = new URLSearchParams(query)
    next.delete('sort')
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
    <nav class="tabs" aria-label="Views of the trace">
      {tabs.map(tab => (
        <a key={tab} href={hrefTo(tab)} aria-current={tab === current ? 'page' : undefined}>
          {TABS[tab]}
        </a>
      ))}
    </nav>
  )
}

export function TabPanel({ tab, ...props }: TabProps & { tab: Tab }) {
  if (tab === 'waterfall') return <Waterfall {...props} />
  if (tab === 'json') return <RawJson {...props} />
  if (tab === 'compare') return <Compare {...props} />
  // The other views show sums, which would be wrong for a part of the trace.
  if (!props.trace.complete) return <Waiting what="the rest of the trace" />
  switch (tab) {
    case 'table':
      return <TreeTable {...props} />
    case 'graph':
      return <CallGraph {...props} />
    case 'flame':
      return <FlameGraph {...props} />
    case 'statistics':
      return <Statistics {...props} />
  }
}
