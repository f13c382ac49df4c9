import type { SpanRecord } from 'milo/codec/span'
import { isError, recordStartUs } from '../../record/half'
import { IdSet } from '../../record/ids'
import { eachRecord, type RawTrace } from '../../record/records'
import { buildTrace, summarize } from '../../trace'
import type { TraceSummary } from '../../trace/model'
import { Turns } from '../../turns'
import { type Match, type SearchPage, type SearchQuery, StoreError } from '../store'
import { holds, isHalf, matchesTrace } from './match'
import { summarizeRecords } from './summarize-records'

/**
 * Search, whatever the index is made of. Of the query's terms one drives: the index lists the places of the records that
 * have it, newest first, and leaves out what it cheaply can by the other terms. Each place's trace is read, which its
 * summary needs anyway, and has to match: so an index may list too much, but never too little.
 *
 *     query → terms → the rarest drives → places, newest first → traces → match? → summaries
 *
 * A trace stands at its newest place. `next` says which term drove, how far the places have been listed, and which traces
 * the pages before have shown, the last MAX_SHOWN of them: so pages follow each other without gaps, also while traces
 * grow. A trace that was shown earlier than these is known by its records. Within a page the order is that of the traces'
 * starts.
 *
 * Of a trace no more is read than a summary may cost. One that is longer is listed on the index's word, since what matches
 * may be in the rest; the summary says that it is one of a part.
 */
export interface SpanIndex {
  /**
   * How many records have the term, about; counted no further than `most`.
   * @param mayGoOn is called now and then, and throws when the search is to be given up
   */
  count(term: Term, most: number, mayGoOn: () => void): Promise<number>
  /** Places of records in the order newest first, by start and then by trace id, behind `after`. */
  places(query: IndexQuery, after: Place | undefined, most: number, mayGoOn: () => void): Promise<Places>
}

/** What a record can be found by. */
export type Term =
  /** All of one and the same record; without any, every record. */
  | { kind: 'half'; name: string | undefined; service: string | undefined; minDurationUs: number | undefined }
  | { kind: 'key'; key: string }
  /** An annotation's value; of any key without one. */
  | { kind: 'value'; key: string | undefined; value: string; match: Match }
  | { kind: 'error' }

export interface IndexQuery {
  /** The records that are listed: these and no others, apart from hashes that meet. */
  driver: Term
  /** A trace that lacks one of these altogether may be left out. */
  others: Term[]
  /** The times of the driver's record, inclusive. */
  fromUs: bigint | undefined
  toUs: bigint | undefined
}

/** A record's start in microseconds (the time of receipt for one without times), and its trace. */
export interface Place {
  startUs: bigint
  traceId: bigint
}

export interface Places {
  /** Places in order; the same trace, and the same place, may come again. */
  places: Place[]
  /** Where to go on; undefined at the end. Fewer places than asked for don't mean the end. */
  resume: Place | undefined
}

export interface SearchStore {
  index: SpanIndex
  readTrace(traceId: bigint, maxBytes: number): Promise<RawTrace>
}

