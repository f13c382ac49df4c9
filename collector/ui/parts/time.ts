import { formatDuration } from '../../src/trace'

const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' })
const dateOfYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})

/** Formats a time in the viewer's zone with milliseconds: "12 Jun 2026, 14:03:22.123". */
export function localTime(us: number): string {
  const time = at(us)
  return time ? `${date.format(time)}, ${clock.format(time)}.${fraction(time)}` : 'invalid time'
}

/** Formats a time to the second, without the date if it is today: "14:03:22", "12 Jun, 14:03:22". */
export function shortLocalTime(us: number, today = new Date()): string {
  const time = at(us)
  if (!time) return localTime(us)
  if (time.toDateString() === today.toDateString()) return clock.format(time)
  const day = time.getFullYear() === today.getFullYear() ? dateOfYear : date
  return `${day.format(time)}, ${clock.format(time)}`
}

/** Formats a range in the viewer's zone: "29 Nov, 14:00 – 15:30", with seconds where they aren't zero, and milliseconds within one. */
export function localRange(fromUs: number, toUs: number): string {
  const [from, to] = [at(fromUs), at(toUs)]
  if (!from || !to) return 'invalid time'
  const whole = from.getSeconds() === 0 && to.getSeconds() === 0 && toUs - fromUs >= 60e6
  const fine = toUs - fromUs < 2e6
  const time = (date: Date) => clock.format(date).slice(0, whole ? 5 : 8) + (fine ? `.${fraction(date)}` : '')
  const year = from.getFullYear() === to.getFullYear() && to.getFullYear() === new Date().getFullYear()
  const day = year ? dateOfYear : date
  const sameDay = from.toDateString() === to.toDateString()
  return `${day.format(from)}, ${time(from)} – ${sameDay ? '' : `${day.format(to)}, `}${time(to)}`
}

/** Formats a time as ISO 8601 in UTC; undefined for a number that is no valid date, since senders may send any 64-bit number. */
export function utcTime(us: number): string | undefined {
  return at(us)?.toISOString()
}

/** Whether the time is a valid date. */
export function isDate(us: number): boolean {
  return at(us) !== undefined
}

/** Formats a time as fields of the type datetime-local have it: in the viewer's zone, with milliseconds where they aren't zero. */
export function fieldTime(us: number): string {
  const time = new Date(us / 1000)
  const two = (n: number) => String(n).padStart(2, '0')
  const day = `${String(time.getFullYear()).padStart(4, '0')}-${two(time.getMonth() + 1)}-${two(time.getDate())}`
  const seconds = `${day}T${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
  return time.getMilliseconds() === 0 ? seconds : `${seconds}.${fraction(time)}`
}

/** The viewer's zone at a time: "Europe/Berlin, UTC+1". */
export function zoneName(us: number): string {
  const minutes = -new Date(us / 1000).getTimezoneOffset()
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60]
  const offset = `UTC${minutes < 0 ? '−' : '+'}${hours}${rest === 0 ? '' : `:${rest}`}`
  const { timeZone = '' } = new Intl.DateTimeFormat().resolvedOptions()
  return minutes === 0 ? 'UTC' : [timeZone, offset].filter(Boolean).join(', ')
}

/** Formats the distance from the trace's start: "+12.3 ms". */
export function offset(us: number | null, start: number | null): string {
  if (us === null || start === null) return '–'
  return us < start ? `−${formatDuration(start - us)}` : `+${formatDuration(us - start)}`
}

function at(us: number): Date | undefined {
  const time = new Date(us / 1000)
  return Number.isNaN(time.getTime()) ? undefined : time
}

function fraction(time: Date): string {
  return String(time.getMilliseconds()).padStart(3, '0')
}
