import type uPlot from 'uplot'
import { isDate } from './time'

/**
 * The labels of a time axis, in the viewer's zone. They never overlap, since the step between two of them is the shortest for which
 * all labels have room, and never repeat, since a step of a second has seconds and one of a millisecond has milliseconds.
 */
interface Tick {
  seconds: number
  label: string
}

/** About how wide a character is, and what lies between two labels. */
const CHARACTER_PX = 6.6
const GAP_PX = 22
/** What charts leave free to the right of their last moment. */
const EDGE_PX = 8

const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
const FORMATS = {
  years: { year: 'numeric' },
  months: { month: 'short', year: 'numeric' },
  'days and years': { day: 'numeric', month: 'short', year: 'numeric' },
  days: { day: 'numeric', month: 'short' },
  'minutes of days': { day: 'numeric', month: 'short', ...clock },
  minutes: clock,
  'seconds of days': { day: 'numeric', month: 'short', ...clock, second: '2-digit' },
  seconds: { ...clock, second: '2-digit' },
} as const
type Form = keyof typeof FORMATS
const formats = new Map<Form, Intl.DateTimeFormat>()

function format(form: Form, seconds: number): string {
  let known = formats.get(form)
  if (known === undefined) {
    known = new Intl.DateTimeFormat(undefined, FORMATS[form])
    formats.set(form, known)
  }
  return known.format(seconds * 1000)
}

/** Steps in seconds that stay in step with minutes; the zone's offset is a multiple of a quarter of an hour. */
const STEPS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1].flatMap(step => [step, 2 * step, 5 * step])
STEPS.push(...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800])
const HOURS = [1, 2, 3, 6, 12]
const DAYS = [1, 2, 7, 14]
const MONTHS = [1, 3, 6]
const YEARS = [1, 2, 5].flatMap(years => [1, 10, 100, 1e3, 1e4, 1e5].map(power => years * power)).sort((a, b) => a - b)

const HOUR = 3600
const DAY = 24 * HOUR
const YEAR = 365.2425 * DAY

/** Returns the ticks between two times. @param px how much room there is */
export function timeTicks(from: number, to: number, px: number): Tick[] {
  if (!(from < to) || !isDate(from * 1e6) || !isDate(to * 1e6)) return []
  const sameDay = new Date(from * 1000).toDateString() === new Date(to * 1000).toDateString()
  const sameYear = new Date(from * 1000).getFullYear() === new Date(to * 1000).getFullYear()
  for (const { step, form, at } of candidates(from, sameDay, sameYear)) {
    const room = (step / (to - from)) * px
    // No label is shorter than a year's.
    if (room < 4 * CHARACTER_PX + GAP_PX) continue
    const ticks: Tick[] = []
    for (const seconds of at(to)) {
      const label = form(seconds)
      // The hour that comes twice in autumn.
      if (isDate(seconds * 1e6) && ticks.at(-1)?.label !== label) ticks.push({ seconds, label })
    }
    const longest = Math.max(0, ...ticks.map(({ label }) => label.length))
    if (room < longest * CHARACTER_PX + GAP_PX) continue
    if (new Set(ticks.map(({ label }) => label)).size < ticks.length) continue
    // A label stands in the middle below its time, and must not be cut off by the chart's right edge.
    const isWhole = ({ seconds, label }: Tick) =>
      ((to - seconds) / (to - from)) * px + EDGE_PX >= (label.length * CHARACTER_PX) / 2
    return ticks.filter(isWhole)
  }
  return []
}

interface Candidate {
  /** About how long it is, in seconds. */
  step: number
  form(seconds: number): string
  at(to: number): Generator<number>
}

function* candidates(from: number, sameDay: boolean, sameYear: boolean): Generator<Candidate> {
  const start = new Date(from * 1000)
  const offset = -60 * start.getTimezoneOffset()
  const minutes = (seconds: number) => format(sameDay ? 'minutes' : 'minutes of days', seconds)
  for (const step of STEPS) {
    const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))
    yield {
      step,
      form: seconds => {
        if (step >= 60) return minutes(seconds)
        // A label's fraction must not round up to the next second's.
        const fraction = Math.round((seconds - Math.floor(seconds)) * 10 ** decimals)
        const carry = fraction === 10 ** decimals ? 1 : 0
        const whole = format(sameDay ? 'seconds' : 'seconds of days', Math.floor(seconds) + carry)
        return decimals === 0 ? whole : `${whole}.${String(carry ? 0 : fraction).padStart(decimals, '0')}`
      },
      *at(to) {
        const first = Math.ceil((from + offset) / step - 1e-9)
        for (let i = first; i * step - offset <= to; i++) yield i * step - offset
      },
    }
  }
  // Days have 23 or 25 hours, too, and months 28 days or more: Date counts them.
  const parts = [start.getFullYear(), start.getMonth(), start.getDate(), start.getHours()] as const
  const calendar = (step: number, form: Form, date: (i: number) => Date): Candidate => ({
    step,
    form: seconds => format(form, seconds),
    *at(to) {
      for (let i = 0; ; i++) {
        const seconds = date(i).getTime() / 1000
        if (!(seconds <= to)) return
        if (seconds >= from) yield seconds
      }
    },
  })
  const [year, month, day, hour] = parts
  const hours = sameDay ? 'minutes' : 'minutes of days'
  for (const n of HOURS) {
    yield calendar(n * HOUR, hours, i => dateAt(year, month, day, Math.floor(hour / n) * n + i * n))
  }
  for (const n of DAYS)
    yield calendar(n * DAY, sameYear ? 'days' : 'days and years', i => dateAt(year, month, day + i * n))
  for (const n of MONTHS) {
    yield calendar((n * YEAR) / 12, 'months', i => dateAt(year, Math.floor(month / n) * n + i * n, 1))
  }
  for (const n of YEARS) yield calendar(n * YEAR, 'years', i => dateAt(Math.floor(year / n) * n + i * n, 0, 1))
}

/** As the constructor, which takes the years 0 to 99 for those of the 20th century. */
function dateAt(year: number, month: number, day: number, hour = 0): Date {
  const date = new Date(0, month, day, hour)
  date.setFullYear(year, month, day)
  date.setHours(hour)
  return date
}

/** An axis of uPlot for times in seconds. */
export function timeAxis(): Pick<uPlot.Axis, 'splits' | 'values'> {
  // uPlot asks for the values after the splits, and gives these alone.
  let labels = new Map<number, string>()
  return {
    splits: (plot, _axis, min, max) => {
      const ticks = timeTicks(min, max, plot.bbox.width / devicePixelRatio || plot.width)
      labels = new Map(ticks.map(({ seconds, label }) => [seconds, label]))
      return ticks.map(({ seconds }) => seconds)
    },
    values: (_plot, values) => values.map(seconds => labels.get(seconds) ?? ''),
  }
}
