import type { SpanRecord } from 'milo/codec/span'
import { IdMap, IdSet } from '../../record/ids'
import { eachRecord, type RawTrace } from '../../record/records'
import { buildTrace, keptReasons, summarize } from '../../trace'
import type { TraceSummary } from '../../trace/model'
import { Turns } from '../../turns'
import { type SearchPage, type SearchQuery, StoreError } from '../store'
import { earliestOf, type Link, linksOf, matchTrace } from './match'
import { comparePlaces, type Place } from './place'
import type { SpanIndex, Term } from './span-index'
import { type Choice, choose, Streams, termsOf } from './streams'
import { summarizeRecords } from './summarize-records'
import { endOfWindow } from './window'

/**
 * The search over any kind of index. Terms of the query drive: the index lists the places of the records that have these terms, newest
 * first, and omits those that it can cheaply exclude by the other terms. The trace of each place is read, which its
 * summary requires anyway, and has to match. So an index may list too much, but never too little.
 *
 *     query → alternatives → of each, the rarest term drives → places, newest first → traces → match? → summaries
 *
 * A trace is listed at the newest place of a span that matches. The index may list it sooner, by another span with the same term: then
 * it has to wait. `next` contains which terms drove, how far the places have been listed, and the last
 * MAX_SHOWN traces of earlier pages: so pages follow each other without gaps, even while traces grow. A trace that was shown
 * before those is recognized by its records. Within a page, traces are sorted by start.
 *
 * Only a limited part of a trace is read for its summary. A longer trace is listed without being matched, since the matching
 * span may be in the rest; its summary is marked as truncated.
 */
export interface SearchStore {
  index: SpanIndex
  /** @param maxBytes of each trace */
  readTraces(traceIds: bigint[], maxBytes: number): Promise<RawTrace[]>
}

/** Makes `readTraces` of a function that reads one. */
export function each(readTrace: (traceId: bigint, maxBytes: number) => Promise<RawTrace>): SearchStore['readTraces'] {
  return (traceIds, maxBytes) => Promise.all(traceIds.map(traceId => readTrace(traceId, maxBytes)))
}

/** The two halves of a span have two clocks, and the time range applies to one of them. */
const HALVES_APART_US = 2_000_000n
/** How many traces are read at once, and how much of each at first: most are shorter. */
const READS_AT_ONCE = 32
const PART_BYTES = 512 * 1024
/** The work of one search, after which it returns what it has found. */
const MAX_READS = 2_000
const DEADLINE_MS = 2_000
/** How many traces a cursor remembers, with 8 bytes each: proxies limit the length of addresses. */
const MAX_SHOWN = 300
/** How long the index may take to find places; a query that takes longer is refused. */
const GIVE_UP_MS = 10_000
/** How much of a trace is read for its summary, one at a time: some 15,000 spans. */
const SUMMARY_BYTES = 4 * 1024 * 1024
/** How much is read if the first record alone is longer: Cassandra takes no longer record, nor does HTTP by default. */
const RECORD_BYTES = 16 * 1024 * 1024
/** How much memory a search needs: the traces that are being read and those that are being matched. */
export const SEARCH_BYTES = 2 * (READS_AT_ONCE * PART_BYTES + SUMMARY_BYTES)
/** A page ends after this many characters of names: senders may use long names, and thousands of services in a trace. */
const MAX_PAGE_LENGTH = 4 * 1024 * 1024
/** A trace with more records is summarized without building it, which would take too long. */
const MAX_BUILT_RECORDS = 5_000
/** A longer summary isn't kept while its trace waits: it is made again. */
const MAX_KEPT_LENGTH = 2_000

