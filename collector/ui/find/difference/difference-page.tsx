import '../../styles/tabs.css'
import '../../styles/difference.css'
import { useEffect, useMemo } from 'preact/hooks'
import type { ComparedGroup, DifferenceAnswer } from '../../../src/http/answers'
import { counted } from '../../parts/count'
import { Failure, Notice, Waiting } from '../../parts/notice'
import { shortLocalTime } from '../../parts/time'
import { setQuery } from '../../shell/address'
import { useJson } from '../../shell/json'
import { useShortcuts } from '../../shell/shortcuts'
import { boxAddress } from '../query-address'
import { differenceApi, readDifference } from './difference-address'
import { DifferenceForm } from './difference-form'
import { FindingList } from './finding-list'

const ORDERS = { score: 'Most telling', lift: 'Largest factor' } as const

/** Shows what selected traces have more often, or less often, than the others of the same search. */
export function DifferencePage({ query }: { query: URLSearchParams }) {
  const asked = useMemo(() => readDifference(query), [query])
  const url = differenceApi(query)
  const comparison = useJson<DifferenceAnswer>(url ?? null)
  useEffect(() => {
    document.title = 'What is different? – Milo'
  }, [])
  useShortcuts('What is different', [{ keys: ['r'], does: 'compare again', run: comparison.again }])
  return (
    <>
      <div class="results-head">
        <h1>What is different?</h1>
        <a class="quiet-link" href={`compare?${new URLSearchParams({ q: asked.base.text, groups: 'fast-slow' })}`}>
          Compare the calls of fast and slow traces
        </a>
        <a class="quiet-link" href={boxAddress(asked.base.text)}>
          Back to the search
        </a>
      </div>
      <DifferenceForm key={String(query)} asked={asked} />
      {url === undefined && (
        <Notice title="Select traces to compare">
          <p>
            Describe above the traces that you want to explain: slow ones, failed ones, those with an annotation. Milo
            compares them with the other traces of the search and lists what they have more often. On the page{' '}
            <a href={boxAddress(asked.base.text)}>Find</a>, you can select traces by dragging a box in the plot.
          </p>
        </Notice>
      )}
      {url !== undefined && comparison.state === 'loading' && <Waiting what="the traces of both groups" />}
      {url !== undefined && comparison.state === 'failed' && (
        <Failure title="The traces couldn't be compared" problem={comparison.problem} retry={comparison.again} />
      )}
      {url !== undefined && comparison.state === 'ready' && (
        <>
          <GroupsRead answer={comparison.value} />
          <Answer answer={comparison.value} order={asked.order} base={asked.base.query} />
        </>
      )}
    </>
  )
}

function Answer({
  answer,
  order,
  base,
}: {
  answer: DifferenceAnswer
  order: keyof typeof ORDERS
  base: Parameters<typeof FindingList>[0]['base']
}) {
  const { selected, others, more, less, tested } = answer
  if (selected.traces === 0) {
    return (
      <Notice title="No trace is selected">
        <p>No trace of this search meets the selection. Give fewer conditions above, or a longer time range.</p>
      </Notice>
    )
  }
  if (others.traces === 0) {
    return (
      <Notice title="There is nothing to compare with">
        <p>All traces of this search are selected. Select fewer, or search in a longer time range.</p>
      </Notice>
    )
  }
  if (selected.effective === 0 || others.effective === 0) {
    return (
      <Notice title="These traces stand only for themselves">
        <p>
          All {selected.effective === 0 ? 'selected traces' : 'other traces'} were forced, rather than sampled, so their
          shares say nothing about other traffic.
        </p>
      </Notice>
    )
  }
  if (more.length + less.length === 0) {
    return (
      <Notice title="No difference beyond chance">
        <p>
          {counted(tested, 'feature')} of the traces {tested === 1 ? 'was' : 'were'} compared, and chance explains every
          difference. With more traces, smaller differences can be told from chance: choose a longer time range.
        </p>
      </Notice>
    )
  }
  return (
    <>
      <fieldset class="choices" aria-label="Order">
        {(Object.keys(ORDERS) as (keyof typeof ORDERS)[]).map(each => (
          <button
            type="button"
            key={each}
            aria-pressed={each === order}
            onClick={() => setQuery({ order: each === 'score' ? null : each })}
          >
            {ORDERS[each]}
          </button>
        ))}
      </fieldset>
      <FindingList title="More frequent in the selected traces" findings={more} answer={answer} base={base} />
      <FindingList title="Less frequent in the selected traces" findings={less} answer={answer} base={base} />
    </>
  )
}

/** Says what was read, so that nobody takes a sample for everything. */
function GroupsRead({ answer: { selected, others, from, to, truncated } }: { answer: DifferenceAnswer }) {
  const forced = selected.forced + others.forced
  const long = selected.truncated + others.truncated
  return (
    <p class="summary" role="status">
      {groupText(selected, 'selected trace')} and {groupText(others, 'other trace')} were compared, from{' '}
      {shortLocalTime(from)} to {shortLocalTime(to)}. Each stands for as many traces as its sampling probability says.
      {forced > 0 &&
        ` ${counted(forced, 'trace')} ${forced === 1 ? 'was' : 'were'} forced and not counted in the shares.`}
      {long > 0 && ` Of ${counted(long, 'long trace')}, only the beginning was read.`}
      {truncated && ' The traces have more different values than can be counted, so rare ones may be missing.'}
    </p>
  )
}

function groupText({ traces, complete }: ComparedGroup, what: string): string {
  return `${counted(traces, what)} (${complete ? 'all' : 'a sample'})`
}
