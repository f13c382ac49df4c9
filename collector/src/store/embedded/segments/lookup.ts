import { IdSet } from '../../../record/ids'
import { MULTIPLIER } from '../../../record/seed'
import type { Turns } from '../../../turns'
import { compareBytes, wordSearch } from '../../bytes'
import type { IndexPolicy } from '../../search/index-policy'
import type { HalfConditions } from '../../search/match'
import type { IndexQuery, Place, Places, SpanIndex, Term } from '../../search/search'
import { type CompletionQuery, type Match, StoreError } from '../../store'
import type { EmbeddedBackend } from '../backend'
import type { EmbeddedFile } from '../file'
import {
  type BlockReader,
  CHUNK_RECORDS,
  ChunkReader,
  fieldBytes,
  LONGEST_US,
  NO_DURATION,
  SEGMENT_ROWS,
} from './format'
import { blocksFrom, type Segment } from './segments'
import { cutWord, MAX_WORD_LENGTH } from './words'

/** Terms' ordinals that are kept, for the pages and the terms that follow: they never change. In bytes. */
const CACHE_BYTES = 64 * 1024 * 1024
/** Chunks that are kept: 64 KiB each. */
const CACHED_CHUNKS = 2_000
/**
 * Among how many records it pays to find out, before any trace is read, which traces have all of a query's terms at all; and
 * among how many once so many places have been listed.
 */
const SIEVE_RECORDS = { atOnce: 500_000, later: 8_000_000 } as const
const LISTED_BEFORE_SIEVE = 50
/** How long what was found out holds while more arrives. */
const SIEVE_MS = 1_000
/** Sieves that are kept, for the pages that follow, in bytes. One that would be larger than half of that isn't made. */
const SIEVES_BYTES = 64 * 1024 * 1024
const MAX_SIEVES = 100
/** What lists places gives what it has after so long. */
const PLACES_MS = 500

/** Ascending ordinals; a number: all of so many. */
type Ordinals = Uint32Array | number

/** Search in the segments: every term has its ordinals in each, and a record's place follows from its ordinal. */
export class SegmentIndex implements SpanIndex {
  private readonly file: EmbeddedFile
  private readonly backend: EmbeddedBackend
  private readonly policy: IndexPolicy
  private readonly cache = new OrdinalsCache()
  private readonly chunks: ChunkCache
  private readonly sieves = new SieveCache()

  constructor(file: EmbeddedFile, backend: EmbeddedBackend, policy: IndexPolicy) {
    this.file = file
    this.backend = backend
    this.policy = policy
    this.chunks = new ChunkCache(file)
  }

  count(term: Term, most: number, mayGoOn: () => void): Promise<number> {
    if (this.unindexed(term) !== undefined) return Promise.resolve(Infinity)
    const turns = this.backend.turns(mayGoOn)
    return this.backend.reading(async segments => {
      let count = 0
      for (const segment of segments) {
        if (count >= most) break
        count += await this.countIn(segment, term, most - count, turns)
      }
      return count
    })
  }

  places(query: IndexQuery, after: Place | undefined, most: number, mayGoOn: () => void): Promise<Places> {
    const key = this.unindexed(query.driver)
    if (key !== undefined) {
      const message = `annotations of ${JSON.stringify(key)} aren't indexed: see index.allow and index.deny, or search for something else as well`
      throw new StoreError('MILO_NOT_INDEXED', message)
    }
    const turns = this.backend.turns(mayGoOn)
    return this.backend.reading(segments => this.placesIn(segments, query, after, most, turns))
  }

  async complete({ field, key, prefix, limit }: CompletionQuery): Promise<string[]> {
    const bytes = Buffer.from(prefix)
    const of = fieldBytes(field, field === 'value' ? cutWord(key!) : '')
    const cutLength = field === 'value' ? this.policy.maxValueLength : MAX_WORD_LENGTH
    const turns = this.backend.turns()
    return this.backend.reading(async segments => {
      const words = new Set<string>()
      for (const segment of segments) {
        let found = 0
        // A word whose records fill several blocks stands in each of them, once.
        let last: string | undefined
        for (const block of blocksFrom(this.file, segment, of, bytes)) {
          if (turns.over()) await turns.next()
          let go = true
          while (go && block.next()) {
            if (startsWith(block, bytes)) {
              const word = block.data.toString('utf8', block.termStart, block.termEnd)
              // What was cut would find nothing.
              if (word.length < cutLength && word !== last) {
                words.add(word)
                found++
                last = word
              }
              go = found < limit
            } else go = compareBytes(block.data, block.termStart, block.termEnd, bytes, 0, bytes.length) < 0
          }
          if (!go) break
        }
      }
      return [...words].sort().slice(0, limit)
    })
  }

