import type { Range } from '../../http/answers'
import { HttpError } from '../../http/errors'
import { parseDurationUs, type Time, timeUs } from '../../query'
import { MINUTE_US } from '../../store/activity/model'
import { parsed, time } from '../parameters'

/** The time ranges and steps of questions about activity. */

const HOUR_US = 60 * MINUTE_US
export const DAY_US = 24 * HOUR_US
const DEFAULT_RANGE_US = HOUR_US
/** Steps that make round times, in minutes. */
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 240, 480, 720, 1440, 2 * 1440, 7 * 1440]
/** The most points of a series. */
const MAX_POINTS = 1500

/** How long what is kept, and what time it is. */
export interface Kept {
  /** Rows of minutes. */
  retentionDays: number
  /** Rows of hours. */
  activityDays: number
  nowUs: number
}

export const RANGE = { from: time.optional(), to: time.optional() }

export const duration = parsed(
  // No time at all is no step, and nothing to compare.
  value => parseDurationUs(value, true) || undefined,
  'give a time such as 5m, or microseconds',
  'MILO_BAD_DURATION',
)

/**
 * Returns what is counted for a range: whole minutes, as nothing finer is stored, or whole hours where only these are kept. What
 * is still to come of the last minute doesn't belong to it, so that a rate is right.
 * @throws HttpError
 */
export function rangeOf(times: { from?: Time; to?: Time }, kept: Kept, names = ['from', 'to']): Range {
  const { nowUs, activityDays } = kept
  const to = times.to === undefined ? nowUs : timeUs(times.to, nowUs)
  const from = times.from === undefined ? to - DEFAULT_RANGE_US : timeUs(times.from, nowUs)
  const bad = (problem: string) => new HttpError(400, 'MILO_BAD_PARAMETER', problem)
  if (!(from < to)) throw bad(`${names[0]} is not before ${names[1]}: give an earlier ${names[0]}`)
  if (to - from > activityDays * DAY_US) {
    throw bad(`${names.join(' and ')} are more than activity_days (${activityDays}) apart: choose a shorter range`)
  }
  const end = ceil(to, grainAt(to, kept))
  // Of a range that is all to come nothing can be left.
  const isToCome = from > nowUs
  return { from: floor(from, grainAt(from, kept)), to: isToCome ? end : Math.min(end, nowUs) }
}

/** Returns the smallest of the usual steps that makes at most `points` of a range. */
export function usualStep({ from, to }: Range, points: number, kept: Kept): number {
  const least = Math.max((to - from) / points, grainAt(from, kept))
  const minutes = STEPS.find(minutes => minutes * MINUTE_US >= least)
  return minutes === undefined ? ceil(least, DAY_US) : minutes * MINUTE_US
}

/** Returns a step as it can be answered: a multiple of what is stored, and not too many of them. */
export function answeredStep(stepUs: number, { from, to }: Range, kept: Kept): number {
  return ceil(Math.max(stepUs, (to - from) / MAX_POINTS, 1), grainAt(from, kept))
}

/** What is kept of a time. Rows of minutes are removed by whole hours. */
function grainAt(us: number, { nowUs, retentionDays }: Kept): number {
  return us < ceil(nowUs - retentionDays * DAY_US, HOUR_US) ? HOUR_US : MINUTE_US
}

export function floor(us: number, unit: number): number {
  return Math.floor(us / unit) * unit
}

function ceil(us: number, unit: number): number {
  return Math.ceil(us / unit) * unit
}