/** @throws StoreError MILO_BAD_CURSOR */
export async function search(
  { index, readTraces }: SearchStore,
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
  const partBytes = Math.min(PART_BYTES, summaryBytes)
  const turns = new Turns()
  const links = linksOf(query)
  const terms = links.map(({ alternatives }) => alternatives.map(termsOf))
  const { fromUs, toUs, limit } = query
  const hasRange = (fromUs ?? toUs) !== undefined
  const cursor = query.after === undefined ? undefined : decodeCursor(query.after, links, terms)
  const choice = cursor?.choice ?? (await choose(index, terms, hasRange, mayGoOn))
  const apart = query.clocksAgree ? 0n : HALVES_APART_US
  const last = toUs === undefined ? undefined : BigInt(Math.floor(toUs)) + apart
  const range = {
    fromUs: fromUs === undefined ? undefined : BigInt(Math.ceil(fromUs)) - apart,
    toUs: last !== undefined && index.windowBits !== undefined ? endOfWindow(last) : last,
  }
  const streams = new Streams(index, { terms, links }, choice, range, cursor?.place)
  const shown: bigint[] = cursor?.shown ?? []
  /** What was decided on traces; of those that have been shown, nothing more. */
  const known = new IdMap<Decision>()
  for (const traceId of shown) known.set(traceId, DONE)
  const found: { trace: TraceSummary; matchedUs: number | undefined }[] = []
  const page = (end: Place | undefined): SearchPage => {
    found.sort(({ trace: a }, { trace: b }) => (b.start ?? 0) - (a.start ?? 0) || (a.traceId < b.traceId ? 1 : -1))
    const traces = found.map(({ trace }) => trace)
    const matchedUs = found.map(({ matchedUs }) => matchedUs)
    const whole = { traces, matchedUs, read: reads, cost: streams.cost() }
    if (end === undefined) return whole
    const next = encodeCursor({ choice, place: end, shown: shown.slice(-MAX_SHOWN) }, links)
    // Where the spans above drive, nothing is known of those below them.
    return { ...whole, next, ...(choice.link === links.length - 1 && { reachedUs: Number(end.startUs) }) }
  }

  const windowBits = BigInt(index.windowBits ?? 0)
  /** Whether a place is listed before a trace's own. */
  const isTooSoon = (place: Place, own: Place) => place.startUs >> windowBits > own.startUs >> windowBits
  /** Traces before this place may have been shown and forgotten. */
  const forgottenBefore = shown.length < MAX_SHOWN ? undefined : cursor!.place
  const isForgotten = (records: SpanRecord[], own?: Place): boolean => {
    if (forgottenBefore === undefined) return false
    for (const place of streams.listedOf(records)) {
      if (comparePlaces(place, forgottenBefore) >= 0 && !(own && isTooSoon(place, own))) return true
    }
    return false
  }
  const decide = async ({ bytes, truncated }: RawTrace): Promise<Decision> => {
    const records: SpanRecord[] = []
    for (const record of eachRecord(bytes)) {
      records.push(record)
      if (turns.over()) await turns.next()
    }
    if (records.length === 0) return DONE
    let own: Place | undefined
    let matchedUs: number | undefined
    if (truncated) {
      if (isForgotten(records)) return DONE
    } else {
      const matched = await turns.take(matchTrace(records, links, query, choice.link))
      if (matched === undefined) return DONE
      matchedUs = earliestOf(matched.spans)
      for (const place of streams.placesOf(matched.level)) {
        if (own === undefined || comparePlaces(place, own) > 0) own = place
      }
      if (own !== undefined && isForgotten(records, own)) return DONE
    }
    const isLong = truncated || records.length > MAX_BUILT_RECORDS
    const summary = isLong ? summarizeRecords(records) : summarize(buildTrace(records))
    const kept = keptReasons(records)
    if (kept !== undefined) summary.kept = [...new Set(kept.map(({ reason }) => reason))]
    return { own, matchedUs, summary: truncated ? { ...summary, truncated } : summary }
  }
  const mustRead = (place: Place): boolean => {
    const decision = known.get(place.traceId)
    if (decision === undefined) return true
    return decision !== DONE && decision.summary === undefined && !(decision.own && isTooSoon(place, decision.own))
  }

  /** The place of the last trace on this page. */
  let lastTaken: Place | undefined
  let reads = 0
  let length = 0
  for (;;) {
    const { places, resume } = await streams.read(2 * limit, mayGoOn)
    for (let i = 0; i < places.length; ) {
      // As many as are needed if they match as often as those that have been read.
      const lacking = limit + 1 - found.length
      const needed = reads === 0 ? lacking : Math.ceil((lacking * reads) / Math.max(found.length, 1))
      const ids: bigint[] = []
      /** The place of each. */
      const at: number[] = []
      const some = new IdSet()
      let end = i
      for (; end < places.length; end++) {
        const place = places[end]!
        if (some.has(place.traceId) || !mustRead(place)) continue
        if (some.size === Math.min(needed, READS_AT_ONCE)) break
        some.add(place.traceId)
        ids.push(place.traceId)
        at.push(end)
      }
      const read = await readTraces(ids, partBytes)
      reads += ids.length
      for (const [j, traceId] of ids.entries()) {
        if (j > 0 && isLate()) {
          end = at[j]!
          break
        }
        let trace = read[j]!
        const more = async (maxBytes: number) => (await readTraces([traceId], maxBytes))[0]!
        if (trace.truncated && partBytes < summaryBytes) trace = await more(summaryBytes)
        // There would be nothing to show.
        if (trace.truncated && trace.bytes.length === 0) trace = await more(RECORD_BYTES)
        known.set(traceId, await decide(trace))
      }
      for (; i < end; i++) {
        const place = places[i]!
        const { own, matchedUs, summary } = known.get(place.traceId)!
        if (summary === undefined) continue
        if (own !== undefined && isTooSoon(place, own)) {
          if (lengthOf(summary) > MAX_KEPT_LENGTH) known.set(place.traceId, { own, matchedUs, summary: undefined })
          continue
        }
        // One trace more than asked for tells whether there is another page.
        if (found.length === limit || length > MAX_PAGE_LENGTH) return page(lastTaken)
        found.push({ trace: summary, matchedUs })
        known.set(place.traceId, DONE)
        length += lengthOf(summary)
        shown.push(place.traceId)
        lastTaken = place
      }
      if (reads >= MAX_READS || isLate()) {
        const last = resume === undefined && i === places.length
        return page(last ? undefined : places[i - 1]!)
      }
    }
    if (resume === undefined) return page(undefined)
    if (isLate()) return page(resume)
  }
}

