import type { Query, Time } from './model'

/** Reads and prints durations and times as people write them. */

const UNITS_US: Record<string, number> = {
  us: 1,
  µs: 1,
  μs: 1,
  ms: 1e3,
  s: 1e6,
  m: 60e6,
  h: 3600e6,
  d: 86_400e6,
}

export const DURATION_REMEDY = 'give a number with a unit: 20us, 50ms, 1.5s, 2m, 1h'
export const TIME_REMEDY =
  'give a time before now (-15m, -1h, now), an ISO time (2026-11-22T17:30:00Z), or microseconds since the epoch'

/**
 * Reads a duration.
 * @param bare true to accept a number without a unit, as microseconds
 * @returns whole microseconds; undefined if the string isn't a duration
 */
export function parseDurationUs(text: string, bare = false): number | undefined {
  const parts = /^(\d{1,16}(?:\.\d{1,9})?)(us|µs|μs|ms|s|m|h|d|)$/i.exec(text)
  if (parts === null || (parts[2] === '' && !bare)) return undefined
  const us = Math.round(Number(parts[1]) * (UNITS_US[parts[2]!.toLowerCase()] ?? 1))
  return Number.isSafeInteger(us) ? us : undefined
}

/** Prints a duration in the largest unit that is exact and short; parseDurationUs reads the same back. */
export function printDurationUs(us: number): string {
  for (const unit of ['d', 'h', 'm']) {
    const n = us / UNITS_US[unit]!
    if (us > 0 && Number.isInteger(n)) return `${n}${unit}`
  }
  // Beyond 2^52 a decimal isn't exact.
  if (us >= 1e6 && us < 4e15) return `${decimal(us, 6)}s`
  return us >= 1e3 && us < 1e6 ? `${decimal(us, 3)}ms` : `${us}us`
}

/** Prints n / 10^digits exactly. */
function decimal(n: number, digits: number): string {
  const text = String(n).padStart(digits + 1, '0')
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`.replace(/\.?0+$/, '')
}

/** A time without a zone is UTC. */
const ISO = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:?\d\d)?)?$/i

/** Reads a time. @returns undefined if the string isn't a time, or is before 1970 */
export function parseTime(text: string): Time | undefined {
  if (/^now$/i.test(text)) return { agoUs: 0 }
  if (text.startsWith('-')) {
    const agoUs = parseDurationUs(text.slice(1))
    return agoUs === undefined ? undefined : { agoUs }
  }
  if (/^\d{1,16}$/.test(text)) return Number.isSafeInteger(Number(text)) ? { atUs: Number(text) } : undefined
  const parts = ISO.exec(text)
  if (parts === null) return undefined
  const [, year, month, day, hour = '00', minute = '00', second = '00', fraction = '', zone = 'Z'] = parts
  const offset = /^([+-])(\d\d):?(\d\d)$/.exec(zone)
  const offsetMinutes = offset === null ? 0 : Number(`${offset[1]}1`) * (Number(offset[2]) * 60 + Number(offset[3]))
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  // Date.parse takes 30 February for 1 March.
  if (Number.isNaN(ms) || new Date(ms).getUTCDate() !== Number(day)) return undefined
  const atUs = (ms - offsetMinutes * 60_000) * 1000 + Number(fraction.padEnd(6, '0'))
  return atUs < 0 ? undefined : { atUs }
}

/** Returns the time in microseconds since the epoch, or the nearest one that a query can ask for: a span's may be any. */
export function nearestTime(us: number): { atUs: number } {
  return { atUs: Math.min(Math.max(0, Math.floor(us)), Number.MAX_SAFE_INTEGER) }
}

/** Prints a time in a form that parseTime reads back. */
export function printTime(time: Time): string {
  if ('agoUs' in time) return time.agoUs === 0 ? 'now' : `-${printDurationUs(time.agoUs)}`
  const { atUs } = time
  // From the year 10000 on, ISO's years have a sign.
  if (atUs >= 253_402_300_800_000_000) return String(atUs)
  const fraction = String(atUs % 1e6)
    .padStart(6, '0')
    .replace(/0+$/, '')
  const seconds = new Date(Math.floor(atUs / 1e6) * 1000).toISOString().slice(0, 19)
  return fraction === '' ? `${seconds}Z` : `${seconds}.${fraction}Z`
}

export function timeUs(time: Time, nowUs: number): number {
  return 'atUs' in time ? time.atUs : Math.max(0, nowUs - time.agoUs)
}

/** A query whose times are absolute: microseconds since the epoch, inclusive. */
export interface TimedQuery extends Omit<Query, 'from' | 'to'> {
  fromUs?: number
  toUs?: number
}

/** Makes a query's times absolute. @param nowUs the current time, in microseconds since the epoch */
export function withTimes({ from, to, ...conditions }: Query, nowUs: number): TimedQuery {
  return {
    ...conditions,
    ...(from && { fromUs: timeUs(from, nowUs) }),
    ...(to && { toUs: timeUs(to, nowUs) }),
  }
}
