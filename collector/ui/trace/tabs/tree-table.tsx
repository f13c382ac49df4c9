import { useMemo } from 'preact/hooks'
import { partClass } from '../../../src/trace'
import { counted } from '../../parts/count'
import { DurationText } from '../../parts/duration-text'
import { ServiceMark } from '../../parts/service-mark'
import { type Column, SortedTable } from '../../parts/sorted-table'
import { useUsual } from '../../parts/usual'
import { setQuery } from '../../shell/address'
import { FLAG, hasFlag, nameAt, ownerAt, spanById, spanIdAt } from '../columns'
import type { LoadedTrace } from '../load-trace'
import { ancestorsOf, childrenOf } from '../tree'
import type { TabProps } from './tab-props'

/** Shows a call and its direct sub-calls; a click on a sub-call descends into it. */
export function TreeTable({ trace, query, selected, colorOf, onSelect }: TabProps) {
  const { columns, tree } = trace
  const top = useMemo(() => topOf(trace, query.get('top')), [tree, query.get('top')])
  const calls = useMemo(() => (top === -1 ? rootsOf(trace) : childrenOf(tree, top)), [tree, top])
  const descend = (span: number) => setQuery({ top: span === -1 ? 'all' : spanIdAt(columns, span) }, { replace: false })
  const { numbers } = columns
  // The server's duration, or else the client's.
  const duration = (span: number) =>
    Number.isNaN(numbers.serverDuration[span]!) ? numbers.duration[span]! : numbers.serverDuration[span]!
  const usualOf = useUsual(trace.head.services)
  const usual = (span: number) => usualOf(ownerAt(columns, span), nameAt(columns, span))
  const part = (span: number) => partClass(numbers.critical[span]!, trace.head.duration)
  const below = (span: number) => tree.end[span]! - span - 1
  const table: Column<number>[] = [
    {
      key: 'name',
      title: 'Call',
      value: span => nameAt(columns, span),
      show: span => (
        <>
          <ServiceMark color={colorOf(span) === -1 ? undefined : colorOf(span)} />{' '}
          {tree.childCount[span]! > 0 ? (
            <button type="button" class="link" onClick={() => descend(span)}>
              {nameAt(columns, span) || 'no name'}
            </button>
          ) : (
            <span>{nameAt(columns, span) || <em>no name</em>}</span>
          )}{' '}
          {hasFlag(columns, span, FLAG.error) && <span class="error-mark">Error</span>}
        </>
      ),
    },
    { key: 'service', title: 'Service', value: span => ownerAt(columns, span), show: span => ownerAt(columns, span) },
    {
      key: 'duration',
      title: 'Duration',
      value: duration,
      show: span => <DurationText us={duration(span)} usual={usual(span)} otherwise={part(span)} />,
    },
    {
      key: 'self',
      title: 'Self time',
      value: span => numbers.self[span]!,
      show: span => <DurationText us={numbers.self[span]!} />,
    },
    {
      key: 'network',
      title: 'Network',
      value: span => numbers.network[span]!,
      show: span => <DurationText us={numbers.network[span]!} />,
    },
    {
      key: 'calls',
      title: 'Sub-calls',
      value: span => tree.childCount[span]!,
      show: span => tree.childCount[span]!.toLocaleString(),
    },
    { key: 'below', title: 'Calls below', value: below, show: span => below(span).toLocaleString() },
    {
      key: 'detail',
      title: 'Detail',
      value: span => spanIdAt(columns, span),
      show: span => (
        <button
          type="button"
          class="small"
          aria-pressed={span === selected}
          aria-label={`Detail of ${nameAt(columns, span)}`}
          onClick={() => onSelect(span === selected ? -1 : span)}
        >
          Detail
        </button>
      ),
    },
  ]
  const path = top === -1 ? [] : [...ancestorsOf(tree, top), top]
  return (
    <div>
      <nav class="crumbs" aria-label="Path to this call">
        {tree.roots > 1 && (
          <button type="button" class="link" aria-current={top === -1 ? 'true' : undefined} onClick={() => descend(-1)}>
            All root spans
          </button>
        )}
        {shortened(path).map(span =>
          span === null ? (
            <span key="gap">…</span>
          ) : (
            <button
              type="button"
              class="link"
              key={span}
              aria-current={span === top ? 'true' : undefined}
              onClick={() => descend(span)}
            >
              {nameAt(columns, span) || 'no name'}
            </button>
          ),
        )}
      </nav>
      {top !== -1 && (
        <p class="summary">
          <DurationText us={duration(top)} usual={usual(top)} otherwise={part(top)} /> ·{' '}
          {ownerAt(columns, top) || 'unknown service'} · {counted(tree.childCount[top]!, 'sub-call')},{' '}
          {counted(below(top), 'call')} below
        </p>
      )}
      {calls.length === 0 ? (
        <p class="summary">This call made no further calls that were traced.</p>
      ) : (
        <SortedTable
          caption={top === -1 ? 'Root spans' : `Direct sub-calls of ${nameAt(columns, top)}`}
          columns={table}
          rows={calls}
          sort={query.get('sort') ?? ''}
          rowKey={span => span}
          rowClass={span => (span === selected ? 'chosen' : undefined)}
        />
      )}
    </div>
  )
}

/** Returns the span whose calls are shown; −1 for all root spans. */
function topOf({ columns, tree }: LoadedTrace, id: string | null): number {
  if (id === 'all') return -1
  const span = id === null ? -1 : spanById(columns, id)
  return span !== -1 ? span : tree.roots === 1 ? 0 : -1
}

function rootsOf({ tree }: LoadedTrace): number[] {
  const roots: number[] = []
  for (let i = 0; i < tree.end.length; i = tree.end[i]!) roots.push(i)
  return roots
}

/** Keeps only both ends of a long path. */
function shortened(path: number[]): (number | null)[] {
  return path.length <= 12 ? path : [...path.slice(0, 4), null, ...path.slice(-7)]
}
