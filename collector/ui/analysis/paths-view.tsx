import { useMemo } from 'preact/hooks'
import type { AnalysedRoot, AnalysedWindow, PathsAnswer } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { serviceColors } from '../parts/colors'
import { counted } from '../parts/count'
import { FlameBox } from '../parts/flame-box'
import { Failure, Notice, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { Exemplars } from '../services/told'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { analysisApi, tracesHref } from './analysis-address'
import { askedBand, BandChoice } from './band-choice'
import { bandOf, type PathNode, pathOf, pathTree } from './path-tree'
import { RootName, rootText } from './root-name'
import { share } from './share'

interface Props {
  window: AnalysedWindow
  root: AnalysedRoot
  query: URLSearchParams
}

/** Where the time of a root operation's traces went: the critical paths of all of them, merged. */
export function PathsView({ window, root, query }: Props) {
  const answer = useJson<PathsAnswer>(analysisApi('paths', { window: window.id }, root))
  if (answer.state === 'loading') return <Waiting what="critical paths" />
  if (answer.state === 'failed') {
    return <Failure title="The critical paths couldn't be read" problem={answer.problem} retry={answer.again} />
  }
  return <Paths answer={answer.value} query={query} />
}

function Paths({ answer, query }: { answer: PathsAnswer; query: URLSearchParams }) {
  const { window, root, paths } = answer
  const band = askedBand(query)
  const figures = bandOf(root, band)
  const nodes = useMemo(() => pathTree(paths, band), [paths, band])
  const colors = useMemo(() => serviceColors([...new Set(nodes.map(({ service }) => service))]), [paths])
  const wanted = Number(query.get('flame') ?? -1)
  const shown = Number.isInteger(wanted) && wanted > 0 && wanted < nodes.length ? wanted : -1
  const asTable = query.get('as') === 'table'
  const zoomTo = (node: number) => setQuery({ flame: node <= 0 ? null : String(node) }, { replace: false })
  const searchFor = (node: PathNode) =>
    tracesHref(window, root, figures, node.parent === -1 ? undefined : { service: node.owner, name: node.name })
  return (
    <>
      <BandChoice band={band} />
      <p class="summary">
        <a href={tracesHref(window, root, figures)}>{counted(Math.round(figures.weight), 'trace')}</a> of{' '}
        <RootName root={root} />
        {limits(figures)}, by {counted(figures.traces, 'analysed one')}
        {figures.weight > 0 && <>: {formatDuration(figures.us / figures.weight)} on average</>}.{' '}
        {root.rootless > 0 && `Of all, ${counted(root.rootless, 'trace')} lack their beginning. `}
        <span class="exemplars-of">
          Examples: <Exemplars exemplars={figures.exemplars} />
        </span>
      </p>
      {figures.us === 0 ? (
        <Notice title="These traces have no time">
          <p>
            {figures.traces === 0
              ? 'No trace took that long. Choose other traces above.'
              : 'They were forced, and stand for no others, or their spans have no times.'}
          </p>
        </Notice>
      ) : (
        <>
          <fieldset class="choices" aria-label="How they are shown">
            {(['Flame graph', 'Table'] as const).map((title, i) => (
              <button
                key={title}
                type="button"
                aria-pressed={asTable === (i === 1)}
                onClick={() => setQuery({ as: i === 1 ? 'table' : null }, { replace: false })}
              >
                {title}
              </button>
            ))}
            {!asTable && shown !== -1 && (
              <button type="button" onClick={() => zoomTo(-1)}>
                All calls
              </button>
            )}
          </fieldset>
          {asTable ? (
            <PathTable
              {...{ nodes, searchFor, total: figures.us, weight: figures.weight }}
              sort={query.get('sort') ?? ''}
            />
          ) : (
            <>
              <p class="hint">
                The width is time on critical paths: what traces waited for. Work beside it isn't there.
              </p>
              <FlameBox
                nodes={nodes}
                root={shown}
                colors={colors}
                onZoom={zoomTo}
                tip={node => {
                  const told = node ?? nodes[0]!
                  const { own, weight, exemplars } = told
                  return (
                    <>
                      <RootName root={{ service: told.owner, name: told.name }} /> · with what is below it{' '}
                      {share(weight, figures.us)}, {formatDuration(weight / figures.weight)} a trace · itself{' '}
                      {share(own, figures.us)}, {formatDuration(own / figures.weight)} a trace{' '}
                      <a href={searchFor(told)}>Search</a> <Exemplars exemplars={exemplars} />
                    </>
                  )
                }}
              />
            </>
          )}
        </>
      )}
    </>
  )
}

interface TableProps {
  nodes: PathNode[]
  /** Microseconds of all of them. */
  total: number
  /** How many traces they stand for. */
  weight: number
  searchFor(node: PathNode): string
  sort: string
}

/** The same as the flame graph, as a table: a row for each path, the one with most time of its own first. */
function PathTable({ nodes, total, weight, searchFor, sort }: TableProps) {
  const rows = useMemo(
    () =>
      nodes
        .map((node, at) => ({ node, at }))
        .filter(({ node }) => node.weight > 0)
        .sort((a, b) => b.node.own - a.node.own),
    [nodes],
  )
  const columns: Column<(typeof rows)[number]>[] = [
    {
      key: 'path',
      title: 'Path',
      value: ({ node }) => pathOf(nodes, node).map(rootOfNode).map(rootText).join(' › '),
      show: ({ node }) => (
        <ol class="path">
          {pathOf(nodes, node).map((part, i) => (
            <li key={i}>
              <RootName root={rootOfNode(part)} />
            </li>
          ))}
        </ol>
      ),
    },
    {
      key: 'own',
      title: 'Itself, a trace',
      value: ({ node }) => node.own / weight,
      show: ({ node }) => formatDuration(node.own / weight),
    },
    {
      key: 'share',
      title: 'Itself',
      value: ({ node }) => node.own / total,
      show: ({ node }) => share(node.own, total),
    },
    {
      key: 'below',
      title: 'With what is below',
      value: ({ node }) => node.weight / total,
      show: ({ node }) => share(node.weight, total),
    },
    {
      key: 'traces',
      title: 'Analysed traces',
      value: ({ node }) => node.traces ?? Number.NaN,
      show: ({ node }) => (node.traces === null ? '–' : node.traces.toLocaleString()),
    },
    {
      key: 'examples',
      title: 'Traces',
      value: () => '',
      show: ({ node }) => (
        <span class="links">
          <a href={searchFor(node)} aria-label={`Search for traces with ${rootText(rootOfNode(node))}`}>
            search
          </a>{' '}
          <Exemplars exemplars={node.exemplars} />
        </span>
      ),
    },
  ]
  return (
    <div class="analysis-table">
      <SortedTable caption="Critical paths" columns={columns} rows={rows} sort={sort} rowKey={({ at }) => at} />
    </div>
  )
}

function rootOfNode({ owner, name }: PathNode): AnalysedRoot {
  return { service: owner, name }
}

function limits({ over, upTo }: { over: number; upTo: number | null }): string {
  if (over > 0)
    return ` that took more than ${formatDuration(over)}${upTo === null ? '' : ` and at most ${formatDuration(upTo)}`}`
  return upTo === null ? '' : ` that took at most ${formatDuration(upTo)}`
}
