import type { TimedQuery } from '../../query'
import type { SearchPage } from '../../store/store'
import type { TraceSummary } from '../../trace'
import type { Turns } from '../../turns'
import { type Part, pagesByTurns, type Search } from './parts'

/**
 * A fair sample of the traces that a search finds in a time range, and how much of the range it is. The range is divided into buckets. If the
 * search finds few traces, all of them are read; otherwise the newest of each bucket.
 *
 *     bucket    ├──────────────────┬─────────┤
 *     traces    ?  ?               t   t  t  t      4 were read, and these are all as far as the search has come:
 *                                  └ reached        3 of them in half of the bucket are 6 in all of it
 *
 * A bucket that seems to have much of all that wasn't read is divided: traces may be dense at its end, and rare before it.
 *
 * A trace belongs to where its earliest span begins that matches. A search lists a trace by its newest such span, so that long traces
 * are found too often near the end of a bucket: those that began before the search's reach are left out of the estimates.
 */
export interface Survey {
  /** Oldest first. Those of the same time are parts of one. */
  buckets: Bucket[]
  /** How many traces were found, and whether these are all. */
  read: number
  complete: boolean
  /** How many times as uncertain the number of traces in a bucket is as if they came independently of each other; at least 1. */
  clumping: number
}

export interface Bucket extends Part {
  /** A multiple of the step: the bucket may have only a part of what begins here. */
  time: number
  found: Found[]
  /** All that matches after this time has been found. */
  reachedUs: number
  complete: boolean
}

export interface Found {
  trace: TraceSummary
  /** When its earliest span that matches begins; within the bucket. */
  matchedUs: number
}

export interface SurveyOptions {
  /** The length of a bucket, in microseconds. */
  step: number
  /** About how many traces are read; at most as many more that were forced or kept after the fact, and so stand for nothing. */
  sample: number
  deadlineMs: number
  turns: Turns
}

/** The number of traces that are read, newest first, to see whether they are all. */
const FIRST = 100
/** The number of traces that a bucket needs for an estimate. */
const LEAST = 3
const MAX_PAGE = 100
/** How far beyond a bucket's end a search reads, for spans whose halves' clocks are apart. If many traces begin in that time, it doesn't. */
const BEYOND_US = 3e6
const MANY_BEYOND = 6
/** A bucket is divided if it seems to have more than this share of what wasn't read, but no more often than so. */
const MUCH = 0.3
const MAX_DIVISIONS = 40
const READ_OF_DIVISION = 10

/** @param query its time range is complete and inclusive */
export async function surveyOf(
  search: Search,
  query: TimedQuery & { fromUs: number; toUs: number },
  { step, sample, deadlineMs, turns }: SurveyOptions,
): Promise<Survey> {
  const giveUpAt = performance.now() + deadlineMs
  const buckets = bucketsOf(query, step)
  const first = await search({ ...query, limit: Math.min(FIRST, sample) })
  if (first.next === undefined) {
    for (const found of foundOn(first, query)) {
      buckets.find(({ toUs }) => found.matchedUs <= toUs)!.found.push(found)
    }
    for (const bucket of buckets) bucket.complete = true
  } else {
    let [read, idle] = [0, 0]
    const limitOf = (left: number) => {
      if (read === 0) return Math.min(MAX_PAGE, Math.max(LEAST, Math.floor(sample / left)))
      const room = sample - read + Math.min(idle, sample)
      return Math.min(MAX_PAGE, Math.max(0, Math.floor(room / left)))
    }
    const { reachedUs = query.fromUs } = first
    const clocksAgree = (first.read * BEYOND_US) / Math.max(1, query.toUs - reachedUs) > MANY_BEYOND
    const asked = clocksAgree ? { ...query, clocksAgree } : query
    for await (const { part, page } of pagesByTurns(search, asked, spreadOut(buckets), limitOf, turns)) {
      part.found.push(...foundOn(page, part))
      if (page.next !== undefined) part.reachedUs = Math.min(part.reachedUs, page.reachedUs ?? Infinity)
      else if (clocksAgree) part.reachedUs = part.fromUs - 1
      else part.complete = true
      read += page.traces.length
      idle += page.traces.filter(({ probability }) => probability === 0).length
      if (performance.now() > giveUpAt) break
    }
    for (let i = 0; i < MAX_DIVISIONS && performance.now() <= giveUpAt; i++) {
      const heaviest = divisible(buckets)
      if (heaviest === undefined) break
      await turns.next()
      const older = divide(buckets, heaviest)
      const page = await search({ ...asked, fromUs: older.fromUs, toUs: older.toUs, limit: READ_OF_DIVISION })
      older.found.push(...foundOn(page, older))
      if (page.next === undefined) older.complete = true
      else older.reachedUs = page.reachedUs ?? older.reachedUs
    }
    removeRepeated(buckets)
  }
  const read = buckets.reduce((sum, { found }) => sum + found.length, 0)
  return { buckets, read, complete: buckets.every(({ complete }) => complete), clumping: clumpingOf(buckets) }
}

