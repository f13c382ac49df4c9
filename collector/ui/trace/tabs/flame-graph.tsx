import { useMemo } from 'preact/hooks'
import { formatDuration } from '../../../src/trace'
import { serviceColors } from '../../parts/colors'
import { counted } from '../../parts/count'
import { FlameBox } from '../../parts/flame-box'
import { setQuery } from '../../shell/address'
import { callTree } from './call-tree'
import type { TabProps } from './tab-props'

/** Draws calls merged by path, each as wide as the time spent in it and below it, parallel calls included. */
export function FlameGraph({ trace, query, onSelect }: TabProps) {
  const nodes = useMemo(() => callTree(trace.columns, trace.tree), [trace.tree])
  const wanted = Number(query.get('flame') ?? -1)
  const root = Number.isInteger(wanted) && wanted > 0 && wanted < nodes.length ? wanted : -1
  const colors = useMemo(() => serviceColors(trace.head.services), [trace.head])
  const zoomTo = (node: number) => setQuery({ flame: node <= 0 ? null : String(node) }, { replace: false })
  return (
    <div class="flame">
      <p class="summary">
        {root !== -1 && (
          <button type="button" class="small" onClick={() => zoomTo(-1)}>
            Whole trace
          </button>
        )}{' '}
        {counted(nodes.length, 'call')} merged from {counted(trace.columns.count, 'span')}. The width is the time in a
        call and below it.
      </p>
      <FlameBox
        {...{ nodes, root, colors }}
        onZoom={zoomTo}
        tip={node =>
          node === undefined ? (
            'Point at a call to see its figures.'
          ) : (
            <>
              <strong>{node.name || 'no name'}</strong> {node.service} · {counted(node.count, 'span')} · self time and
              below {formatDuration(node.weight)}, self time {formatDuration(node.self)}, longest{' '}
              {formatDuration(node.max)}
              {node.errors > 0 && ` · ${counted(node.errors, 'error')}`}{' '}
            </>
          )
        }
      />
      {root !== -1 && (
        <button type="button" class="small" onClick={() => onSelect(nodes[root]!.span)}>
          Details of the longest span
        </button>
      )}
    </div>
  )
}
