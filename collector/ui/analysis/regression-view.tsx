import { useMemo } from 'preact/hooks'
import type {
  AnalysedRoot,
  AnalysedWindow,
  BandRegression,
  Contribution,
  Estimate,
  RegressionAnswer,
  RootRegression,
} from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { signed } from '../compare/signed'
import { counted } from '../parts/count'
import { tellDuration } from '../parts/estimate'
import { Failure, Notice, Waiting } from '../parts/notice'
import { type Column, SortedTable } from '../parts/sorted-table'
import { localRange } from '../parts/time'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { analysisApi, analysisHref, rootParams, tracesHref } from './analysis-address'
import { askedBand, BandChoice } from './band-choice'
import { RootName, rootText } from './root-name'

interface Props {
  windows: AnalysedWindow[]
  /** The later time. */
  window: AnalysedWindow
  root: AnalysedRoot | undefined
  query: URLSearchParams
}

/** What made root operations slower or faster between two windows: the changes on their critical paths, each with how sure it is. */
export function RegressionView({ windows, window, root, query }: Props) {
  const others = windows.filter(({ id }) => id !== window.id)
  const before = others.find(({ id }) => id === query.get('before')) ?? usualBefore(others, window)
  if (before === undefined) {
    return (
      <Notice title="There is no other time to compare with">
        <p>
          A regression is what changed from one time to another. Analyse a second time, such as the day before, and load
          its results too.
        </p>
      </Notice>
    )
  }
  return (
    <>
      <div class="graph-tools">
        <label class="service-field">
          Compare with
          <select
            value={before.id}
            onChange={({ currentTarget: { value } }) => setQuery({ before: value }, { replace: false })}
          >
            {others.map(({ id, from, to }) => (
              <option key={id} value={id}>
                {localRange(from, to)}
              </option>
            ))}
          </select>
        </label>
      </div>
      <Regressions {...{ before, window, root, query }} />
    </>
  )
}

/** The time as long that ended last before this one; or else the one before it, or any. */
function usualBefore(others: AnalysedWindow[], { from, to }: AnalysedWindow): AnalysedWindow | undefined {
  const earlier = others.filter(other => other.to <= from)
  return earlier.find(other => other.to - other.from === to - from) ?? earlier[0] ?? others[0]
}

function Regressions({ before, window, root, query }: Omit<Props, 'windows'> & { before: AnalysedWindow }) {
  const answer = useJson<RegressionAnswer>(analysisApi('regression', { before: before.id, after: window.id }, root))
  if (answer.state === 'loading') return <Waiting what="what has changed" />
  if (answer.state === 'failed') {
    return <Failure title="The times couldn't be compared" problem={answer.problem} retry={answer.again} />
  }
  const { regressions, truncated } = answer.value
  if (regressions.length === 0) {
    return (
      <Notice title="There is nothing to compare">
        <p>{root === undefined ? 'Neither time has traces.' : 'This operation has traces in neither time.'}</p>
      </Notice>
    )
  }
  if (root === undefined) {
    return <RootTable {...{ regressions, query, truncated }} sort={query.get('sort') ?? ''} />
  }
  return <OneRoot answer={answer.value} regression={regressions[0]!} query={query} />
}

interface RootTableProps {
  regressions: RootRegression[]
  truncated: true | undefined
  query: URLSearchParams
  sort: string
}

/** Root operations by how much their mean changed. */
function RootTable({ regressions, truncated, query, sort }: RootTableProps) {
  const all = ({ bands }: RootRegression) => bands[0]!
  const columns: Column<RootRegression>[] = [
    {
      key: 'operation',
      title: 'Root operation',
      value: rootText,
      show: root => (
        <a href={analysisHref(query, { ...rootParams(root) })}>
          <RootName root={root} />
        </a>
      ),
    },
    {
      key: 'change',
      title: 'Change',
      value: root => all(root).change?.value ?? Number.NaN,
      show: root => <ChangeText {...all(root)} />,
    },
    {
      key: 'before',
      title: 'Mean before',
      value: root => all(root).before ?? Number.NaN,
      show: root => formatDuration(all(root).before),
    },
    {
      key: 'after',
      title: 'Mean after',
      value: root => all(root).after ?? Number.NaN,
      show: root => formatDuration(all(root).after),
    },
    {
      key: 'traces',
      title: 'Traces before',
      value: ({ before }) => before?.weight ?? 0,
      show: ({ before }) => Math.round(before?.weight ?? 0).toLocaleString(),
    },
    {
      key: 'tracesAfter',
      title: 'Traces after',
      value: ({ after }) => after?.weight ?? 0,
      show: ({ after }) => Math.round(after?.weight ?? 0).toLocaleString(),
    },
  ]
  return (
    <div class="analysis-table">
      <p class="hint">
        Bold changes are beyond chance. Choose an operation to see what made it slower or faster.
        {truncated && ' There are more than are listed.'}
      </p>
      <SortedTable
        caption="How root operations changed"
        columns={columns}
        rows={regressions}
        sort={sort}
        rowKey={({ service, name }) => JSON.stringify([service, name])}
      />
    </div>
  )
}

/** Bold if chance alone hardly makes it. */
function ChangeText({ change, beyondChance }: Pick<BandRegression, 'change' | 'beyondChance'>) {
  return change === null ? <>–</> : <Change change={change} beyond={beyondChance} />
}

