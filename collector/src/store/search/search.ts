import type { SpanRecord } from 'milo/codec/span'
import { isError, recordStartUs } from '../../record/half'
import { IdSet } from '../../record/ids'
import { eachRecord, type RawTrace } from '../../record/records'
import { buildTrace, summarize } from '../../trace'
import type { TraceSummary } from '../../trace/model'
import { Turns } from '../../turns'
import { type Match, type SearchPage, type SearchQuery, StoreError } from '../store'
import { earliestMatch, holds, isHalf } from './match'
import { comparePlaces, type Place } from './place'
import { summarizeRecords } from './summarize-records'
import { endOfWindow } from './window'

/**
 * The search over any kind of index. One of the query's terms drives: the index lists the places of the records that have this
 * term, newest first, and omits those that it can cheaply exclude by the other terms. The trace of each place is read, which its
 * summary requires anyway, and has to match. So an index may list too much, but never too little.
 *
 *     query → terms → the rarest drives → places, newest first → traces → match? → summaries
 *
 * A trace is listed at its newest place. `next` contains which term drove, how far the places have been listed, and the last
 * MAX_SHOWN traces of earlier pages: so pages follow each other without gaps, even while traces grow. A trace that was shown
 * before those is recognized by its records. Within a page, traces are sorted by start.
 *
 * Only a limited part of a trace is read for its summary. A longer trace is listed without being matched, since the matching
 * span may be in the rest; its summary is marked as truncated.
 */
export interface SpanIndex {
  /**
   * Returns about how many records have the term; stops counting at `max`.
   * @param mayGoOn called now and then; throws to abort the search
   */
  count(term: Term, max: number, mayGoOn: () => void): Promise<number>
  /** Returns places of records after `after`, newest first by start and then by trace id; at most `max`, unless it is cheap. */
  places(query: IndexQuery, after: Place | undefined, max: number, mayGoOn: () => void): Promise<Places>
}

/** A condition that the index can find records by. */
export type Term =
  /** Conditions on one record; without any, every record. */
  | { kind: 'half'; name: string | undefined; service: string | undefined; minDurationUs: number | undefined }
  | { kind: 'key'; key: string }
  /** An annotation's value; without a key, of any key. */
  | { kind: 'value'; key: string | undefined; value: string; match: Match }
  | { kind: 'error' }

export interface IndexQuery {
  /** The term of the records to list. Others are listed only if hashes collide. */
  driver: Term
  /** Traces that lack one of these terms may be omitted. */
  others: Term[]
  /** Time range of the driver's records, inclusive. */
  fromUs: bigint | undefined
  toUs: bigint | undefined
}

export interface Places {
  /** Places in order; the same trace, and even the same place, may occur again. */
  places: Place[]
  /** The term whose places they are, if it isn't the driver: the index may list those of a wider one. */
  of?: Term
  /** Where to continue; undefined at the end. Fewer places than asked for don't mean the end. */
  resume: Place | undefined
}

export interface SearchStore {
  index: SpanIndex
  readTrace(traceId: bigint, maxBytes: number): Promise<RawTrace>
}

/** To find the rarest term, no more records than these are counted. */
const MAX_COUNT = 100_000
/** The two halves of a span have two clocks, and the time range applies to one of them. */
const HALVES_APART_US = 2_000_000n
const READS_AT_ONCE = 8
/** The work of one search, after which it returns what it has found. */
const MAX_READS = 2_000
const DEADLINE_MS = 2_000
/** How many traces a cursor remembers, with 8 bytes each: proxies limit the length of addresses. */
const MAX_SHOWN = 300
/** How long the index may take to find places; a query that takes longer is refused. */
const GIVE_UP_MS = 10_000
/** How much of a trace is read for its summary: some 15,000 spans. */
const SUMMARY_BYTES = 4 * 1024 * 1024
/** How much is read if the first record alone is longer, one trace at a time: Cassandra takes no longer record, nor does HTTP by default. */
const RECORD_BYTES = 16 * 1024 * 1024
/** How much memory a search needs: the traces that are being read and those that are being matched. */
export const SEARCH_BYTES = 2 * READS_AT_ONCE * SUMMARY_BYTES
/** A page ends after this many characters of names: senders may use long names, and thousands of services in a trace. */
const MAX_PAGE_LENGTH = 4 * 1024 * 1024
/** A trace with more records is summarized without building it, which would take too long. */
const MAX_BUILT_RECORDS = 5_000

