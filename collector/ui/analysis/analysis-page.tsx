import '../styles/tabs.css'
import '../styles/services.css'
import '../styles/compare.css'
import '../styles/analysis.css'
import { useEffect } from 'preact/hooks'
import type {
  AnalysedRoot,
  AnalysedRootsAnswer,
  AnalysedWindow,
  AnalysesAnswer,
  RootFigures,
  StatusAnswer,
} from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { counted } from '../parts/count'
import { Later } from '../parts/later'
import { Failure, Notice, Waiting } from '../parts/notice'
import { localRange } from '../parts/time'
import { navigate } from '../shell/address'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { analysisApi, analysisHref, rootOf, rootParams, sameRoot, VIEWS, type View, viewOf } from './analysis-address'
import { EdgesView } from './edges-view'
import { InstrumentationView } from './instrumentation-view'
import { PathsView } from './paths-view'
import { RegressionView } from './regression-view'
import { rootText } from './root-name'
import { StrangeView } from './strange-view'

const DAY_US = 86_400e6

/** Shows results of offline analyses, which read all traces of some hours. */
export function AnalysisPage({ query }: { query: URLSearchParams }) {
  const analyses = useJson<AnalysesAnswer>('api/analysis')
  useEffect(() => {
    document.title = 'Analysis – Milo'
  }, [])
  useShortcuts('Analysis', [
    { keys: ['r'], does: 'reload', run: analyses.again },
    ...(Object.keys(VIEWS) as View[]).map((view, i) => ({
      keys: [String(i + 1)],
      does: VIEWS[view],
      run: () => navigate(analysisHref(query, { view })),
    })),
  ])
  return (
    <>
      <div class="page-head">
        <h1>Analysis</h1>
      </div>
      {analyses.state === 'loading' && <Waiting what="analyses" />}
      {analyses.state === 'failed' && (
        <Failure title="The analyses couldn't be read" problem={analyses.problem} retry={analyses.again} />
      )}
      {analyses.state === 'ready' &&
        (analyses.value.windows.length === 0 ? (
          <Later
            load={() => import('./first-analysis')}
            show={({ FirstAnalysis }) => <FirstAnalysis />}
            meanwhile={<Waiting what="the page" />}
          />
        ) : (
          <Windows windows={analyses.value.windows} query={query} />
        ))}
    </>
  )
}

function Windows({ windows, query }: { windows: AnalysedWindow[]; query: URLSearchParams }) {
  const asked = query.get('window')
  const window = asked === null ? windows[0]! : windows.find(({ id }) => id === asked)
  const view = viewOf(query)
  const field = (
    <label class="service-field">
      Time
      <select
        value={window?.id ?? ''}
        onChange={({ currentTarget: { value } }) => navigate(analysisHref(query, { window: value }))}
      >
        {window === undefined && <option value="">choose</option>}
        {windows.map(({ id, from, to }) => (
          <option key={id} value={id}>
            {localRange(from, to)}
          </option>
        ))}
      </select>
    </label>
  )
  if (window === undefined) {
    return (
      <>
        <div class="graph-tools">{field}</div>
        <Notice title="This time isn't analysed">
          <p>Its results were removed, or never loaded. Choose another time above.</p>
        </Notice>
      </>
    )
  }
  return (
    <>
      <nav class="tabs" aria-label="Views of the analysis">
        {(Object.keys(VIEWS) as View[]).map(name => (
          <a
            key={name}
            href={analysisHref(query, { view: name === 'paths' ? null : name })}
            aria-current={name === view ? 'page' : undefined}
          >
            {VIEWS[name]}
          </a>
        ))}
      </nav>
      <WithRoots key={window.id} {...{ windows, window, view, query, field }} />
    </>
  )
}

interface ViewProps {
  windows: AnalysedWindow[]
  window: AnalysedWindow
  view: View
  query: URLSearchParams
  field: preact.ComponentChild
}

/** Views that are about root operations have a field to choose one. */
function WithRoots({ windows, window, view, query, field }: ViewProps) {
  const isOfRoots = view !== 'instrumentation' && view !== 'edges'
  const roots = useJson<AnalysedRootsAnswer>(isOfRoots ? analysisApi('roots', { window: window.id }) : null)
  const asked = rootOf(query)
  const listed = roots.state === 'ready' ? roots.value.roots : []
  // Critical paths are those of one operation: of that which took most time, if none is chosen.
  const root = asked ?? (view === 'paths' ? listed[0] : undefined)
  return (
    <>
      <div class="graph-tools">
        {field}
        {isOfRoots && roots.state === 'ready' && (
          <RootField roots={listed} root={root} mayBeAll={view !== 'paths'} query={query} />
        )}
      </div>
      <Analysed window={window} />
      {view === 'edges' && <EdgesView window={window} query={query} />}
      {view === 'instrumentation' && <InstrumentationView window={window} query={query} />}
      {view === 'regression' && <RegressionView {...{ windows, window, root, query }} />}
      {view === 'strange' && <StrangeView {...{ window, root, query }} />}
      {view === 'paths' &&
        (roots.state === 'failed' ? (
          <Failure title="The root operations couldn't be read" problem={roots.problem} retry={roots.again} />
        ) : root !== undefined ? (
          <PathsView {...{ window, root, query }} />
        ) : roots.state === 'loading' ? (
          <Waiting what="root operations" />
        ) : (
          <Notice title="No trace was analysed">
            <p>Choose another time above, or analyse one that has traces.</p>
          </Notice>
        ))}
    </>
  )
}

interface RootFieldProps {
  roots: RootFigures[]
  root: AnalysedRoot | undefined
  mayBeAll: boolean
  query: URLSearchParams
}

function RootField({ roots, root, mayBeAll, query }: RootFieldProps) {
  const at = root === undefined ? -1 : roots.findIndex(other => sameRoot(other, root))
  const choose = (value: string) =>
    navigate(analysisHref(query, value === '' ? NO_ROOT : rootParams(roots[Number(value)]!)))
  return (
    <label class="service-field root-field">
      Root operation
      <select value={at === -1 ? '' : String(at)} onChange={({ currentTarget: { value } }) => choose(value)}>
        {(mayBeAll || at === -1) && <option value="">{mayBeAll || root === undefined ? 'All' : rootText(root)}</option>}
        {roots.map((other, i) => (
          <option key={i} value={i}>
            {`${rootText(other)} · ${formatDuration(other.mean)} × ${Math.round(other.weight).toLocaleString()}`}
          </option>
        ))}
      </select>
    </label>
  )
}

const NO_ROOT = { rootService: null, rootName: null }

/** What was read, and what wasn't: numbers are about that. */
function Analysed({ window: { counts, to } }: { window: AnalysedWindow }) {
  const status = useJson<StatusAnswer>('api/status')
  const days = status.state === 'ready' ? status.value.retentionDays : undefined
  const isOld = days !== undefined && to < Date.now() * 1000 - days * DAY_US
  const missing = (['cutTraces', 'brokenLines', 'longLines', 'unsortedLines'] as const).filter(name => counts[name])
  const words = (name: string) => name.replace(/[A-Z]/g, capital => ` ${capital.toLowerCase()}`)
  return (
    <p class="hint">
      {counted(counts.traces ?? 0, 'trace')} with {counted(counts.spans ?? 0, 'span')} analysed
      {missing.length > 0 && `; ${missing.map(name => `${words(name)}: ${counts[name]!.toLocaleString()}`).join(', ')}`}
      .{isOld && ` Traces stay for ${counted(days!, 'day')}: links to these lead nowhere any more.`}
    </p>
  )
}
