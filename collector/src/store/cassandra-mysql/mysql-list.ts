import { comparePlaces, I64_MAX, I64_MIN, type Place } from '../search/place'
import type { IndexQuery, Places } from '../search/span-index'
import { endOfWindow } from '../search/window'
import type { MySql, Row } from './mysql'
import { PLACES_OF_ROW, placeAt, placesIn } from './mysql-blocks'
import { durationHex, ordered } from './mysql-terms'

/** Reads lists of places: the rows of post that have a term, in order of time (mysql-blocks.ts). */

export interface List {
  term: string
  /** The least duration of a place's longest record; -1 for places without times too. */
  minDurationUs: number
}

/** How many rows are read at first: each may have many places, or one. */
const FIRST_ROWS = 16
const MAX_ROWS = 2_000
/** How many rows are looked at for durations at once, since none may be long enough; grows from the first value to the second. */
const STRETCH = [1_000, 32_000] as const
const MAX_STRETCH_ROWS = 256
/** Rows are counted exactly up to here; above, the server estimates. They have up to 4 KB each, and a walk reads the newest anyway. */
const MAX_COUNTED = 64

/** Reads a list's places step by step, from the newest. */
export class ListWalk {
  private readonly db: MySql
  private readonly list: List
  /** Where the list ends, and the place that all others are older than. */
  private readonly fromUs: bigint
  private readonly before: Place
  /** SQL for the end of the places that haven't been read; undefined at the end. */
  private below: string | undefined
  /** The places that have been read, newest first, and aren't returned yet. */
  private waiting: Place[] = []
  /** What isn't read may be as new as this. */
  private floor: Place
  private rowsRead = 0
  private placesRead = 0
  private stretch: number = STRETCH[0]

  /** @param after where to continue */
  constructor(db: MySql, list: List, { fromUs, toUs }: Pick<IndexQuery, 'fromUs' | 'toUs'>, after: Place | undefined) {
    this.db = db
    this.list = list
    this.fromUs = clamped(fromUs ?? I64_MIN)
    const end = { startUs: clamped(toUs ?? I64_MAX) + 1n, traceId: I64_MIN }
    this.before = after === undefined || comparePlaces(after, end) > 0 ? end : after
    this.floor = this.before
    // A row may be newer than places in it, but not of another window.
    const last = endOfWindow(this.before.traceId === I64_MIN ? this.before.startUs - 1n : this.before.startUs)
    this.below = last >= I64_MAX ? 'TRUE' : `place < ${bytes(ordered(last + 1n))}`
  }

  /** Returns the next places, some `size` of them; fewer don't mean the end. */
  async next(size: number): Promise<Places> {
    let ready = this.ready()
    while (ready < size && this.below !== undefined) {
      if (this.list.minDurationUs === -1) await this.read(size - ready)
      else await this.readStretch()
      ready = this.ready()
      if (this.list.minDurationUs !== -1) break
    }
    const places = this.waiting.slice(0, Math.min(ready, size))
    this.waiting = this.waiting.slice(places.length)
    if (this.waiting.length === 0 && this.below === undefined) return { places, resume: undefined }
    return { places, resume: places.length < ready ? places.at(-1) : this.floor }
  }

  /** The number of waiting places that no row below them can precede. */
  private ready(): number {
    if (this.below === undefined) return this.waiting.length
    const older = this.waiting.findIndex(place => comparePlaces(place, this.floor) < 0)
    return older === -1 ? this.waiting.length : older
  }

  private async read(places: number): Promise<void> {
    const perRow = this.placesRead / this.rowsRead
    const rows = this.rowsRead === 0 ? FIRST_ROWS : Math.min(Math.ceil(places / perRow) + 1, MAX_ROWS)
    this.add(await this.db.read(`SELECT place, older ${this.from()} ${NEWEST_FIRST} LIMIT ${rows}`), rows)
  }