/** Which share of the bucket has been read to its end; 0 if nothing has. */
export function shareOf({ fromUs, toUs, reachedUs, complete }: Bucket): number {
  if (complete) return 1
  return Math.min(1, Math.max(0, (toUs + 1 - reachedUs) / (toUs + 1 - fromUs)))
}

/** Returns the traces that the share of the bucket has. */
export function sampledOf({ found, reachedUs, complete }: Bucket): Found[] {
  return complete ? found : found.filter(({ matchedUs }) => matchedUs > reachedUs)
}

function bucketsOf({ fromUs, toUs }: { fromUs: number; toUs: number }, step: number): Bucket[] {
  const buckets: Bucket[] = []
  for (let time = Math.floor(fromUs / step) * step; time <= toUs; time += step) {
    const end = Math.min(toUs, time + step - 1)
    buckets.push({
      time,
      fromUs: Math.max(fromUs, time),
      toUs: end,
      found: [],
      reachedUs: end + 1,
      complete: false,
    })
  }
  return buckets
}

/** Orders the buckets so that any number of the first ones is spread over the range: by the bits of their numbers, from the last to the first. */
function spreadOut(buckets: Bucket[]): Bucket[] {
  const mirrored = (i: number) => {
    let bits = 0
    for (let b = 0; b < 16; b++) bits = (bits << 1) | ((i >> b) & 1)
    return bits
  }
  return buckets
    .map((bucket, i) => ({ bucket, at: mirrored(i) }))
    .sort((a, b) => a.at - b.at)
    .map(({ bucket }) => bucket)
}

function foundOn({ traces, matchedUs }: SearchPage, { fromUs, toUs }: { fromUs: number; toUs: number }): Found[] {
  return traces.map((trace, i) => {
    const at = matchedUs[i] ?? trace.start ?? toUs
    return { trace, matchedUs: Math.min(toUs, Math.max(fromUs, at)) }
  })
}

/** How many traces a bucket seems to have that weren't read. */
function unreadOf(bucket: Bucket): number {
  const share = shareOf(bucket)
  return share === 0 ? 0 : sampledOf(bucket).length * (1 / share - 1)
}

/** Returns the bucket that seems to have most of what wasn't read, if that is much and can be divided. */
function divisible(buckets: Bucket[]): Bucket | undefined {
  const unread = buckets.map(unreadOf)
  const most = Math.max(...unread)
  const bucket = buckets[unread.indexOf(most)]!
  const all = unread.reduce((sum, count) => sum + count, 0)
  const isWorthIt = most > MUCH * all && most > FIRST && bucket.reachedUs - bucket.fromUs > 1
  return isWorthIt ? bucket : undefined
}

/** Takes the older half of what wasn't read from a bucket. @returns it, as a bucket before that one */
function divide(buckets: Bucket[], bucket: Bucket): Bucket {
  const { time, fromUs, reachedUs } = bucket
  const toUs = Math.floor((fromUs + reachedUs) / 2) - 1
  const older: Bucket = { time, fromUs, toUs, found: [], reachedUs: toUs + 1, complete: false }
  bucket.fromUs = toUs + 1
  buckets.splice(buckets.indexOf(bucket), 0, older)
  return older
}

/** A trace that two buckets have found belongs to the older one. */
function removeRepeated(buckets: Bucket[]): void {
  const seen = new Set<string>()
  for (const bucket of buckets) {
    bucket.found = bucket.found.filter(({ trace }) => !seen.has(trace.traceId) && seen.add(trace.traceId))
  }
}

/**
 * Of n intervals of time between traces that come independently, the sum of squares is 2 / (n + 1) of the square of the sum on average.
 * Traces that come in clumps make it larger, and the number of traces as much more uncertain.
 */
function clumpingOf(buckets: Bucket[]): number {
  let [times, intervals] = [0, 0]
  for (const bucket of buckets) {
    if (bucket.complete) continue
    const at = sampledOf(bucket)
      .map(({ matchedUs }) => matchedUs)
      .sort((a, b) => b - a)
    const gaps = at.map((us, i) => (i === 0 ? bucket.toUs : at[i - 1]!) - us)
    const sum = gaps.reduce((sum, gap) => sum + gap, 0)
    if (gaps.length < 2 || sum === 0) continue
    const squares = gaps.reduce((sum, gap) => sum + gap * gap, 0)
    times += gaps.length * ((squares / sum ** 2) * ((gaps.length + 1) / 2))
    intervals += gaps.length
  }
  return intervals === 0 ? 1 : Math.max(1, times / intervals)
}