/** What a page knows of a trace that has been read. */
interface Decision {
  /** Where the trace is listed; undefined: wherever the index lists it first. */
  own: Place | undefined
  /** When its earliest span that matches began. */
  matchedUs: number | undefined
  /** Undefined if there is nothing to show, or no more, or if it was too long to be kept. */
  summary: TraceSummary | undefined
}

const DONE: Decision = { own: undefined, matchedUs: undefined, summary: undefined }

function lengthOf({ name, service, services, failure }: TraceSummary): number {
  const own = name.length + (service?.length ?? 0) + (failure?.name.length ?? 0) + (failure?.service?.length ?? 0)
  return services.reduce((sum, { length }) => sum + length, own)
}

interface SearchCursor {
  choice: Choice
  place: Place
  /** The last traces of earlier pages. */
  shown: bigint[]
}

/** Writes a byte for the link, if there are several, one for each driver, and numbers of eight bytes each. */
function encodeCursor({ choice, place, shown }: SearchCursor, links: Link[]): string {
  const { link, drivers } = choice
  const numbers = Buffer.alloc(8 * (2 + shown.length))
  for (const [i, n] of [place.startUs, place.traceId, ...shown].entries()) numbers.writeBigInt64BE(n, 8 * i)
  return Buffer.concat([Buffer.from(links.length > 1 ? [link, ...drivers] : drivers), numbers]).toString('base64url')
}

/** @param terms of each alternative of each link */
function decodeCursor(text: string, links: Link[], terms: Term[][][]): SearchCursor {
  const bytes = Buffer.from(text, 'base64url')
  const link = links.length > 1 ? (bytes[0] ?? 0) : 0
  const ofLink = terms[link] ?? []
  const begin = links.length > 1 ? 1 : 0
  const drivers = [...bytes.subarray(begin, begin + ofLink.length)]
  const numbers = (bytes.length - begin - ofLink.length) / 8
  const isRead = ofLink.length > 0 && ofLink.every((terms, i) => drivers[i]! < terms.length)
  if (isRead && Number.isInteger(numbers) && numbers >= 2 && numbers <= 2 + MAX_SHOWN) {
    const at = begin + ofLink.length
    const read = Array.from({ length: numbers }, (_, i) => bytes.readBigInt64BE(at + 8 * i))
    const [startUs, traceId, ...shown] = read
    const cursor = { choice: { link, drivers }, place: { startUs: startUs!, traceId: traceId! }, shown }
    if (encodeCursor(cursor, links) === text) return cursor
  }
  throw new StoreError('MILO_BAD_CURSOR', 'not a cursor of this search: use the next of the previous page unchanged')
}
