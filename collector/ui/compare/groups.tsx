import { useMemo, useState } from 'preact/hooks'
import type { CompareGroupsAnswer, GroupError, GroupNode, RootOperation, TraceGroup } from '../../src/http/answers'
import { print } from '../../src/query'
import { formatDuration } from '../../src/trace'
import { differenceAddress } from '../find/difference/difference-address'
import { type AskedSearch, boxAddress, readAsked, searchOnly } from '../find/query-address'
import { counted } from '../parts/count'
import { Failure, Notice, Waiting } from '../parts/notice'
import { shortLocalTime } from '../parts/time'
import { useJson } from '../shell/json'
import { compareHref, traceHref } from '../shell/route'
import { type CallRow, CallTable } from './call-table'
import { groupKindOf, partsOfGroups, withAncestors } from './changes'
import { Operation } from './choices'
import { type ErrorRow, ErrorTable } from './error-table'
import { PartsList } from './parts-list'
import { signed } from './signed'

/** Compares the fastest and the slowest traces of a search, of one operation: what do the slow ones do more? */
export function Groups({ query }: { query: URLSearchParams }) {
  const url = `api/compare/groups?${searchOnly(query)}`
  const answer = useJson<CompareGroupsAnswer>(url)
  const asked = useMemo(() => readAsked(query), [query])
  return (
    <div class="compare">
      <div class="results-head">
        <h1>Fast and slow traces</h1>
        <a class="quiet-link" href={boxAddress(asked.text)}>
          Back to the search
        </a>
      </div>
      {answer.state === 'loading' && <Waiting what="fast and slow traces" />}
      {answer.state === 'failed' && (
        <Failure title="The traces couldn't be compared" problem={answer.problem} retry={answer.again} />
      )}
      {answer.state === 'ready' && <Shown answer={answer.value} query={query} asked={asked} />}
    </div>
  )
}

function Shown({ answer, query, asked }: { answer: CompareGroupsAnswer; query: URLSearchParams; asked: AskedSearch }) {
  const [all, setAll] = useState(false)
  const { operation, operations, fast, slow, nodes, left } = answer
  const isChanged = (node: GroupNode) => groupKindOf(node) !== 'same'
  const shown = all ? nodes : withAncestors(nodes, isChanged)
  const unknown = nodes.length > 0 && nodes[0]!.beyondChance.time === null
  return (
    <>
      {operations.length > 1 && <OperationChoice operations={operations} current={operation} query={query} />}
      {operation === null || fast.traces === 0 || slow.traces === 0 ? (
        <Notice title="There are too few traces to compare">
          <p>
            {operations.length === 0
              ? 'No trace of this search was found.'
              : 'Two traces of the same operation are needed.'}{' '}
            Search in a longer time range.
          </p>
        </Notice>
      ) : (
        <>
          <p class="summary" role="status">
            Of <Operation trace={operation} />, {groupText(fast, 'fastest')} and {groupText(slow, 'slowest')} traces
            were compared{answer.complete ? '' : ', of a sample'}, from {shortLocalTime(answer.from)} to{' '}
            {shortLocalTime(answer.to)}.
          </p>
          <Examples fast={fast} slow={slow} />
          {fast.truncated + slow.truncated > 0 && (
            <p class="hint">
              Of {counted(fast.truncated + slow.truncated, 'long trace')}, only the beginning was read.
            </p>
          )}
          {unknown && (
            <p class="hint">
              With so few traces, nobody can tell what is chance. Search in a longer time range for more.
            </p>
          )}
          <PartsList title="Where the slow ones take their time" parts={partsOfGroups(answer)} />
          <ErrorTable
            title="Errors"
            columns={['Fast traces', 'Slow traces']}
            rows={answer.errors.map(e => errorRow(e, answer))}
          />
          <h2>Calls</h2>
          <label class="switch">
            <input type="checkbox" checked={all} onChange={() => setAll(!all)} /> Show calls that don't differ beyond
            chance
          </label>
          {shown.length === 0 ? (
            <p class="summary">No call differs beyond chance.</p>
          ) : (
            <CallTable
              caption="Calls of fast and slow traces"
              columns={['Calls, fast', 'Calls, slow', 'Time, fast', 'Time, slow']}
              rows={shown.map(callRow)}
            />
          )}
          {left > 0 && (
            <p class="summary">
              {counted(left, 'call')}, whose time differs least, {left === 1 ? 'is' : 'are'} left out.
            </p>
          )}
          <p class="hint">
            Numbers are means of all traces of a group.{' '}
            <a href={differenceOf(answer, asked)}>What else do the slow traces have in common?</a>
          </p>
        </>
      )}
    </>
  )
}