  /** The key that keeps a term from being found. */
  private unindexed(term: Term): string | undefined {
    const key = term.kind === 'key' || term.kind === 'value' ? term.key : undefined
    return key === undefined || this.policy.indexes(cutWord(key)) ? undefined : key
  }

  private async placesIn(
    segments: Segment[],
    query: IndexQuery,
    after: Place | undefined,
    limit: number,
    turns: Turns,
  ): Promise<Places> {
    const endMs = performance.now() + PLACES_MS
    const sieve = this.sieveOf(query, after)
    const most = SIEVE_RECORDS[sieve.listed < LISTED_BEFORE_SIEVE ? 'atOnce' : 'later']
    const allowed = await this.allowed(segments, query, sieve, most, turns)
    const minDurationUs = query.driver.kind === 'half' ? (query.driver.minDurationUs ?? 0) : 0

    // Those whose records may come next are opened: as a rule one or two, for segments follow each other in time.
    const closed = segments.filter(({ lastUs }) => query.fromUs === undefined || lastUs >= query.fromUs)
    closed.sort((a, b) => (a.lastUs < b.lastUs ? -1 : 1))
    const lists: PlaceList[] = []
    const seen = new IdSet()
    const places: Place[] = []
    let last: Place | undefined
    for (;;) {
      let newest: PlaceList | undefined
      for (const list of lists) if (newest === undefined || comparePlaces(list.place, newest.place) > 0) newest = list
      const next = closed.at(-1)
      if (next !== undefined && (newest === undefined || next.lastUs >= newest.place.startUs)) {
        closed.pop()
        const ordinals = await this.ordinals(next, query.driver, turns)
        const list = new PlaceList(this.file, this.chunks, next, ordinals, minDurationUs)
        if (list.seek(after, query.toUs)) lists.push(list)
        continue
      }
      if (newest === undefined) return { places, resume: undefined }
      const { place } = newest
      if (query.fromUs !== undefined && place.startUs < query.fromUs) return { places, resume: undefined }
      if (!seen.has(place.traceId) && (allowed === undefined || allowed.has(...newest.spanKey()))) {
        if (places.length === limit) return { places, resume: last }
        places.push(place)
        sieve.listed++
        seen.add(place.traceId)
      }
      last = place
      if (!newest.next()) lists.splice(lists.indexOf(newest), 1)
      if (turns.over()) {
        if (performance.now() > endMs) return { places, resume: last }
        await turns.next()
      }
    }
  }

  private async countIn(segment: Segment, term: Term, most: number, turns: Turns): Promise<number> {
    const wanted = this.wordOf(term)
    if (wanted === undefined || wanted.match === 'contains' || wanted.field === undefined) {
      return lengthOf(await this.ordinals(segment, term, turns))
    }
    let count = 0
    await this.visit(segment, wanted.field, wanted.match, wanted.word, turns, block => {
      count += block.count
      return count < most
    })
    return count
  }

  private wordOf(term: Term): { field: Buffer | undefined; word: Buffer; match: Match } | undefined {
    switch (term.kind) {
      case 'half':
        return undefined
      case 'error':
        return { field: fieldBytes('error'), word: Buffer.alloc(0), match: 'exact' }
      case 'key':
        return { field: fieldBytes('key'), word: Buffer.from(cutWord(term.key)), match: 'exact' }
      case 'value': {
        const field = term.key === undefined ? undefined : fieldBytes('value', cutWord(term.key))
        return { field, word: Buffer.from(this.policy.cut(term.value)), match: term.match }
      }
    }
  }