/** @throws StoreError MILO_BAD_CURSOR */
export async function search(
  { index, readTrace }: SearchStore,
  query: SearchQuery,
  { summaryBytes = SUMMARY_BYTES, giveUpMs = GIVE_UP_MS } = {},
): Promise<SearchPage> {
  const began = performance.now()
  const isLate = () => performance.now() > began + DEADLINE_MS
  const mayGoOn = () => {
    if (performance.now() <= began + giveUpMs) return
    const remedy = 'give a name, a service, a key with its whole value, or fewer conditions'
    throw new StoreError('MILO_SEARCH_TOO_LONG', `the search took more than ${giveUpMs / 1000} s: ${remedy}`)
  }
  const turns = new Turns()
  const terms = termsOf(query)
  const cursor = query.after === undefined ? undefined : decodeCursor(query.after, terms.length)
  const driverAt = cursor?.driver ?? (await rarest(index, terms, mayGoOn))
  const driver = terms[driverAt]!
  const { fromUs, toUs, limit } = query
  const indexQuery: IndexQuery = {
    driver,
    others: terms.filter((_, i) => i !== driverAt),
    fromUs: fromUs === undefined ? undefined : BigInt(Math.ceil(fromUs)) - HALVES_APART_US,
    toUs: toUs === undefined ? undefined : endOfWindow(BigInt(Math.floor(toUs)) + HALVES_APART_US),
  }
  const seen = new IdSet(cursor?.shown)
  const found: { trace: TraceSummary; matchedUs: number | undefined }[] = []
  const shown: bigint[] = cursor?.shown ?? []
  const page = (end: Place | undefined): SearchPage => {
    found.sort(({ trace: a }, { trace: b }) => (b.start ?? 0) - (a.start ?? 0) || (a.traceId < b.traceId ? 1 : -1))
    const traces = found.map(({ trace }) => trace)
    const matchedUs = found.map(({ matchedUs }) => matchedUs)
    if (end === undefined) return { traces, matchedUs }
    const next = encodeCursor({ driver: driverAt, place: end, shown: shown.slice(-MAX_SHOWN) })
    return { traces, matchedUs, next, reachedUs: Number(end.startUs) }
  }

  /** The place of the last trace on this page. */
  let lastTaken: Place | undefined
  /** Traces before this place may have been shown and forgotten. */
  const forgottenBefore = shown.length < MAX_SHOWN ? undefined : cursor!.place
  let from = cursor?.place
  let reads = 0
  let length = 0
  for (;;) {
    const { places, resume, of = driver } = await index.places(indexQuery, from, 2 * limit, mayGoOn)
    const fresh = places.filter(({ traceId }) => !seen.has(traceId) && seen.add(traceId))
    for (let i = 0; i < fresh.length; ) {
      // As long as every trace that has been read is on the page, it needs no more than these.
      const needed = reads === found.length ? limit + 1 - reads : READS_AT_ONCE
      const some = fresh.slice(i, i + Math.min(needed, READS_AT_ONCE))
      i += some.length
      const read = await Promise.all(some.map(({ traceId }) => readTrace(traceId, summaryBytes)))
      reads += some.length
      for (const [j, beginning] of read.entries()) {
        const place = some[j]!
        // There would be nothing to show.
        const isCut = beginning.truncated && beginning.bytes.length === 0
        const { bytes, truncated } = isCut ? await readTrace(place.traceId, RECORD_BYTES) : beginning
        const records: SpanRecord[] = []
        for (const record of eachRecord(bytes)) {
          records.push(record)
          if (turns.over()) await turns.next()
        }
        if (records.length === 0) continue
        const matchedUs = truncated ? undefined : earliestMatch(records, query)
        if (!truncated && matchedUs === undefined) continue
        if (forgottenBefore !== undefined && hasStoodBefore(records, of, forgottenBefore, indexQuery)) continue
        // One trace more than asked for tells whether there is another page.
        if (found.length === limit || length > MAX_PAGE_LENGTH) return page(lastTaken)
        const isLong = truncated || records.length > MAX_BUILT_RECORDS
        const summary = isLong ? summarizeRecords(records) : summarize(buildTrace(records))
        found.push({ trace: truncated ? { ...summary, truncated } : summary, matchedUs })
        length += lengthOf(summary)
        shown.push(place.traceId)
        lastTaken = place
      }
      if (reads >= MAX_READS || isLate()) {
        const place = some.at(-1)!
        const last = resume === undefined && i === fresh.length
        return page(last ? undefined : place)
      }
    }
    if (resume === undefined) return page(undefined)
    if (isLate()) return page(resume)
    from = resume
  }
}

