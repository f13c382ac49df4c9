import { Turns } from '../../turns'
import { StoreError } from '../store'
import type { Counter } from './counter'
import {
  type ActivityQuery,
  type ActivityRead,
  GRAINS,
  type Grain,
  MINUTE_US,
  type Progress,
  type ReadPart,
  ROW_KINDS,
  type Row,
  type RowKind,
} from './model'
import { counterOf, deltaEntries, edgeOf, operationOf, type RowEntry, rowEntries } from './rows'

/**
 * Reads what services did, from rows and from deltas that aren't in the rows yet:
 *
 *     10:57   11:00                      13:00        13:20     13:25
 *       minutes │          hours           │ ten minutes │ minutes │
 *     ──────────┴──────────────────────────┴─────────────┴─────────┘  + deltas
 *
 * The coarsest rows that fit the step, and finer ones at both ends, and where coarser ones aren't complete. Rows of minutes are
 * removed before those of hours: what is older is read by whole hours.
 */

/** How many bytes of rows, and as many of deltas, a store answers with at most: a thread takes over so much at once. */
export const PORTION_BYTES = 8 * 1024 * 1024
/** How many rows are read by a statement. */
export const PAGE_ROWS = 64
const [HOUR, HOURS] = [60, 2]

/** Returns which rows answer a query, in order of time. @param keptFromUs rows of minutes that begin before this may be gone */
export function planOf({ fromUs, toUs, stepUs }: ActivityQuery, { rolled }: Progress, keptFromUs: number): ReadPart[] {
  const from = Math.floor(fromUs / MINUTE_US)
  const to = Math.ceil(toUs / MINUTE_US)
  const step = stepUs / MINUTE_US
  const fits = (grain: Grain) => step === Number.POSITIVE_INFINITY || step % grain === 0
  const parts: ReadPart[] = []
  const byHoursTo = Math.min(HOUR * Math.ceil(keptFromUs / MINUTE_US / HOUR), HOUR * rolled[HOURS])
  if (from < byHoursTo) {
    cover(HOUR * Math.floor(from / HOUR), Math.min(byHoursTo, HOUR * Math.ceil(to / HOUR)), 3, HOURS)
  }
  cover(Math.max(from, byHoursTo), to, 3, 0)
  return parts

  function cover(from: number, to: number, coarsest: number, finest: number): void {
    if (from >= to) return
    const grain = GRAINS[coarsest]!
    let [first, end] = [from / grain, to / grain]
    if (coarsest > finest) {
      first = Math.ceil(first)
      end = fits(grain) ? Math.min(Math.floor(end), rolled[coarsest]!) : first
    }
    if (first >= end) cover(from, to, coarsest - 1, finest)
    else {
      cover(from, first * grain, coarsest - 1, finest)
      parts.push({ grain, from: first, to: end })
      cover(end * grain, to, coarsest - 1, finest)
    }
  }
}

/** A store's page of rows: at most PAGE_ROWS of a part, by time, service and kind, after a row if there is one. */
export interface PageQuery {
  part: ReadPart
  after: Row | undefined
}

/** Asks for the pages of rows that fit into memory; a row's time isn't divided. @param plan of planOf() */
export function* portionOf(
  { fromUs, toUs }: ActivityQuery,
  plan: ReadPart[],
): Generator<PageQuery, Pick<ActivityRead, 'rows' | 'from' | 'to'>, Row[]> {
  const from = Math.min(Math.floor(fromUs / MINUTE_US), plan[0] === undefined ? Infinity : plan[0].from * plan[0].grain)
  let rows: Row[] = []
  let bytes = 0
  for (const part of plan) {
    for (let after: Row | undefined; ; ) {
      const page: Row[] = yield { part, after }
      for (const row of page) {
        rows.push(row)
        bytes += row.body.length
      }
      if (page.length < PAGE_ROWS) break
      after = page.at(-1)!
      const { grain, time } = after
      const whole = rows.findLastIndex(row => row.grain !== grain || row.time !== time) + 1
      if (bytes < PORTION_BYTES || whole === 0) continue
      rows = rows.slice(0, whole)
      return { rows, from, to: time * grain }
    }
  }
  return { rows, from, to: Math.ceil(toUs / MINUTE_US) }
}