  /** The ordinals of records that have the term; they say nothing of a half's minimal duration. */
  private async ordinals(segment: Segment, term: Term, turns: Turns): Promise<Ordinals> {
    if (term.kind === 'half') return this.ofHalf(segment, term, turns)
    const { field, word, match } = this.wordOf(term)!
    if (field !== undefined) return this.ofWord(segment, field, match, word, turns)
    return this.cache.get(`${segment.id} any ${match} ${word.toString('latin1')}`, async () => {
      const lists: Uint32Array[] = []
      for (const key of await this.fieldsOfValues(segment, turns)) {
        lists.push(await this.ofWord(segment, key, match, word, turns))
      }
      return union(lists)
    })
  }

  private async ofHalf(segment: Segment, { name, service }: HalfConditions, turns: Turns): Promise<Ordinals> {
    const ofName =
      name === undefined
        ? undefined
        : await this.ofWord(segment, fieldBytes('name'), 'exact', Buffer.from(cutWord(name)), turns)
    const ofService =
      service === undefined
        ? undefined
        : await this.ofWord(segment, fieldBytes('service'), 'exact', Buffer.from(cutWord(service)), turns)
    if (ofName !== undefined && ofService !== undefined) return intersection(ofName, ofService)
    return ofName ?? ofService ?? segment.records
  }

  private async fieldsOfValues(segment: Segment, turns: Turns): Promise<Buffer[]> {
    const fields: Buffer[] = []
    await this.visit(segment, fieldBytes('key'), 'prefix', Buffer.alloc(0), turns, block => {
      fields.push(fieldBytes('value', block.data.toString('utf8', block.termStart, block.termEnd)))
      return true
    })
    return fields
  }

  private ofWord(segment: Segment, field: Buffer, match: Match, word: Buffer, turns: Turns): Promise<Uint32Array> {
    const key = `${segment.id} ${match} ${field.toString('latin1')} ${field.length} ${word.toString('latin1')}`
    return this.cache.get(key, async () => {
      const lists: Uint32Array[] = []
      await this.visit(segment, field, match, word, turns, block => {
        const ordinals = new Uint32Array(block.count)
        block.ordinals(ordinals, 0)
        lists.push(ordinals)
        return true
      })
      return union(lists)
    })
  }

  /** Shows each term of the field that fits, and each part of it, until `take` says no. */
  private async visit(
    segment: Segment,
    field: Buffer,
    match: Match,
    word: Buffer,
    turns: Turns,
    take: (block: BlockReader) => boolean,
  ): Promise<void> {
    const from = match === 'contains' ? Buffer.alloc(0) : word
    let isIn: ReturnType<typeof wordSearch> | undefined
    for (const block of blocksFrom(this.file, segment, field, from)) {
      if (turns.over()) await turns.next()
      if (match === 'contains') {
        const terms = block.data.subarray(block.termsStart, block.termsEnd)
        isIn ??= wordSearch(word, terms)
        if (!isIn(terms)) continue
        while (block.next()) {
          const term = block.data.subarray(block.termStart, block.termEnd)
          if (term.includes(word) && !take(block)) return
        }
        continue
      }
      while (block.next()) {
        const order = compareBytes(block.data, block.termStart, block.termEnd, word, 0, word.length)
        if (order < 0) continue
        const fits = match === 'exact' ? order === 0 : startsWith(block, word)
        if (!fits || !take(block)) return
      }
    }
  }

  private sieveOf({ driver, others }: IndexQuery, after: Place | undefined): Sieve {
    // Without the time range, which a sieve doesn't depend on: "the last hour" is another one with every search.
    const sieve = this.sieves.get(JSON.stringify([driver, others]))
    if (after === undefined) {
      // Who asks anew is told what has come since.
      sieve.listed = 0
      sieve.madeMs = -Infinity
    }
    return sieve
  }

