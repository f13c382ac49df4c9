import { useMemo, useState } from 'preact/hooks'
import { type DiffNode, findTraceId, formatDuration } from '../../../src/trace'
import { counted } from '../../parts/count'
import { Failure, Notice, Waiting } from '../../parts/notice'
import { setQuery } from '../../shell/address'
import { token } from '../../shell/credentials'
import { traceHref } from '../../shell/route'
import { useWorker } from '../../shell/use-worker'
import { urlOf } from '../load-trace'
import type { Compared, ComparedTrace } from './compare-worker'
import type { TabProps } from './tab-props'

/** Compares this trace with another. Spans correspond if the paths of calls to them are the same. */
export function Compare({ id, query }: TabProps) {
  const other = query.get('with')
  return (
    <div class="compare">
      <OtherTrace key={other ?? ''} other={other} />
      {other === null ? (
        <Notice title="Compare with another trace">
          <p>
            Enter the id of a similar trace that was faster or that succeeded. The differences are shown as one tree:
            calls that only one of the traces made, and calls that took more time.
          </p>
        </Notice>
      ) : (
        <Comparison key={other} a={other} b={id} />
      )}
    </div>
  )
}

function OtherTrace({ other }: { other: string | null }) {
  const [text, setText] = useState(other ?? '')
  const [wrong, setWrong] = useState(false)
  const compare = (event: Event) => {
    event.preventDefault()
    const id = findTraceId(text)
    setWrong(id === null)
    if (id !== null) setQuery({ with: id }, { replace: false })
  }
  return (
    <form class="choices" onSubmit={compare}>
      <label for="other-trace">Other trace</label>
      <input
        id="other-trace"
        value={text}
        onInput={event => setText(event.currentTarget.value)}
        placeholder="id in any form, or a link"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        required
        aria-invalid={wrong}
      />
      <button type="submit">Compare</button>
      {wrong && (
        <p class="field-problem" role="alert">
          No trace id found. Enter an id or a link to a trace.
        </p>
      )}
    </form>
  )
}

/** @param b the trace of this page; `a` is the other one */
function Comparison({ a, b }: { a: string; b: string }) {
  const question = useMemo(() => ({ a: urlOf(a), b: urlOf(b), token: token() }), [a, b])
  const answer = useWorker<Compared>(
    () => new Worker(new URL('./compare-worker.ts', import.meta.url), { type: 'module' }),
    question,
  )
  const [all, setAll] = useState(false)
  if (answer.state === 'loading') return <Waiting what="both traces" />
  if (answer.state === 'failed') {
    const problem = { status: 0, message: answer.message }
    return <Failure title="The traces couldn't be compared" problem={problem} retry={answer.again} />
  }
  const compared = answer.value
  if ('problem' in compared) {
    return (
      <Notice title={compared.which === 'a' ? "The other trace couldn't be read" : "This trace couldn't be read"}>
        <p>{compared.problem.message}</p>
      </Notice>
    )
  }
  const { nodes } = compared.diff
  const differing = nodes.filter(node => kindOf(node) !== 'same').length
  const shown = all ? nodes : withAncestors(nodes)
  return (
    <>
      <p class="summary">
        <a href={traceHref(a)}>The other trace</a> took {lengthOf(compared.a)}; this trace took {lengthOf(compared.b)}.{' '}
        {differing === 0
          ? 'They made the same calls.'
          : `${counted(differing, 'call')} ${differing === 1 ? 'differs' : 'differ'}.`}
      </p>
      {(compared.a.truncated || compared.b.truncated) && (
        <p class="hint">
          {compared.a.truncated && compared.b.truncated
            ? 'Both traces have'
            : compared.a.truncated
              ? 'The other trace has'
              : 'This trace has'}{' '}
          more spans than the collector reads of one trace. Only a part is compared: calls that seem to be missing may
          be in the rest. The setting <code>max_trace_bytes</code> limits how much is read.
        </p>
      )}
      <label class="switch">
        <input type="checkbox" checked={all} onChange={() => setAll(!all)} /> Show unchanged calls
      </label>
      <div class="table-box">
        <table class="table">
          <caption>Calls of both traces</caption>
          <thead>
            <tr>
              <th scope="col">Call</th>
              <th scope="col">Service</th>
              <th scope="col" class="number">
                Spans, other
              </th>
              <th scope="col" class="number">
                Spans, this
              </th>
              <th scope="col" class="number">
                Time, other
              </th>
              <th scope="col" class="number">
                Time, this
              </th>
              <th scope="col" class="number">
                Change
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.slice(0, MAX_ROWS).map((node, i) => (
              <Line key={i} node={node} />
            ))}
          </tbody>
        </table>
      </div>
      {shown.length > MAX_ROWS && <p class="summary">Only the first {counted(MAX_ROWS, 'call')} are shown.</p>}
    </>
  )
}

const MAX_ROWS = 1000

/** "80.0 ms with 3 spans" */
function lengthOf({ duration, spans, truncated }: ComparedTrace): string {
  return `${formatDuration(duration)} with ${counted(spans, 'span')}${truncated ? ' or more' : ''}`
}

function Line({ node }: { node: DiffNode }) {
  const kind = kindOf(node)
  return (
    <tr class={`diff-${kind}`}>
      <td>
        <span class="diff-name" style={{ '--depth': node.depth }}>
          <span class="diff-sign" aria-hidden="true">
            {SIGNS[kind]}
          </span>{' '}
          {node.name || <em>no name</em>}{' '}
          {kind !== 'same' && kind !== 'changed' && <span class="tag">{WORDS[kind]}</span>}
        </span>
      </td>
      <td>{node.service}</td>
      <td class="number">{node.a?.count.toLocaleString() ?? '–'}</td>
      <td class="number">{node.b?.count.toLocaleString() ?? '–'}</td>
      <td class="number">{formatDuration(node.a?.total ?? null)}</td>
      <td class="number">{formatDuration(node.b?.total ?? null)}</td>
      <td class={`number ${node.totalChange > 0 ? 'longer' : 'shorter'}`}>
        {node.totalChange === 0
          ? ''
          : `${node.totalChange > 0 ? '+' : '−'}${formatDuration(Math.abs(node.totalChange))}`}
      </td>
    </tr>
  )
}

const SIGNS = { added: '+', removed: '−', changed: '±', same: ' ' } as const
const WORDS = { added: 'only in this trace', removed: 'only in the other trace' } as const

/** A duration counts as changed if it differs by more than a tenth and more than a millisecond: no duration is exactly the same twice. */
function kindOf({ a, b, countChange, totalChange }: DiffNode): keyof typeof SIGNS {
  if (a === null) return 'added'
  if (b === null) return 'removed'
  const much = Math.max(1000, 0.1 * a.total)
  return countChange !== 0 || Math.abs(totalChange) > much ? 'changed' : 'same'
}

/** Returns the nodes that differ, with their ancestors. */
function withAncestors(nodes: DiffNode[]): DiffNode[] {
  const path: DiffNode[] = []
  const kept = new Set<DiffNode>()
  for (const node of nodes) {
    path.length = node.depth
    path[node.depth] = node
    if (kindOf(node) !== 'same') for (const at of path) kept.add(at)
  }
  return nodes.filter(node => kept.has(node))
}
