import { Fragment } from 'preact'
import { useState } from 'preact/hooks'
import type { Change, Changed, ChangesAnswer, Estimate, Figures, SeriesAnswer } from '../../src/http/answers'
import { formatDuration } from '../../src/trace'
import { type Told, tellDuration, tellRate, tellShare } from '../parts/estimate'
import { Failure, Waiting } from '../parts/notice'
import { absolute, serviceHref, type TimeRange } from '../range/range'
import { useJson } from '../shell/json'
import { SeriesCharts } from './series-charts'
import { edgeParams, type Subject, seriesUrl } from './subject'
import { Exemplars } from './told'

const PAGE_ROWS = 50

/** Lists changes, what costs most first. A row opens its figures over both times. */
export function ChangesTable({ answer }: { answer: ChangesAnswer; range: TimeRange }) {
  const { before, after, changes } = answer
  const [open, setOpen] = useState('')
  const [maxRows, setMaxRows] = useState(PAGE_ROWS)
  // From the earlier time's beginning to the later's end, so that the charts show both.
  const around = absolute({ from: Math.min(before.from, after.from), to: Math.max(before.to, after.to) })
  return (
    <>
      <p class="hint">
        Bold changes are beyond chance; the others may be chance. Time is how many seconds more the calls take in each
        second, and Failures is how many more calls fail in each second. <Origin /> marks where a change seems to come
        from.
      </p>
      <div class="table-box">
        <table class="table changes-table">
          <caption>What has changed</caption>
          <thead>
            <tr>
              <th scope="col">Operation or calls</th>
              {['Time', 'Failures', 'Rate', 'Failed', 'Mean', 'p95'].map(title => (
                <th key={title} scope="col" class="number">
                  {title}
                </th>
              ))}
              <th scope="col">Traces</th>
            </tr>
          </thead>
          <tbody>
            {changes.slice(0, maxRows).map(change => {
              const key = keyOf(change)
              return (
                <Fragment key={key}>
                  <Row
                    change={change}
                    beforeUs={before.to - before.from}
                    afterUs={after.to - after.from}
                    open={key === open}
                    onToggle={() => setOpen(key === open ? '' : key)}
                  />
                  {key === open && (
                    <tr class="opened">
                      <td colSpan={8}>
                        <Detail change={change} range={around} boundary={Math.max(after.from, before.from)} />
                      </td>
                    </tr>
                  )}
                </Fragment>
              )
            })}
          </tbody>
        </table>
        {changes.length > maxRows && (
          <p class="more">
            <button type="button" onClick={() => setMaxRows(maxRows + 5 * PAGE_ROWS)}>
              Show more: {maxRows.toLocaleString()} of {changes.length.toLocaleString()}
            </button>
          </p>
        )}
      </div>
    </>
  )
}

function Origin() {
  return <span class="tag origin">likely origin</span>
}

function keyOf(change: Change): string {
  return change.kind === 'edge'
    ? JSON.stringify([change.from, change.fromName, change.to, change.toName])
    : JSON.stringify([change.service, change.name, change.side])
}

interface RowProps {
  change: Change
  beforeUs: number
  afterUs: number
  open: boolean
  onToggle(): void
}

function Row({ change, beforeUs, afterUs, open, onToggle }: RowProps) {
  const { before, after, changes, cost } = change
  const cell = (told: (figures: Figures, us: number) => Told, changed: Changed | null) => (
    <td class="number">
      <BeforeAfter before={told(before, beforeUs)} after={told(after, afterUs)} changed={changed} />
    </td>
  )
  return (
    <tr class={open ? 'chosen' : undefined}>
      <td class="what">
        <button type="button" class="link" aria-expanded={open} onClick={onToggle}>
          <Name change={change} />
        </button>
        {change.origin && <Origin />}
        {change.isNew && <span class="tag">new</span>}
        {change.isGone && <span class="tag">gone</span>}
      </td>
      <td class="number">
        <Cost value={cost.secondsPerSecond} text={`${formatDuration(1e6 * Math.abs(cost.secondsPerSecond))}`} />
      </td>
      <td class="number">
        <Cost value={cost.errorsPerSecond} text={tellRate(exact(Math.abs(cost.errorsPerSecond)), 1e6).text} />
      </td>
      {cell(({ calls }, us) => tellRate(calls, us), changes.rate)}
      {cell(({ errorShare }) => tellShare(errorShare), changes.errorShare)}
      {cell(({ mean }) => tellDuration(mean), changes.mean)}
      {cell(({ p95 }) => tellDuration(p95), changes.p95)}
      <td>
        <Exemplars exemplars={change.exemplars} />
      </td>
    </tr>
  )
}

function Name({ change }: { change: Change }) {
  if (change.kind === 'operation') {
    return (
      <>
        <strong>{change.name || 'no name'}</strong> of {change.service || 'no name'}
      </>
    )
  }
  const { from, fromName, to, toName } = change
  return (
    <>
      {from || 'no name'} {fromName} →{' '}
      <strong>
        {to || 'no name'} {toName}
      </strong>
    </>
  )
}

function exact(value: number): Estimate {
  return { value, low: value, high: value }
}

function Cost({ value, text }: { value: number; text: string }) {
  // Less than a tenth of a millisecond in each second, or a call a day, is nothing.
  if (Math.abs(value) < 1e-5) return <>–</>
  return (
    <span class={value > 0 ? 'longer' : 'shorter'}>
      {value > 0 ? '+' : '−'}
      {text}
    </span>
  )
}

/** Both values, and by how much they differ for certain. */
function BeforeAfter({ before, after, changed }: { before: Told; after: Told; changed: Changed | null }) {
  const beyond = changed?.beyondChance === true
  const more = (changed?.change.value ?? 0) > 0
  const words = ({ text, margin }: Told) => (margin === '' ? text : `${text} ${margin}`)
  return (
    <span class={beyond ? 'beyond' : 'margin'} title={`${words(before)} before, ${words(after)} after`}>
      {before.text} → {after.text}
      {beyond && <span aria-hidden="true">{more ? ' ↑' : ' ↓'}</span>}
    </span>
  )
}

/** The figures of what changed over both times, and its traces. */
function Detail({ change, range, boundary }: { change: Change; range: TimeRange; boundary: number }) {
  const service = change.kind === 'edge' ? change.to : change.service
  const subject: Subject = change
  const series = useJson<SeriesAnswer>(seriesUrl(service, subject, range))
  const params: Record<string, string> =
    change.kind === 'edge' ? edgeParams(change) : { name: change.name, side: change.side }
  return (
    <div class="change-detail">
      <p class="links">
        <a href={serviceHref(service, range, params)}>Its page</a>
        {change.exemplars.length > 0 && (
          <span>
            Traces: <Exemplars exemplars={change.exemplars} />
          </span>
        )}
      </p>
      {series.state === 'loading' && <Waiting what="the figures" />}
      {series.state === 'failed' && (
        <Failure title="The figures couldn't be read" problem={series.problem} retry={series.again} />
      )}
      {series.state === 'ready' && (
        <SeriesCharts
          series={series.value}
          range={range}
          service={service}
          marks={[{ us: boundary }]}
          onMoment={() => {}}
        />
      )}
    </div>
  )
}