  /**
   * The spans that have the driver and all of the other terms, on whichever half; undefined when that would take too long.
   * Terms that are common, but seldom together, would otherwise mean to read thousands of traces.
   */
  private async allowed(
    segments: Segment[],
    { driver, others }: IndexQuery,
    sieve: Sieve,
    most: number,
    turns: Turns,
  ): Promise<SpanSet | undefined> {
    if (others.length === 0) return undefined
    const known = sieve.segments
    const grown = known === undefined || segments.length !== known.length || segments.some((s, i) => s !== known[i])
    if (sieve.most >= most && (!grown || performance.now() < sieve.madeMs + SIEVE_MS)) return sieve.allowed
    sieve.segments = segments
    sieve.most = most
    sieve.allowed = undefined
    let kept: SpanSet | undefined
    let records = 0
    for (const term of [driver, ...others]) {
      if (this.unindexed(term) !== undefined) continue
      // A record with the value may be on a key that isn't indexed.
      if (term !== driver && term.kind === 'value' && term.key === undefined && !this.policy.indexesAll) continue
      if (term.kind === 'half' && term.name === undefined && term.service === undefined) continue
      const found = new SpanSet()
      for (const segment of segments) {
        const ordinals = await this.ordinals(segment, term, turns)
        records += lengthOf(ordinals)
        if (records > most) {
          sieve.madeMs = performance.now()
          return undefined
        }
        await this.eachSpan(segment, ordinals, turns, (high, low) => {
          if (kept === undefined || kept.has(high, low)) found.add(high, low)
        })
        if (found.bytes() > SIEVES_BYTES / 2) {
          sieve.madeMs = performance.now()
          return undefined
        }
      }
      kept = found
      if (kept.size === 0) break
    }
    sieve.allowed = kept
    sieve.madeMs = performance.now()
    return sieve.allowed
  }

  private async eachSpan(
    segment: Segment,
    ordinals: Ordinals,
    turns: Turns,
    visit: (high: number, low: number) => void,
  ): Promise<void> {
    let number = -1
    let chunk: ChunkReader | undefined
    for (let i = 0; i < lengthOf(ordinals); i++) {
      const ordinal = typeof ordinals === 'number' ? i : ordinals[i]!
      const inChunk = Math.floor(ordinal / CHUNK_RECORDS)
      if (inChunk !== number) {
        if (turns.over()) await turns.next()
        number = inChunk
        chunk = this.chunks.get(segment, number)
      }
      const at = ordinal % CHUNK_RECORDS
      visit(chunk!.traceHigh(at) ^ chunk!.span(at), chunk!.traceLow(at))
    }
  }
}

/** Of the searches that were run last. What the oldest have found out is forgotten first. */
class SieveCache {
  private readonly sieves = new Map<string, Sieve>()

  get(key: string): Sieve {
    const sieve = this.sieves.get(key) ?? { listed: 0, most: 0, madeMs: -Infinity, allowed: undefined }
    this.sieves.delete(key)
    this.sieves.set(key, sieve)
    let bytes = 0
    for (const [text, { allowed }] of this.sieves) bytes += text.length + 200 + (allowed?.bytes() ?? 0)
    for (const [oldest, { allowed }] of this.sieves) {
      if (bytes <= SIEVES_BYTES && this.sieves.size <= MAX_SIEVES) break
      this.sieves.delete(oldest)
      bytes -= oldest.length + 200 + (allowed?.bytes() ?? 0)
    }
    return sieve
  }
}

interface Sieve {
  /** How many places were listed since the first page. */
  listed: number
  /** Among how many records at most it was made. */
  most: number
  madeMs: number
  /** The segments for which it was made. */
  segments?: Segment[]
  allowed: SpanSet | undefined
}

/** A term's places in one segment, newest first. */
class PlaceList {
  place!: Place
  private readonly file: EmbeddedFile
  private readonly segment: Segment
  private readonly ordinals: Ordinals
  private readonly minDurationUs: number
  private readonly chunks: ChunkCache
  private at = 0
  private inChunk = 0
  private chunk: ChunkReader | undefined
  private chunkNumber = -1

  constructor(file: EmbeddedFile, chunks: ChunkCache, segment: Segment, ordinals: Ordinals, minDurationUs: number) {
    this.file = file
    this.chunks = chunks
    this.segment = segment
    this.ordinals = ordinals
    this.minDurationUs = Math.min(minDurationUs, LONGEST_US)
  }