  /** Reads only a limited part of the list, since none of the next rows may match. */
  private async readStretch(): Promise<void> {
    const [end] = await this.db.read(`SELECT place ${this.from()} ${NEWEST_FIRST} LIMIT 1 OFFSET ${this.stretch}`)
    this.stretch = Math.min(this.stretch * 4, STRETCH[1])
    const down = end === undefined ? '' : `AND place >= ${bytes(hexOf(end))}`
    // Blocks are looked into here.
    const longer = `AND (older > '' OR SUBSTR(place, 17) >= ${bytes(durationHex(this.list.minDurationUs))})`
    const sql = `SELECT place, older ${this.from()} ${down} ${longer} ${NEWEST_FIRST} LIMIT ${MAX_STRETCH_ROWS}`
    this.add(await this.db.read(sql), MAX_STRETCH_ROWS, end)
  }

  /** @param end the last row that has been looked at, if it isn't the last of these */
  private add(rows: Row[], limit: number, end?: Row): void {
    this.rowsRead += rows.length
    for (const place of placesOf(rows, this.list)) {
      this.placesRead++
      if (place.startUs >= this.fromUs && comparePlaces(place, this.before) < 0) this.waiting.push(place)
    }
    this.waiting.sort((a, b) => comparePlaces(b, a))
    const last = rows.length === limit ? rows.at(-1) : end
    this.below = last && `place < ${bytes(hexOf(last))}`
    if (last === undefined) return
    const place = placeAt(last[0] as unknown as Buffer)
    if (comparePlaces(place, this.floor) < 0) this.floor = place
  }

  private from(): string {
    return `FROM post WHERE term = ${bytes(this.list.term)} AND place >= ${bytes(ordered(this.fromUs))} AND ${this.below}`
  }
}

const NEWEST_FIRST = 'ORDER BY place DESC'

/** Returns about how many places a list has. */
export async function countOf(db: MySql, { term }: List): Promise<number> {
  const from = `FROM post WHERE term = ${bytes(term)}`
  const [counted] = await db.read(
    `SELECT COUNT(*), COALESCE(SUM(places), 0) FROM (SELECT ${PLACES_OF_ROW} AS places ${from} ${NEWEST_FIRST} LIMIT ${MAX_COUNTED}) t`,
  )
  const [rows, places] = counted!.map(Number) as [number, number]
  if (rows < MAX_COUNTED) return places
  return Math.round((Math.max(rows, await db.estimate(`SELECT 1 ${from}`)) * places) / rows)
}

/** Returns all places of a list. */
export async function readList(db: MySql, list: List): Promise<Place[]> {
  const rows = await db.read(`SELECT place, older FROM post WHERE term = ${bytes(list.term)}`)
  return [...placesOf(rows, list)]
}

/** Returns the places of values, in any order; undefined if there are more than `max`. */
export async function placesOfValues(
  db: MySql,
  day: number,
  terms: string[],
  max: number,
): Promise<Place[] | undefined> {
  // All rows of a value's day are in that day's partition.
  const from = `FROM post WHERE day = ${day} AND term IN (${terms.map(bytes)})`
  const [sum] = await db.read(`SELECT SUM(places) FROM (SELECT ${PLACES_OF_ROW} AS places ${from} LIMIT ${max + 1}) t`)
  if (Number(sum![0]) > max) return undefined
  return [...placesOf(await db.read(`SELECT place, older ${from}`))]
}

function* placesOf(rows: Row[], { minDurationUs }: Pick<List, 'minDurationUs'> = { minDurationUs: -1 }) {
  const leastTail = minDurationUs === -1 ? undefined : Buffer.from(durationHex(minDurationUs), 'hex')
  for (const [place, older] of rows as unknown as [Buffer, Buffer][]) yield* placesIn(place, older, leastTail)
}

function hexOf([place]: Row): string {
  return (place as unknown as Buffer).toString('hex')
}

/** Returns a binary literal. */
export function bytes(hex: string): string {
  return `x'${hex}'`
}

function clamped(us: bigint): bigint {
  return us < I64_MIN ? I64_MIN : us > I64_MAX ? I64_MAX : us
}
