import { parseTime, timeUs } from '../query'
import { HOUR_US } from '../store/hours'

export { HOUR_US }

/** A stretch of time in microseconds since the epoch. `toUs` isn't in it. */
export interface Hours {
  fromUs: number
  toUs: number
}

export const HOURS_REMEDY =
  'give UTC hours, FROM..TO, such as 2026-11-30T17..2026-11-30T18, 2026-11-29..2026-11-30 or -24h..now; TO is not included'
/** More is a mistake. */
const MAX_HOURS = 366 * 24

/**
 * Reads FROM..TO: a day (2026-11-30), an hour (2026-11-30T17, 2026-11-30T17:00Z), or a time before now (-24h, now), which is rounded
 * down to the hour: -1h..now is the last full hour. TO isn't in it, so that a day is 2026-11-30..2026-12-01.
 * @param nowUs the current time, in microseconds since the epoch
 * @throws RangeError with a remedy
 */
export function parseHours(text: string, nowUs = Date.now() * 1000): Hours {
  const [from, to, ...more] = text.split('..')
  const [fromUs, toUs] = [hourOf(from ?? '', nowUs), hourOf(to ?? '', nowUs)]
  if (Number.isNaN(fromUs) || Number.isNaN(toUs) || more.length > 0) {
    throw new RangeError(`'${text}' isn't FROM..TO in hours: ${HOURS_REMEDY}`)
  }
  if (!(fromUs < toUs)) throw new RangeError(`'${text}' holds no hour: FROM must be before TO, which isn't included`)
  if (toUs - fromUs > MAX_HOURS * HOUR_US) throw new RangeError(`'${text}' is more than a year: give a part of it`)
  return { fromUs, toUs }
}

function hourOf(text: string, nowUs: number): number {
  const time = parseTime(text.replace(/^(\d{4}-\d\d-\d\dT\d\d)Z?$/, '$1:00'))
  if (time === undefined) return Number.NaN
  const us = timeUs(time, nowUs)
  const hourUs = Math.floor(us / HOUR_US) * HOUR_US
  return us === hourUs || 'agoUs' in time ? hourUs : Number.NaN
}

/** Returns an hour as FROM..TO has it and results show it: 2026-11-30T17:00Z. */
export function hourText(us: number): string {
  return `${new Date(us / 1000).toISOString().slice(0, 13)}:00Z`
}