/** What is counted of a key in a stretch of time. Take what you need of it before the next one. */
export interface ActivityEntry {
  kind: RowKind
  /** When the stretch began, in minutes since the epoch. */
  minute: number
  /** As operationKey() and edgeKey() of rows.ts write it. */
  key: string
  /** Adds the counter to another. It may be a correction, with negative numbers. */
  addTo(counter: Counter): void
}

/**
 * Calls `visit` with everything that a query asks for, in turns. Of edges one is corrected by another entry: sums that are nothing
 * (Counter.isNothing) aren't there.
 * @param ask a store's activity()
 * @throws StoreError if the store can't be read, or something in it is damaged
 */
export async function readActivity(
  ask: (query: ActivityQuery) => Promise<ActivityRead>,
  query: ActivityQuery,
  visit: (entry: ActivityEntry) => void,
): Promise<void> {
  const turns = new Turns()
  const { kinds, service } = query
  for (let fromUs = query.fromUs; fromUs < query.toUs; ) {
    const part = await ask({ ...query, fromUs })
    for (const row of part.rows) await pass(rowEntries(row.body), row.kind, row.grain * row.time)
    for (let { deltas, moreDeltas } = part; ; ) {
      for (const { delta } of deltas) await passDelta(delta, part)
      if (!moreDeltas) break
      const { seq } = deltas.at(-1)!
      ;({ deltas, moreDeltas } = await ask({ ...query, fromUs, deltasAfter: seq }))
      if (deltas[0]?.seq !== seq + 1n) throw tooSlow()
    }
    fromUs = part.to * MINUTE_US
  }

  async function pass(entries: Iterable<RowEntry>, kind: RowKind, minute: number): Promise<void> {
    for (const entry of entries) {
      visit({ kind, minute, key: entry.key, addTo: counter => entry.addTo(counter) })
      if (turns.over()) await turns.next()
    }
  }

  async function passDelta(delta: Buffer, { from, to }: ActivityRead): Promise<void> {
    for (const entry of deltaEntries(delta)) {
      const { minute, key } = entry
      if (turns.over()) await turns.next()
      if (minute < from || minute >= to) continue
      const addTo = (counter: Counter) => entry.addTo(counter)
      for (const kind of entry.kind === 'operations' ? OPERATIONS : EDGES) {
        if (!kinds.includes(kind)) continue
        if (service === undefined || service === serviceOf(kind, key)) visit({ kind, minute, key, addTo })
      }
    }
  }
}

const OPERATIONS: RowKind[] = ['operations']
const EDGES: RowKind[] = ['calls', 'callers']

function serviceOf(kind: RowKind, key: string): string {
  if (kind === 'operations') return operationOf(key).service
  const { caller, callee } = edgeOf(key)
  return kind === 'calls' ? caller : callee
}

/** Counters by key, of each kind of row. */
type ActivitySums = Record<RowKind, Map<string, Counter>>

/**
 * Returns the sums of each step in which there is something, in order of time, by when the step begins (microseconds). Their
 * number of counters is that of keys and steps: add up less by readActivity(), where there may be many.
 */
export async function sumActivity(
  ask: (query: ActivityQuery) => Promise<ActivityRead>,
  query: ActivityQuery,
): Promise<Map<number, ActivitySums>> {
  const { stepUs } = query
  const steps = new Map<number, ActivitySums>()
  await readActivity(ask, query, ({ kind, minute, key, addTo }) => {
    const startUs =
      stepUs === Number.POSITIVE_INFINITY ? query.fromUs : Math.floor((minute * MINUTE_US) / stepUs) * stepUs
    let sums = steps.get(startUs)
    if (sums === undefined) steps.set(startUs, (sums = { operations: new Map(), calls: new Map(), callers: new Map() }))
    addTo(counterOf(sums[kind], key))
  })
  for (const [startUs, sums] of steps) {
    for (const kind of ROW_KINDS) {
      for (const [key, counter] of sums[kind]) if (counter.isNothing()) sums[kind].delete(key)
    }
    if (ROW_KINDS.every(kind => sums[kind].size === 0)) steps.delete(startUs)
  }
  return new Map([...steps].sort(([a], [b]) => a - b))
}

function tooSlow(): StoreError {
  return new StoreError('MILO_STORE_UNAVAILABLE', 'the activity was changed while it was read: try again')
}