function Change({ change, beyond }: { change: Estimate; beyond: boolean }) {
  const { value, low, high } = change
  const margin = low === null || high === null ? '± ?' : marginOf(change)
  const between =
    low === null || high === null
      ? undefined
      : `Between ${signedDuration(low)} and ${signedDuration(high)}, with a probability of 95%`
  return (
    <span class={`told ${beyond ? 'beyond' : ''}`} title={between}>
      <span class={value > 0 ? 'longer' : 'shorter'}>{signedDuration(value)}</span> <span class="margin">{margin}</span>
    </span>
  )
}

function marginOf({ value, low, high }: Estimate): string {
  const off = Math.max(value - low!, high! - value)
  return tellDuration({ value: Math.abs(value), low: Math.abs(value) - off, high: Math.abs(value) + off }).margin
}

function signedDuration(us: number): string {
  return signed(us, formatDuration) || '0 µs'
}

interface OneRootProps {
  answer: RegressionAnswer
  regression: RootRegression
  query: URLSearchParams
}

function OneRoot({ answer: { before, after }, regression, query }: OneRootProps) {
  const name = askedBand(query)
  const band = regression.bands.find(({ band }) => band === name) ?? regression.bands[0]!
  return (
    <>
      <BandChoice band={band.band} />
      <p class="summary">
        <RootName root={regression} /> took {formatDuration(band.before)} on average from{' '}
        {localRange(before.from, before.to)} (
        <a href={tracesHref(before, regression)}>{counted(Math.round(regression.before?.weight ?? 0), 'trace')}</a>),
        and {formatDuration(band.after)} from {localRange(after.from, after.to)} (
        <a href={tracesHref(after, regression)}>{counted(Math.round(regression.after?.weight ?? 0), 'trace')}</a>): a
        change of <ChangeText {...band} />.
      </p>
      {band.contributions.length === 0 ? (
        <Notice title="What contributed isn't known">
          <p>It has traces in one of the times only. Choose another time to compare with, or other traces.</p>
        </Notice>
      ) : (
        <Contributions {...{ band, before, after, root: regression }} sort={query.get('sort') ?? ''} />
      )}
    </>
  )
}

interface ContributionsProps {
  band: BandRegression
  before: AnalysedWindow
  after: AnalysedWindow
  root: AnalysedRoot
  sort: string
}

/** Operations on the critical paths: their changes sum up to that of the root operation. */
function Contributions({ band: { contributions }, before, after, root, sort }: ContributionsProps) {
  const largest = useMemo(
    () => Math.max(...contributions.map(({ change }) => Math.abs(change.value)), 1e-9),
    [contributions],
  )
  const columns: Column<Contribution>[] = [
    {
      key: 'operation',
      title: 'On the critical path',
      value: rootText,
      show: row => (
        <>
          <RootName root={row} /> {row.state !== 'both' && <span class="tag">{row.state}</span>}
        </>
      ),
    },
    {
      key: 'change',
      title: 'Change of the mean',
      value: ({ change }) => change.value,
      show: ({ change, beyondChance }) => (
        <>
          <Change change={change} beyond={beyondChance} />
          <span class="part-bar" aria-hidden="true">
            <span
              class={change.value > 0 ? 'longer' : 'shorter'}
              style={{ '--length': (100 * Math.abs(change.value)) / largest }}
            />
          </span>
        </>
      ),
    },
    {
      key: 'often',
      title: 'By more calls',
      value: ({ oftenUs }) => oftenUs ?? Number.NaN,
      show: ({ oftenUs }) => (oftenUs === null ? '–' : signedDuration(oftenUs)),
    },
    {
      key: 'slower',
      title: 'By slower ones',
      value: ({ slowerUs }) => slowerUs ?? Number.NaN,
      show: ({ slowerUs }) => (slowerUs === null ? '–' : signedDuration(slowerUs)),
    },
    {
      key: 'time',
      title: 'A trace',
      value: ({ after }) => after.us,
      show: row => `${formatDuration(row.before.us)} → ${formatDuration(row.after.us)}`,
    },
    {
      key: 'calls',
      title: 'Calls a trace',
      value: row => row.after.calls ?? Number.NaN,
      show: row => `${calls(row.before.calls)} → ${calls(row.after.calls)}`,
    },
    {
      key: 'traces',
      title: 'Traces',
      value: () => '',
      show: row => {
        const below = row.name === root.name && row.service === root.service ? undefined : row
        return (
          <span class="links">
            <a href={tracesHref(before, root, undefined, below)} aria-label={`Traces before, with ${rootText(row)}`}>
              before
            </a>{' '}
            <a href={tracesHref(after, root, undefined, below)} aria-label={`Traces after, with ${rootText(row)}`}>
              after
            </a>
          </span>
        )
      },
    },
  ]
  return (
    <div class="analysis-table">
      <p class="hint">
        The changes sum up to that of the root operation. Bold ones are beyond chance. Times are those on critical
        paths.
      </p>
      <SortedTable
        caption="What contributed to the change"
        columns={columns}
        rows={contributions}
        sort={sort}
        rowKey={({ service, name }) => JSON.stringify([service, name])}
      />
    </div>
  )
}

function calls(n: number | null): string {
  return n === null ? '–' : n.toLocaleString('en-US', { maximumSignificantDigits: 3 })
}
