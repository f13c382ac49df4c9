import { useLayoutEffect, useState } from 'preact/hooks'
import {
  DURATION_REMEDY,
  parseDurationUs,
  parseTime,
  printAnnotation,
  printDurationUs,
  printTime,
  type Query,
  TIME_REMEDY,
} from '../../src/query'
import { Field } from '../parts/field'
import { navigate } from '../shell/address'
import { fieldsAddress, localIsoTime, zonedTime } from './query-address'

/** The search as a form. */
export function SearchFields({ query }: { query: Query }) {
  const [wrong, setWrong] = useState<string | null>(null)
  const [first, ...others] = query.annotations
  useLayoutEffect(() => setWrong(null), [query])
  const search = (event: SubmitEvent) => {
    event.preventDefault()
    const data = new FormData(event.currentTarget as HTMLFormElement)
    const asked = readForm(name => String(data.get(name) ?? '').trim(), others)
    if (typeof asked === 'string') setWrong(asked)
    else navigate(fieldsAddress(asked) ?? 'search')
  }
  return (
    <search>
      <form class="fields" action="search" onSubmit={search}>
        <Field name="name" label="Name" placeholder="Service.method" value={query.name} />
        <Field name="key" label="Key" placeholder="annotation key" value={first?.key} />
        <div class="field">
          <label for="match">Match</label>
          <select id="match" name="match" defaultValue={first?.match ?? 'exact'}>
            <option value="exact">equals</option>
            <option value="prefix">begins with</option>
            <option value="contains">contains</option>
          </select>
        </div>
        <Field name="value" label="Value" placeholder="of that key, or of any key" value={first?.value} />
        <Field name="service" label="Service" placeholder="service name" value={query.service} />
        <Field name="min_duration" label="Min duration" placeholder="50ms" value={durationOf(query.minDurationUs)} />
        <Field name="max_duration" label="Max duration" placeholder="2s" value={durationOf(query.maxDurationUs)} />
        <div class="field">
          <label for="error">Status</label>
          <select id="error" name="error" defaultValue={query.error === undefined ? '' : String(query.error)}>
            <option value="">any</option>
            <option value="true">error</option>
            <option value="false">no error</option>
          </select>
        </div>
        <Field name="from" label="From" placeholder="-1h, or 2026-11-22T17:30" value={timeOf(query.from)} />
        <Field name="to" label="To" placeholder="now" value={timeOf(query.to)} />
        <button type="submit" class="main">
          Search
        </button>
        {others.length > 0 && (
          <p class="hint wide">
            And these conditions:{' '}
            {others.map(other => (
              <code key={printAnnotation(other)}>{printAnnotation(other)}</code>
            ))}
          </p>
        )}
        {wrong !== null && (
          <p class="field-problem wide" role="alert">
            {wrong}
          </p>
        )}
      </form>
    </search>
  )
}

/** @returns the query, or a message about the first invalid field */
function readForm(get: (name: string) => string, others: Query['annotations']): Query | string {
  const query: Query = { annotations: [] }
  if (get('name')) query.name = get('name')
  if (get('service')) query.service = get('service')
  const [key, value] = [get('key'), get('value')]
  if (key || value) {
    const match = value ? (get('match') as 'exact' | 'prefix' | 'contains') : 'exact'
    query.annotations.push({ ...(key ? { key } : {}), ...(value ? { value } : {}), match })
  }
  query.annotations.push(...others)
  for (const [name, field] of [
    ['min_duration', 'minDurationUs'],
    ['max_duration', 'maxDurationUs'],
  ] as const) {
    if (!get(name)) continue
    const us = parseDurationUs(get(name), true)
    if (us === undefined) return `“${get(name)}” is not a duration: ${DURATION_REMEDY}.`
    query[field] = us
  }
  for (const name of ['from', 'to'] as const) {
    if (!get(name)) continue
    const time = parseTime(zonedTime(get(name)))
    if (time === undefined) return `“${get(name)}” is not a time: ${TIME_REMEDY}.`
    query[name] = time
  }
  if (get('error')) query.error = get('error') === 'true'
  return query
}

function durationOf(us: number | undefined): string | undefined {
  return us === undefined ? undefined : printDurationUs(us)
}

function timeOf(time: Query['from']): string | undefined {
  return time === undefined ? undefined : localIsoTime(printTime(time))
}