function groupText({ traces, of, min, max }: TraceGroup, which: string): string {
  const some =
    traces < of ? `${traces.toLocaleString()} of the ${of.toLocaleString()}` : `the ${traces.toLocaleString()}`
  return `${some} ${which} (${min === max ? formatDuration(min) : `${formatDuration(min)} to ${formatDuration(max)}`})`
}

function OperationChoice(props: {
  operations: RootOperation[]
  current: RootOperation | null
  query: URLSearchParams
}) {
  const { operations, current, query } = props
  return (
    <nav class="compare-operations" aria-label="Operations of the sampled traces">
      {operations.map(operation => {
        const params = new URLSearchParams(query)
        params.set('rootService', operation.service ?? '')
        params.set('rootName', operation.name)
        const isCurrent = current !== null && operation.service === current.service && operation.name === current.name
        return (
          <a
            key={`${operation.service} ${operation.name}`}
            class="chip"
            href={`compare?${params}`}
            aria-current={isCurrent ? 'true' : undefined}
          >
            {operation.name || 'no name'} <span class="count">{operation.traces.toLocaleString()}</span>
          </a>
        )
      })}
    </nav>
  )
}

function Examples({ fast, slow }: { fast: TraceGroup; slow: TraceGroup }) {
  const [quick] = fast.examples
  const late = slow.examples.at(-1)
  if (quick === undefined || late === undefined) return null
  return (
    <p class="compare-links">
      <a href={traceHref(quick.traceId)}>A fast trace</a>
      <a href={traceHref(late.traceId)}>A slow trace</a>
      <a href={compareHref({ a: quick.traceId, b: late.traceId })}>Compare these two</a>
    </p>
  )
}

function callRow(node: GroupNode): CallRow {
  const { name, service, depth, fast, slow, change } = node
  const kind = groupKindOf(node)
  const time = (us: number, traces: number) => (traces === 0 ? '–' : formatDuration(us))
  const calls = (n: number, traces: number) => (traces === 0 ? '–' : decimal(n))
  return {
    ...{ name, depth, kind, service },
    tags: (
      <>
        {kind === 'added' && <span class="tag">only in slow traces</span>}
        {kind === 'removed' && <span class="tag">only in fast traces</span>}
      </>
    ),
    cells: [
      calls(fast.calls, fast.traces),
      calls(slow.calls, slow.traces),
      time(fast.time, fast.traces),
      time(slow.time, slow.traces),
    ],
    change: { us: change.time, text: kind === 'same' ? '' : signed(change.time, formatDuration) },
  }
}

function errorRow(error: GroupError, { fast, slow }: CompareGroupsAnswer): ErrorRow {
  const { service, name, type, message, exampleFast, exampleSlow } = error
  const cell = (n: number, of: TraceGroup, example: GroupError['exampleFast']) => ({
    text: n === 0 ? '–' : `${n.toLocaleString()} of ${of.traces.toLocaleString()}`,
    href: example === null ? undefined : traceHref(example.traceId, example.spanId),
  })
  const tag = error.fast === 0 ? 'only in slow traces' : error.slow === 0 ? 'only in fast traces' : undefined
  return {
    ...{ service, name, type, message },
    tag: error.beyondChance || tag === undefined ? tag : `${tag}, perhaps by chance`,
    counts: [cell(error.fast, fast, exampleFast), cell(error.slow, slow, exampleSlow)],
  }
}

/** Returns where the slow traces are compared with all others by what they have, rather than by their calls. */
function differenceOf({ operation, slow }: CompareGroupsAnswer, { query }: AskedSearch): string {
  const own = operation === null || query.name !== undefined ? {} : { name: operation.name }
  const service = operation?.service == null || query.service !== undefined ? {} : { service: operation.service }
  return differenceAddress(print({ ...query, ...own, ...service }), '', { minDurationUs: slow.min ?? 0 })
}

function decimal(n: number): string {
  return n.toLocaleString(undefined, { maximumFractionDigits: n < 10 ? 2 : n < 100 ? 1 : 0 })
}