  /** To the newest one behind `after` and not after `toUs`. @returns whether there is one */
  seek(after: Place | undefined, toUs: bigint | undefined): boolean {
    const { ordinals, segment } = this
    let end = segment.records
    if (toUs !== undefined && toUs < segment.lastUs) end = this.ordinalOf({ startUs: toUs + 1n, traceId: I64_MIN })
    if (after !== undefined && after.startUs <= segment.lastUs) end = Math.min(end, this.ordinalOf(after))
    this.at = typeof ordinals === 'number' ? end : lowerBound(ordinals, end)
    return this.next()
  }

  next(): boolean {
    const { ordinals, minDurationUs, segment } = this
    while (--this.at >= 0) {
      const ordinal = typeof ordinals === 'number' ? this.at : ordinals[this.at]!
      const number = Math.floor(ordinal / CHUNK_RECORDS)
      if (number !== this.chunkNumber) {
        if (minDurationUs > 0) {
          const from = segment.id * SEGMENT_ROWS
          const long = this.file.sql.selectLongChunk.get([from, from + BigInt(number), BigInt(minDurationUs)]) as
            | [bigint]
            | undefined
          if (long === undefined) return false
          const last = Number(long[0] - from)
          if (last < number) {
            const end = (last + 1) * CHUNK_RECORDS
            this.at = typeof ordinals === 'number' ? end : lowerBound(ordinals, end)
            continue
          }
        }
        this.load(number)
      }
      const chunk = this.chunk!
      const i = ordinal % CHUNK_RECORDS
      if (minDurationUs > 0) {
        const durationUs = chunk.durationUs(i)
        if (durationUs === NO_DURATION || durationUs < minDurationUs) continue
      }
      this.place = { startUs: chunk.startUs(i), traceId: chunk.traceId(i) }
      this.inChunk = i
      return true
    }
    return false
  }

  spanKey(): [high: number, low: number] {
    const { chunk, inChunk } = this
    return [chunk!.traceHigh(inChunk) ^ chunk!.span(inChunk), chunk!.traceLow(inChunk)]
  }

  private load(number: number): void {
    this.chunk = this.chunks.get(this.segment, number)
    this.chunkNumber = number
  }

  /** How many records of the segment stand before the place, oldest first. */
  private ordinalOf(place: Place): number {
    const { segment } = this
    let low = 0
    let high = Math.ceil(segment.records / CHUNK_RECORDS)
    // The last chunk whose first record is not behind the place's start; equal starts may fill several.
    while (high - low > 1) {
      const middle = (low + high) >> 1
      const [firstUs] = this.file.sql.selectChunkStart.get([segment.id * SEGMENT_ROWS + BigInt(middle)]) as [bigint]
      if (firstUs < place.startUs) low = middle
      else high = middle
    }
    for (let number = low; number * CHUNK_RECORDS < segment.records; number++) {
      this.load(number)
      const chunk = this.chunk!
      let from = 0
      let to = chunk.records
      while (from < to) {
        const middle = (from + to) >> 1
        const other = { startUs: chunk.startUs(middle), traceId: chunk.traceId(middle) }
        if (comparePlaces(other, place) < 0) from = middle + 1
        else to = middle
      }
      if (from < chunk.records) return number * CHUNK_RECORDS + from
    }
    return segment.records
  }
}

const I64_MIN = -(2n ** 63n)

function comparePlaces(a: Place, b: Place): number {
  if (a.startUs !== b.startUs) return a.startUs < b.startUs ? -1 : 1
  return a.traceId < b.traceId ? -1 : a.traceId > b.traceId ? 1 : 0
}

/** Keeps what was used last. */
class OrdinalsCache {
  private readonly lists = new Map<string, Uint32Array>()
  private bytes = 0

  async get(key: string, make: () => Promise<Uint32Array>): Promise<Uint32Array> {
    let list = this.lists.get(key)
    if (list === undefined) {
      list = await make()
      // Somebody else may have been faster.
      const other = this.lists.get(key)
      if (other !== undefined) return other
      this.bytes += sizeOf(key, list)
    } else this.lists.delete(key)
    this.lists.set(key, list)
    for (const [oldest, ordinals] of this.lists) {
      if (this.bytes <= CACHE_BYTES) break
      this.lists.delete(oldest)
      this.bytes -= sizeOf(oldest, ordinals)
    }
    return list
  }
}

