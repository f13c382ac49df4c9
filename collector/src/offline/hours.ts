/** A stretch of time in microseconds since the epoch. `toUs` isn't in it. */
export interface Hours {
  fromUs: number
  toUs: number
}

export const HOUR_US = 3600e6

/**
 * Reads FROM..TO, both in UTC: a day (2026-11-30) or an hour (2026-11-30T17, 2026-11-30T17:00Z). TO isn't in it, so that a day is
 * 2026-11-30..2026-12-01.
 * @throws RangeError with a remedy
 */
export function parseHours(text: string): Hours {
  const [from, to, ...more] = text.split('..')
  const [fromUs, toUs] = [hourOf(from ?? ''), hourOf(to ?? '')]
  if (Number.isNaN(fromUs) || Number.isNaN(toUs) || more.length > 0) {
    throw new RangeError(`'${text}' isn't FROM..TO in hours: give UTC hours such as 2026-11-30T17..2026-11-30T18`)
  }
  if (!(fromUs < toUs)) throw new RangeError(`'${text}' holds no hour: FROM must be before TO, which isn't included`)
  return { fromUs, toUs }
}

function hourOf(text: string): number {
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::00(?::00(?:\.0+)?)?)?Z?)?$/.exec(text)
  return match === null ? Number.NaN : Date.parse(`${match[1]}T${match[2] ?? '00'}:00:00Z`) * 1000
}

/** Returns an hour as FROM..TO has it and results show it: 2026-11-30T17:00Z. */
export function hourText(us: number): string {
  return `${new Date(us / 1000).toISOString().slice(0, 13)}:00Z`
}
