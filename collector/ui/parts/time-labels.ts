import { isDate } from './time'

const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
const TIMES = (
  [
    { year: 'numeric' },
    { day: 'numeric', month: 'short', year: 'numeric' },
    { day: 'numeric', month: 'short' },
    { day: 'numeric', month: 'short', ...clock },
    clock,
    { ...clock, second: '2-digit' },
    { ...clock, second: '2-digit', fractionalSecondDigits: 3 },
  ] as const
).map(options => new Intl.DateTimeFormat(undefined, options))

/** Labels times in the viewer's zone, as precisely as the range needs and so that the labels differ. @param seconds the ticks, ascending */
export function timeLabels(seconds: number[]): string[] {
  const length = (seconds.at(-1) ?? 0) - (seconds[0] ?? 0)
  const days = length / 86_400
  const first = days > 4000 ? 0 : days > 300 ? 1 : days > 3 ? 2 : days > 0.8 ? 3 : length > 900 ? 4 : 5
  const label = (form: Intl.DateTimeFormat) =>
    seconds.map(second => (isDate(second * 1e6) ? form.format(second * 1000) : ''))
  const labels = TIMES.slice(first).map(label)
  return labels.find(tried => new Set(tried).size === tried.length) ?? labels.at(-1)!
}
