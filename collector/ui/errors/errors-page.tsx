import '../styles/tabs.css'
import '../styles/services.css'
import '../styles/errors.css'
import { useEffect } from 'preact/hooks'
import type { ErrorsAnswer, ServicesAnswer } from '../../src/http/answers'
import { counted } from '../parts/count'
import { aboutCount } from '../parts/estimate'
import { Failure, Notice, Waiting } from '../parts/notice'
import { pickRange } from '../range/pick-range'
import { DEFAULT_RANGE, rangeOf, searchIn, withRange } from '../range/range'
import { RangePicker } from '../range/range-picker'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import { useShortcuts } from '../shell/shortcuts'
import { ErrorTable } from './error-table'

/** What narrows the list, as the address has it; the API has the same parameters. */
const FILTERS = ['service', 'operation', 'type'] as const

/** Lists what failed: each kind of error once, where it arose. */
export function ErrorsPage({ query }: { query: URLSearchParams }) {
  const range = rangeOf(query) ?? DEFAULT_RANGE
  const filters = Object.fromEntries(FILTERS.filter(name => query.has(name)).map(name => [name, query.get(name)!]))
  const errors = useJson<ErrorsAnswer>(withRange('api/errors', range, {}, filters))
  const services = useJson<ServicesAnswer>(withRange('api/services', range))
  const service = query.get('service')
  useEffect(() => {
    document.title = service === null ? 'Errors – Milo' : `Errors in ${service} – Milo`
  }, [service])
  useShortcuts('Errors', [{ keys: ['r'], does: 'reload', run: errors.again }])
  const known = services.state === 'ready' ? services.value.services.map(({ service }) => service) : []
  const choices = [...new Set([...known, ...(service === null ? [] : [service])])].sort()
  return (
    <>
      <div class="page-head">
        <h1>Errors</h1>
        <RangePicker range={range} onPick={range => pickRange(range!)} />
      </div>
      <div class="error-filters">
        <label class="service-field">
          Service
          <select
            value={service ?? ''}
            onChange={({ currentTarget: { value } }) =>
              setQuery({ service: value === '' ? null : value, operation: null, type: null }, { replace: false })
            }
          >
            <option value="">All services</option>
            {choices.map(name => (
              <option key={name} value={name}>
                {name || 'no name'}
              </option>
            ))}
          </select>
        </label>
        {(['operation', 'type'] as const).map(
          name =>
            query.has(name) && (
              <button
                key={name}
                type="button"
                class="chip"
                aria-label={`Errors of any ${name}`}
                onClick={() => setQuery({ [name]: null }, { replace: false })}
              >
                {name} <code>{query.get(name)}</code> <span aria-hidden="true">×</span>
              </button>
            ),
        )}
        <a
          class="quiet-link"
          href={searchIn(range, {
            error: true,
            ...(service !== null && { service }),
            ...(query.get('operation') && { name: query.get('operation')! }),
          })}
        >
          Traces with errors
        </a>
      </div>
      {errors.state === 'loading' && <Waiting what="errors" />}
      {errors.state === 'failed' && (
        <Failure title="The errors couldn't be read" problem={errors.problem} retry={errors.again} />
      )}
      {errors.state === 'ready' && errors.value.groups.length === 0 && (
        <Notice title={errors.value.complete ? 'No errors in this time range' : 'No errors found so far'}>
          <p>
            {errors.value.complete
              ? 'No stored trace of this time range failed.'
              : `${counted(errors.value.read, 'trace')} of this time ${errors.value.read === 1 ? 'was' : 'were'} read, and there are more.`}{' '}
            Choose another time range above
            {Object.keys(filters).length > 0 && (
              <>
                , or see <a href={withRange('errors', range)}>the errors of all services</a>
              </>
            )}
            .
          </p>
        </Notice>
      )}
      {errors.state === 'ready' && errors.value.groups.length > 0 && (
        <>
          <p class="summary">{summary(errors.value)}</p>
          <ErrorTable answer={errors.value} range={range} sort={query.get('sort') ?? ''} />
        </>
      )}
    </>
  )
}

/** Says what was counted, so that nobody takes a sample for everything. */
function summary({ groups, read, complete, matching, truncated }: ErrorsAnswer): string {
  const kinds = `${counted(groups.length, 'kind')} of error${truncated ? ', the most frequent ones,' : ''}`
  const traces = complete
    ? `All ${counted(read, 'failed trace')} ${read === 1 ? 'was' : 'were'} read`
    : `${counted(read, 'failed trace')} ${read === 1 ? 'was' : 'were'} read${matching.high === null ? ', and there are more' : ` of ${aboutCount(matching)}`}`
  return `${kinds} in this time range. ${traces}; counts are for all calls, extrapolated from the sampled ones. An error that made its callers fail counts once, where it arose.`
}
