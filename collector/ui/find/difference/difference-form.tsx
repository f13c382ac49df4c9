import { useLayoutEffect, useState } from 'preact/hooks'
import {
  DURATION_REMEDY,
  parse,
  parseDurationUs,
  parseTime,
  printDurationUs,
  printTime,
  TIME_REMEDY,
} from '../../../src/query'
import { Field } from '../../parts/field'
import { navigate } from '../../shell/address'
import { inViewersZone, localIsoTime, withZones, zonedTime } from '../query-address'
import { type AskedDifference, differenceAddress, type TraceSelection } from './difference-address'

/** What is compared, as a form: everything that a box in the plot selects can be typed, too. */
export function DifferenceForm({ asked: { base, select, trace } }: { asked: AskedDifference }) {
  const [wrong, setWrong] = useState<string | null>(null)
  useLayoutEffect(() => setWrong(null), [base, select, trace])
  const compare = (event: SubmitEvent) => {
    event.preventDefault()
    const data = new FormData(event.currentTarget as HTMLFormElement)
    const asked = readForm(name => String(data.get(name) ?? '').trim())
    if ('problem' in asked) setWrong(asked.problem)
    else navigate(asked.address)
  }
  const duration = (us: number | undefined) => (us === undefined ? '' : printDurationUs(us))
  return (
    <form class="difference-form" onSubmit={compare} aria-label="What is compared">
      <fieldset>
        <legend>Selected traces</legend>
        <Field name="min" label="Trace took at least" placeholder="50ms" value={duration(trace.minDurationUs)} />
        <Field name="max" label="Trace took at most" placeholder="2s" value={duration(trace.maxDurationUs)} />
        <Field
          name="from"
          label="Trace began from"
          placeholder="-1h"
          value={trace.from && localIsoTime(printTime(trace.from))}
        />
        <Field
          name="to"
          label="Trace began until"
          placeholder="now"
          value={trace.to && localIsoTime(printTime(trace.to))}
        />
        <div class="field">
          <label for="difference-error">Errors</label>
          <select
            id="difference-error"
            name="error"
            defaultValue={trace.error === undefined ? '' : String(trace.error)}
          >
            <option value="">any</option>
            <option value="true">some span failed</option>
            <option value="false">no span failed</option>
          </select>
        </div>
        <Field
          name="select"
          label="A span meets"
          placeholder="cache=miss duration>50ms error"
          value={inViewersZone(select)}
          wide
        />
      </fieldset>
      <fieldset>
        <legend>Compared with the others of</legend>
        <Field
          name="q"
          label="Search (the last hour, if it has no times)"
          placeholder="service:shop last 1h"
          value={inViewersZone(base.text)}
          wide
        />
        <button type="submit" class="main">
          Compare
        </button>
      </fieldset>
      {wrong !== null && (
        <p class="field-problem" role="alert">
          {wrong}
        </p>
      )}
    </form>
  )
}

/** @returns the address of the comparison, or a message about the first field that can't be understood */
function readForm(get: (name: string) => string): { address: string } | { problem: string } {
  const trace: TraceSelection = {}
  for (const [name, field] of [
    ['min', 'minDurationUs'],
    ['max', 'maxDurationUs'],
  ] as const) {
    if (get(name) === '') continue
    const us = parseDurationUs(get(name), true)
    if (us === undefined) return { problem: `“${get(name)}” is not a duration: ${DURATION_REMEDY}.` }
    trace[field] = us
  }
  for (const name of ['from', 'to'] as const) {
    if (get(name) === '') continue
    const time = parseTime(zonedTime(get(name)))
    if (time === undefined) return { problem: `“${get(name)}” is not a time: ${TIME_REMEDY}.` }
    trace[name] = time
  }
  if (get('error') !== '') trace.error = get('error') === 'true'
  const [q, select] = [withZones(get('q')), withZones(get('select'))]
  for (const text of [q, select]) {
    const [problem] = parse(text).problems
    if (problem !== undefined) {
      return { problem: `“${text.slice(problem.at, problem.at + problem.length)}”: ${problem.message}.` }
    }
  }
  return { address: differenceAddress(q, select, trace) }
}
