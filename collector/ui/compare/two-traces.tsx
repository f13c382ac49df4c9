import { useMemo, useState } from 'preact/hooks'
import { type DiffError, type DiffNode, formatDuration } from '../../src/trace'
import { counted } from '../parts/count'
import { Failure, Notice, Waiting } from '../parts/notice'
import { token } from '../shell/credentials'
import { traceApi, traceHref } from '../shell/route'
import { useWorker } from '../shell/use-worker'
import { type CallRow, CallTable } from './call-table'
import { kindOf, partsOfDiff, withAncestors } from './changes'
import type { Compared, ComparedTrace } from './compare-worker'
import { type ErrorRow, ErrorTable } from './error-table'
import { PartsList } from './parts-list'
import { signed } from './signed'

/** What the two traces are called: in sentences ("the other trace"), and in columns ("other"). */
export interface TraceNames {
  a: string
  b: string
  columnA: string
  columnB: string
}

/**
 * Compares two traces: what trace `b` does more or less than trace `a`. Spans correspond if the paths of calls to them are the same.
 */
export function TwoTraces({ a, b, names }: { a: string; b: string; names: TraceNames }) {
  const question = useMemo(() => ({ a: traceApi(a), b: traceApi(b), token: token() }), [a, b])
  const answer = useWorker<Compared>(
    () => new Worker(new URL('./compare-worker.ts', import.meta.url), { type: 'module' }),
    question,
  )
  if (answer.state === 'loading') return <Waiting what="both traces" />
  if (answer.state === 'failed') {
    const problem = { status: 0, message: answer.message }
    return <Failure title="The traces couldn't be compared" problem={problem} retry={answer.again} />
  }
  if ('problem' in answer.value) {
    const { which, problem } = answer.value
    return (
      <Notice title={`${capital(names[which])} couldn't be read`}>
        <p>{problem.message}</p>
      </Notice>
    )
  }
  return <Shown compared={answer.value} a={a} b={b} names={names} />
}

interface ShownProps {
  compared: Exclude<Compared, { problem: unknown }>
  a: string
  b: string
  names: TraceNames
}

function Shown({ compared, a, b, names }: ShownProps) {
  const [all, setAll] = useState(false)
  const { nodes } = compared.diff
  const differing = nodes.filter(node => kindOf(node) !== 'same').length
  const shown = all ? nodes : withAncestors(nodes, node => kindOf(node) !== 'same')
  const change = (compared.b.duration ?? 0) - (compared.a.duration ?? 0)
  return (
    <>
      <p class="summary">
        <a href={traceHref(a)}>{capital(names.a)}</a> took {lengthOf(compared.a)}; <a href={traceHref(b)}>{names.b}</a>{' '}
        took {lengthOf(compared.b)}.{' '}
        {change !== 0 && `That is ${formatDuration(Math.abs(change))} ${change > 0 ? 'more' : 'less'}. `}
        {differing === 0
          ? 'They made the same calls.'
          : `${counted(differing, 'call')} ${differing === 1 ? 'differs' : 'differ'}.`}
      </p>
      <Truncated compared={compared} names={names} />
      <PartsList
        title={change > 0 ? 'Where the time went' : 'Where the time was saved'}
        parts={change === 0 ? [] : partsOfDiff(compared.diff)}
      />
      <ErrorTable
        title="Errors"
        columns={[capital(names.columnA), capital(names.columnB)]}
        rows={compared.errors.map(error => errorRow(error, a, b, names))}
      />
      <h2>Calls</h2>
      <label class="switch">
        <input type="checkbox" checked={all} onChange={() => setAll(!all)} /> Show unchanged calls
      </label>
      <CallTable
        caption="Calls of both traces"
        columns={[
          `Spans, ${names.columnA}`,
          `Spans, ${names.columnB}`,
          `Time, ${names.columnA}`,
          `Time, ${names.columnB}`,
        ]}
        rows={shown.slice(0, MAX_ROWS).map(node => callRow(node, names))}
      />
      {shown.length > MAX_ROWS && <p class="summary">Only the first {counted(MAX_ROWS, 'call')} are shown.</p>}
    </>
  )
}

const MAX_ROWS = 1000

function Truncated({ compared: { a, b }, names }: Pick<ShownProps, 'compared' | 'names'>) {
  if (!a.truncated && !b.truncated) return null
  return (
    <p class="hint">
      {a.truncated && b.truncated ? 'Both traces have' : `${capital(a.truncated ? names.a : names.b)} has`} more spans
      than the collector reads of one trace. Only a part is compared: calls that seem to be missing may be in the rest.
      The setting <code>max_trace_bytes</code> limits how much is read.
    </p>
  )
}

/** "80.0 ms with 3 spans" */
function lengthOf({ duration, spans, truncated }: ComparedTrace): string {
  return `${formatDuration(duration)} with ${counted(spans, 'span')}${truncated ? ' or more' : ''}`
}

function callRow(node: DiffNode, names: TraceNames): CallRow {
  const { name, depth, service, a, b, totalChange } = node
  const kind = kindOf(node)
  const [failedA, failedB] = [a?.errors ?? 0, b?.errors ?? 0]
  return {
    ...{ name, depth, kind, service },
    tags: (
      <>
        {kind === 'added' && <span class="tag">only in {names.b}</span>}
        {kind === 'removed' && <span class="tag">only in {names.a}</span>}
        {failedA + failedB > 0 && (
          <span class="error-mark">
            failed
            {failedA > 0 && failedB > 0
              ? ' in both'
              : kind === 'added' || kind === 'removed'
                ? ''
                : ` in ${failedA > 0 ? names.a : names.b}`}
          </span>
        )}
      </>
    ),
    cells: [
      a?.count.toLocaleString() ?? '–',
      b?.count.toLocaleString() ?? '–',
      formatDuration(a?.total ?? null),
      formatDuration(b?.total ?? null),
    ],
    change: { us: totalChange, text: signed(totalChange, formatDuration) },
  }
}

function errorRow(error: DiffError, a: string, b: string, names: TraceNames): ErrorRow {
  const { service, name, type, message, spanA, spanB } = error
  const count = (n: number, trace: string, span: string | null) => ({
    text: n === 0 ? '–' : n.toLocaleString(),
    href: span === null ? undefined : traceHref(trace, span),
  })
  return {
    ...{ service, name, type, message },
    tag: error.a === 0 ? `only in ${names.b}` : error.b === 0 ? `only in ${names.a}` : undefined,
    counts: [count(error.a, a, spanA), count(error.b, b, spanB)],
  }
}

export function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
