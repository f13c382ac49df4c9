import '../styles/tabs.css'
import '../styles/services.css'
import { useEffect, useMemo } from 'preact/hooks'
import type { ChangesAnswer, SeriesAnswer, ServicesAnswer } from '../../src/http/answers'
import { printTime, timeUs } from '../../src/query'
import { counted } from '../parts/count'
import { Failure, Notice, Waiting } from '../parts/notice'
import { fieldTime, localRange } from '../parts/time'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, searchIn, serviceHref, type TimeRange, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { ChangesTable } from './changes-table'
import { COMPARISONS, changesUrl, comparisonOf, pickedMoment, SPANS } from './comparison'
import { SeriesCharts, type SeriesFigures } from './series-charts'

/** Shows what changed beyond chance between two times: before and after a moment, or a time range and an earlier one. */
export function ChangesPage({ query }: { query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const service = query.get('service') ?? ''
  const comparison = comparisonOf(query)
  const changes = useJson<ChangesAnswer>(changesUrl(range, comparison, service))
  useEffect(() => {
    document.title = 'Changes – Milo'
  }, [])
  useShortcuts('Changes', [{ keys: ['r'], does: 'reload', run: changes.again }])
  const change = (params: Record<string, string | null>) => setQuery(params, { replace: false })
  const pickMoment = (us: number) => change({ moment: printTime({ atUs: us }), against: null })
  const moment = comparison.moment && timeUs(comparison.moment, Date.now() * 1000)
  return (
    <>
      <div class="page-head">
        <h1>What has changed</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      <div class="graph-tools">
        <label class="service-field">
          Compare
          <select
            value={moment === undefined ? comparison.against : 'moment'}
            onChange={({ currentTarget: { value } }) =>
              value === 'moment' ? pickMoment(pickedMoment(range)) : change({ against: value, moment: null })
            }
          >
            {Object.entries(COMPARISONS).map(([key, { title }]) => (
              <option key={key} value={key}>
                {title}
              </option>
            ))}
            <option value="moment">before and after a moment</option>
          </select>
        </label>
        {moment !== undefined && (
          <>
            <label class="service-field">
              Moment
              <input
                type="datetime-local"
                step="1"
                key={printTime(comparison.moment!)}
                defaultValue={fieldTime(moment)}
                onChange={({ currentTarget: { value } }) => {
                  const us = Date.parse(value) * 1000
                  if (us > 0) pickMoment(us)
                }}
              />
            </label>
            <label class="service-field">
              Each
              <select value={comparison.span} onChange={({ currentTarget: { value } }) => change({ span: value })}>
                {Object.entries(SPANS).map(([span, title]) => (
                  <option key={span} value={span}>
                    {title}
                  </option>
                ))}
              </select>
            </label>
          </>
        )}
        {service !== '' && (
          <p>
            Only <a href={serviceHref(service, range)}>{service}</a> and what it calls and is called by{' '}
            <button type="button" class="link" onClick={() => change({ service: null })}>
              Show all services
            </button>
          </p>
        )}
      </div>
      <Overview range={range} service={service} moment={moment} onMoment={pickMoment} />
      {changes.state === 'loading' && <Waiting what="what has changed" />}
      {changes.state === 'failed' && (
        <Failure title="The times couldn't be compared" problem={changes.problem} retry={changes.again} />
      )}
      {changes.state === 'ready' && (
        <>
          <Summary answer={changes.value} />
          {changes.value.changes.length === 0 ? (
            <Notice
              title={changes.value.compared === 0 ? 'There is nothing to compare' : 'Nothing changed beyond chance'}
            >
              <p>
                {changes.value.compared === 0
                  ? 'Nothing was reported in either time. Choose another time range above.'
                  : 'Chance explains all differences, since samples and traffic vary. Longer times show smaller changes.'}
              </p>
            </Notice>
          ) : (
            <ChangesTable answer={changes.value} range={range} />
          )}
          <p class="hint">
            To see what is special about slow or failed traces,{' '}
            <a href={searchIn(range, service ? { service } : {})}>find some</a> and ask there what is different about
            them.
          </p>
        </>
      )}
    </>
  )
}

function Summary({ answer: { before, after, compared, changed, changes, truncated } }: { answer: ChangesAnswer }) {
  if (changed > 0 && changed === compared && changes.every(({ isNew }) => isNew)) {
    return (
      <p class="summary">
        Nothing was reported from {localRange(before.from, before.to)}, so all of {localRange(after.from, after.to)} is
        new.
      </p>
    )
  }
  return (
    <p class="summary">
      <strong>{changed.toLocaleString()}</strong> of {counted(compared, 'operation')} and calls between them changed
      beyond chance, from {localRange(before.from, before.to)} to {localRange(after.from, after.to)}.
      {truncated && ' There are more than could be compared or listed.'}
    </p>
  )
}

interface OverviewProps {
  range: TimeRange
  service: string
  moment: number | undefined
  onMoment(us: number): void
}

/** The rate and the failures of all services, or all figures of one, to pick a moment or a range in. */
function Overview({ range, service, moment, onMoment }: OverviewProps) {
  const one = useJson<SeriesAnswer>(service === '' ? null : withRange('api/series', range, { service }))
  const all = useJson<ServicesAnswer>(service === '' ? withRange('api/services', range) : null)
  const total = useMemo(
    () => (all.state === 'ready' ? totalOf(all.value) : undefined),
    [all.state === 'ready' && all.value],
  )
  const series = service === '' ? total : one.state === 'ready' ? one.value : undefined
  if (series === undefined || series.points.length === 0) return null
  return (
    <SeriesCharts
      series={series}
      range={range}
      service={service}
      marks={moment === undefined ? [] : [{ us: moment }]}
      onMoment={onMoment}
    />
  )
}

/** The sums of all services. How far off they may be isn't known: services' numbers err together, by the same sampled traces. */
function totalOf({ from, to, step, services }: ServicesAnswer) {
  const sums = new Map<number, { calls: number; errors: number }>()
  for (const { series } of services) {
    for (const { time, calls, errors } of series) {
      const sum = sums.get(time) ?? { calls: 0, errors: 0 }
      sums.set(time, { calls: sum.calls + calls.value, errors: sum.errors + errors.value })
    }
  }
  const unsure = (value: number) => ({ value, low: null, high: null })
  const points = [...sums]
    .sort(([a], [b]) => a - b)
    .map(
      ([time, { calls, errors }]): SeriesFigures => ({
        time,
        calls: unsure(calls),
        errorShare: calls === 0 ? null : unsure(errors / calls),
      }),
    )
  return { from, to, step, points }
}