/** The rarest term is looked for among so many records. */
const MAX_COUNT = 100_000
/** Two halves of a span are on two clocks, and one is what the time range is about. */
const HALVES_APART_US = 2_000_000n
const READS_AT_ONCE = 8
/** What a search does at most before it gives what it has. */
const MAX_READS = 2_000
const DEADLINE_MS = 2_000
/** How many traces a cursor remembers: 8 bytes each, in an address that proxies take. */
const MAX_SHOWN = 300
/** What the index is given to find places at all; a query that takes longer is refused. */
const GIVE_UP_MS = 10_000
/** What is read of a trace for its summary: some 15,000 spans. */
const SUMMARY_BYTES = 4 * 1024 * 1024
/** What a search holds at once: the traces that are being read, and one that is being looked at. */
export const SEARCH_BYTES = 2 * READS_AT_ONCE * SUMMARY_BYTES
/** A page ends after so many characters of names: anybody may send long ones, and thousands of services in a trace. */
const PAGE_LENGTH = 4 * 1024 * 1024
/** The number of spans up to which a trace is built for its summary: a longer one would take too long. */
const MAX_BUILD = 5_000

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
    toUs: toUs === undefined ? undefined : BigInt(Math.floor(toUs)) + HALVES_APART_US,
  }
  const seen = new IdSet(cursor?.shown)
  const traces: TraceSummary[] = []
  const shown: bigint[] = cursor?.shown ?? []
  const page = (end: Place | undefined): SearchPage => {
    traces.sort((a, b) => (b.start ?? 0) - (a.start ?? 0) || (a.traceId < b.traceId ? 1 : -1))
    return end === undefined
      ? { traces }
      : { traces, next: encodeCursor({ driver: driverAt, place: end, shown: shown.slice(-MAX_SHOWN) }) }
  }

  /** The place of the last trace taken. */
  let lastTaken: Place | undefined
  /** Where to look for traces that have been shown and are forgotten, if any are. */
  const forgottenBefore = shown.length < MAX_SHOWN ? undefined : cursor!.place
  let from = cursor?.place
  let reads = 0
  let length = 0
  for (;;) {
    const { places, resume } = await index.places(indexQuery, from, 2 * limit, mayGoOn)
    const fresh = places.filter(({ traceId }) => !seen.has(traceId) && seen.add(traceId))
    for (let i = 0; i < fresh.length; i += READS_AT_ONCE) {
      const some = fresh.slice(i, i + READS_AT_ONCE)
      const read = await Promise.all(some.map(({ traceId }) => readTrace(traceId, summaryBytes)))
      reads += some.length
      for (const [j, { bytes, truncated }] of read.entries()) {
        const place = some[j]!
        const records: SpanRecord[] = []
        for (const record of eachRecord(bytes)) {
          records.push(record)
          if (turns.over()) await turns.next()
        }
        if (records.length === 0 || (!truncated && !matchesTrace(records, query))) continue
        if (forgottenBefore !== undefined && hasStoodBefore(records, driver, forgottenBefore, indexQuery)) continue
        // One more than asked for, to know whether there is one.
        if (traces.length === limit || length > PAGE_LENGTH) return page(lastTaken)
        const isLong = truncated || records.length > MAX_BUILD
        const summary = isLong ? summarizeRecords(records) : summarize(buildTrace(records))
        traces.push(truncated ? { ...summary, truncated } : summary)
        length += lengthOf(summary)
        shown.push(place.traceId)
        lastTaken = place
      }
      if (reads >= MAX_READS || isLate()) {
        const place = some.at(-1)!
        const last = resume === undefined && i + READS_AT_ONCE >= fresh.length
        return page(last ? undefined : place)
      }
    }
    if (resume === undefined) return page(undefined)
    if (isLate()) return page(resume)
    from = resume
  }
}

/** The query's terms, in an order that depends on the query alone. */
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

/** Whether the trace has a record with the term at or before a place in the order, newest first. */
function hasStoodBefore(records: SpanRecord[], term: Term, place: Place, { fromUs, toUs }: IndexQuery): boolean {
  return records.some(record => {
    if (!hasTerm(record, term)) return false
    const startUs = recordStartUs(record)
    if (startUs === undefined) return false
    if ((fromUs !== undefined && startUs < fromUs) || (toUs !== undefined && startUs > toUs)) return false
    if (startUs !== place.startUs) return startUs > place.startUs
    return record.traceId! >= place.traceId
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

function lengthOf({ name, service, services }: TraceSummary): number {
  return services.reduce((sum, { length }) => sum + length, (name?.length ?? 0) + (service?.length ?? 0))
}

interface SearchCursor {
  /** Which of the query's terms drove. */
  driver: number
  place: Place
  /** Traces that the pages before have shown, the last ones. */
  shown: bigint[]
}

/** A byte for the driver, and then numbers of eight bytes each. */
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
  throw new StoreError('MILO_BAD_CURSOR', 'no place of this search: give the next of the page before, unchanged')
}