/** Returns the query's terms, in an order that depends only on the query. */
function termsOf({ name, service, minDurationUs, annotations, error }: SearchQuery): Term[] {
  const terms: Term[] = annotations.map(({ key, value, match }) =>
    value === undefined ? { kind: 'key', key: key! } : { kind: 'value', key, value, match },
  )
  if (error === true) terms.push({ kind: 'error' })
  const ofHalf = name !== undefined || service !== undefined || minDurationUs !== undefined
  if (ofHalf || terms.length === 0) terms.push({ kind: 'half', name, service, minDurationUs })
  return terms
}

async function rarest(index: SpanIndex, terms: Term[], mayGoOn: () => void): Promise<number> {
  if (terms.length === 1) return 0
  let best = 0
  let least = Infinity
  for (const [i, term] of terms.entries()) {
    mayGoOn()
    const count = await index.count(term, Math.min(least, MAX_COUNT), mayGoOn)
    if (count < least) [best, least] = [i, count]
  }
  return best
}

/** Whether the trace has a record with the term at or before a place, in order from the newest. */
function hasStoodBefore(records: SpanRecord[], term: Term, place: Place, { fromUs, toUs }: IndexQuery): boolean {
  return records.some(record => {
    if (!hasTerm(record, term)) return false
    const startUs = recordStartUs(record)
    if (startUs === undefined) return false
    if ((fromUs !== undefined && startUs < fromUs) || (toUs !== undefined && startUs > toUs)) return false
    return comparePlaces({ startUs, traceId: record.traceId! }, place) >= 0
  })
}

function hasTerm(record: SpanRecord, term: Term): boolean {
  switch (term.kind) {
    case 'half':
      return isHalf(record, term)
    case 'error':
      return isError(record)
    case 'key':
      return record.annotations?.has(term.key) === true
    case 'value':
      return holds(record, term)
  }
}

function lengthOf({ name, service, services, failure }: TraceSummary): number {
  const own = name.length + (service?.length ?? 0) + (failure?.name.length ?? 0) + (failure?.service?.length ?? 0)
  return services.reduce((sum, { length }) => sum + length, own)
}

interface SearchCursor {
  /** Index of the driving term. */
  driver: number
  place: Place
  /** The last traces of earlier pages. */
  shown: bigint[]
}

/** Writes a byte for the driver, then numbers of eight bytes each. */
function encodeCursor({ driver, place, shown }: SearchCursor): string {
  const bytes = Buffer.alloc(1 + 8 * (2 + shown.length))
  bytes[0] = driver
  for (const [i, n] of [place.startUs, place.traceId, ...shown].entries()) bytes.writeBigInt64BE(n, 1 + 8 * i)
  return bytes.toString('base64url')
}

function decodeCursor(text: string, terms: number): SearchCursor {
  const bytes = Buffer.from(text, 'base64url')
  const numbers = (bytes.length - 1) / 8
  const driver = bytes[0]!
  if (Number.isInteger(numbers) && numbers >= 2 && numbers <= 2 + MAX_SHOWN && driver < terms) {
    const [startUs, traceId, ...shown] = Array.from({ length: numbers }, (_, i) => bytes.readBigInt64BE(1 + 8 * i))
    const cursor = { driver, place: { startUs: startUs!, traceId: traceId! }, shown }
    if (encodeCursor(cursor) === text) return cursor
  }
  throw new StoreError('MILO_BAD_CURSOR', 'not a cursor of this search: use the next of the previous page unchanged')
}
