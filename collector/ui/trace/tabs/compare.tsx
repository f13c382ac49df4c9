import { useMemo, useState } from 'preact/hooks'
import { type DiffNode, findTraceId, formatDuration } from '../../../src/trace'
import { Failure, Notice, Waiting } from '../../parts/notice'
import { setQuery } from '../../shell/address'
import { token } from '../../shell/credentials'
import { traceHref } from '../../shell/route'
import { useWorker } from '../../shell/use-worker'
import { urlOf } from '../load-trace'
import type { Compared } from './compare-worker'
import type { TabProps } from './tab-props'

/** This trace beside another: what was called more, less, longer; spans are the same where the path of calls to them is. */
export function Compare({ id, query }: TabProps) {
  const other = query.get('with')
  return (
    <div class="compare">
      <OtherTrace key={other ?? ''} other={other} />
      {other === null ? (
        <Notice title="Compare with another trace">
          <p>
            Give the id of a trace of the same kind that was faster, or that worked. What differs is laid out as one
            tree: calls that only one of them made, and where more time went.
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
        placeholder="its id in any form, or a link to it"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        required
        aria-invalid={wrong}
      />
      <button type="submit">Compare</button>
      {wrong && (
        <p class="field-problem" role="alert">
          There is no trace id in that.
        </p>
      )}
    </form>
  )
}

/** @param b the trace whose page this is; the other came before it */
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
  const differing = nodes.filter(node => kindOf(node) !== 'same')
  const shown = all ? nodes : withAncestors(nodes)
  return (
    <>
      <p class="summary">
        <a href={traceHref(a)}>The other</a> took {formatDuration(compared.a.duration)} with{' '}
        {compared.a.spans.toLocaleString()}
        {compared.a.truncated && ' or more'} spans, this one {formatDuration(compared.b.duration)} with{' '}
        {compared.b.spans.toLocaleString()}
        {compared.b.truncated && ' or more'}.{' '}
        {differing.length === 0 ? 'They made the same calls.' : `${differing.length.toLocaleString()} calls differ.`}
      </p>
      {(compared.a.truncated || compared.b.truncated) && (
        <p class="hint">
          {compared.a.truncated && compared.b.truncated
            ? 'Both traces have'
            : compared.a.truncated
              ? 'The other trace has'
              : 'This trace has'}{' '}
          more spans than are read of one: a part is compared, and calls that are missing may be in the rest. The
          setting <code>max_trace_bytes</code> says how much is read.
        </p>
      )}
      <label class="switch">
        <input type="checkbox" checked={all} onChange={() => setAll(!all)} /> Also what is the same in both
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
                this
              </th>
              <th scope="col" class="number">
                Time, other
              </th>
              <th scope="col" class="number">
                this
              </th>
              <th scope="col" class="number">
                Change
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.slice(0, MOST_ROWS).map((node, i) => (
              <Line key={i} node={node} />
            ))}
          </tbody>
        </table>
      </div>
      {shown.length > MOST_ROWS && <p class="summary">The first {MOST_ROWS.toLocaleString()} are shown.</p>}
    </>
  )
}

const MOST_ROWS = 1000

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
const WORDS = { added: 'only here', removed: 'only in the other' } as const

/** A duration counts as changed from a tenth and a millisecond on: none is ever the same twice. */
function kindOf({ a, b, countChange, totalChange }: DiffNode): keyof typeof SIGNS {
  if (a === null) return 'added'
  if (b === null) return 'removed'
  const much = Math.max(1000, 0.1 * a.total)
  return countChange !== 0 || Math.abs(totalChange) > much ? 'changed' : 'same'
}

/** What differs, and what it hangs on. */
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