class ChunkCache {
  private readonly file: EmbeddedFile
  private readonly chunks = new Map<bigint, ChunkReader>()

  constructor(file: EmbeddedFile) {
    this.file = file
  }

  get(segment: Segment, number: number): ChunkReader {
    const id = segment.id * SEGMENT_ROWS + BigInt(number)
    let chunk = this.chunks.get(id)
    if (chunk === undefined) {
      const [data] = this.file.sql.selectChunk.get([id]) as [Buffer]
      chunk = new ChunkReader(data)
      // The oldest one, whether it was used since or not: a scan of everything would drive all others out either way.
      if (this.chunks.size >= CACHED_CHUNKS) this.chunks.delete(this.chunks.keys().next().value!)
      this.chunks.set(id, chunk)
    }
    return chunk
  }
}

function sizeOf(key: string, list: Uint32Array): number {
  return list.byteLength + key.length + 200
}

/**
 * Spans by 64 bits: the halves of the trace id, the high one xor what stands for the span. Open addressing, half full at
 * most. Two spans that are taken for one are told apart when the trace is read.
 */
class SpanSet {
  size = 0
  private slots = new Int32Array(2 * 1024)
  private used = new Uint8Array(1024)

  has(high: number, low: number): boolean {
    return this.used[this.find(high, low)] === 1
  }

  add(high: number, low: number): void {
    const slot = this.find(high, low)
    if (this.used[slot] === 1) return
    this.used[slot] = 1
    this.slots[2 * slot] = high
    this.slots[2 * slot + 1] = low
    if (++this.size * 2 > this.used.length) this.grow()
  }

  bytes(): number {
    return this.slots.byteLength + this.used.byteLength
  }

  private find(high: number, low: number): number {
    const mask = this.used.length - 1
    let slot = Math.imul(low, MULTIPLIER)
    slot = Math.imul(slot ^ (slot >>> 15) ^ high, MULTIPLIER)
    slot = (slot ^ (slot >>> 13)) & mask
    while (this.used[slot] === 1 && (this.slots[2 * slot] !== high || this.slots[2 * slot + 1] !== low)) {
      slot = (slot + 1) & mask
    }
    return slot
  }

  private grow(): void {
    const { slots, used } = this
    this.slots = new Int32Array(slots.length * 2)
    this.used = new Uint8Array(used.length * 2)
    this.size = 0
    for (const [slot, is] of used.entries()) if (is === 1) this.add(slots[2 * slot]!, slots[2 * slot + 1]!)
  }
}

function startsWith({ data, termStart, termEnd }: BlockReader, word: Buffer): boolean {
  if (termEnd - termStart < word.length) return false
  for (let i = 0; i < word.length; i++) if (data[termStart + i] !== word[i]) return false
  return true
}

function lengthOf(ordinals: Ordinals): number {
  return typeof ordinals === 'number' ? ordinals : ordinals.length
}

function union(lists: Uint32Array[]): Uint32Array {
  if (lists.length === 1) return lists[0]!
  let length = 0
  for (const list of lists) length += list.length
  const all = new Uint32Array(length)
  let at = 0
  let ascending = true
  for (const list of lists) {
    if (at > 0 && list.length > 0 && list[0]! <= all[at - 1]!) ascending = false
    all.set(list, at)
    at += list.length
  }
  if (ascending) return all
  all.sort()
  let n = 0
  for (const ordinal of all) if (n === 0 || ordinal !== all[n - 1]) all[n++] = ordinal
  return all.slice(0, n)
}

function intersection(a: Uint32Array, b: Uint32Array): Uint32Array {
  const both = new Uint32Array(Math.min(a.length, b.length))
  let n = 0
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i]! === b[j]!) {
      both[n++] = a[i]!
      i++
      j++
    } else if (a[i]! < b[j]!) i++
    else j++
  }
  return both.slice(0, n)
}

/** How many are below `end`. */
function lowerBound(ordinals: Uint32Array, end: number): number {
  let low = 0
  let high = ordinals.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (ordinals[middle]! < end) low = middle + 1
    else high = middle
  }
  return low
}
