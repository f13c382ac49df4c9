import { clock } from '../process/genuine'
import type { LiveSpan } from '../trace/span'
import { Names } from './names'
import {
  endUsOf,
  hasName,
  idHiOf,
  idLoOf,
  isEntrySpan,
  nextEntry,
  Page,
  readEntry,
  roomOf,
  sharedRoomOf,
  traceHiOf,
  traceLoOf,
  writeEntry,
} from './span-memory'

/** A history has at least this many pages, of at most this many bytes each. */
const MIN_PAGES = 16
const MAX_PAGE_BYTES = 64 * 1024
/** Of a span that would take more than this part of a history, only that it was there is kept in it. */
const MAX_SPAN_PART = 1 / 4
const LOW_BITS = 0xffff

/** A span with which a trace came into this process, or began there. */
export interface Entry extends TraceId {
  idHi: number
  idLo: number
}

/** The low 64 bits of a trace's id, as signed halves. */
export interface TraceId {
  hi: number
  lo: number
}

/**
 * The spans that ended last, in a fixed amount of memory: when it is full, the page with the oldest is written anew. Nothing is allocated
 * then. A trace is found by going through all entries, which takes 2 ns each, so there is no index to be kept.
 */
export class History {
  private readonly maxBytes: number
  private readonly pageBytes: number
  private readonly names = new Names()
  private oldest: Page
  private youngest: Page
  /** What the pages take. They are made when they are needed first. */
  bytes: number
  spans = 0
  /** How many spans were too large for it. */
  tooLarge = 0
  /** When it was made, in microseconds since the epoch: nothing was overwritten before. */
  readonly madeUs = clock.wallMs() * 1000
  private hasForgotten = false
  /** A bit for each value that the lowest bits of an id have: whether such a trace is looked for. */
  private readonly wanted = new Int32Array((LOW_BITS + 1) / 32)

  /** @param bytes about how much memory it may take, 64 KiB or more */
  constructor(bytes: number) {
    this.maxBytes = bytes
    this.pageBytes = Math.min(MAX_PAGE_BYTES, Math.floor(bytes / MIN_PAGES) & -8)
    this.oldest = this.youngest = new Page(this.pageBytes)
    this.bytes = this.pageBytes
  }

  /** Since when it has all spans, in microseconds since the epoch. */
  get beganUs(): number {
    const { oldest } = this
    return this.hasForgotten ? endUsOf(oldest, 0) : this.madeUs
  }

  /** Takes a span that has ended. */
  add(span: LiveSpan): void {
    if (!writeEntry(this.youngest, this.names, span)) {
      let written = span
      let page = this.pageFor(span)
      if (page === undefined) {
        this.tooLarge++
        written = span.stub(roomOf(span))
        page = this.pageFor(written)
      }
      if (page === undefined || !writeEntry(page, this.names, written)) return
    }
    this.spans++
  }

  /**
   * Gives copies of the spans of these traces, in the order in which they ended.
   * @param each mustn't add to this history
   */
  collect(ids: readonly TraceId[], each: (span: LiveSpan) => void): void {
    const { wanted, names } = this
    const highs = new Map<number, number[]>()
    wanted.fill(0)
    for (const { hi, lo } of ids) {
      wanted[(lo & LOW_BITS) >> 5]! |= 1 << (lo & 31)
      const others = highs.get(lo)
      if (others === undefined) highs.set(lo, [hi])
      else others.push(hi)
    }
    for (let page: Page | undefined = this.oldest; page !== undefined; page = page.next) {
      for (let at = 0; at < page.end; at = nextEntry(page, at)) {
        const lo = traceLoOf(page, at)
        if ((wanted[(lo & LOW_BITS) >> 5]! & (1 << (lo & 31))) === 0) continue
        if (highs.get(lo)?.includes(traceHiOf(page, at))) each(readEntry(page, at, names))
      }
    }
  }

  /**
   * Entry spans of this name: those of the last `n` traces that have one, the youngest first.
   * @param untilUs what ended later doesn't count
   */
  last(name: string, n: number, untilUs = Number.POSITIVE_INFINITY): Entry[] {
    const number = this.names.find(name)
    const utf8 = Buffer.from(name)
    const pages: Page[] = []
    for (let page: Page | undefined = this.oldest; page !== undefined; page = page.next) pages.push(page)
    const found = new Map<string, Entry>()
    for (let page = pages.pop(); page !== undefined && found.size < n; page = pages.pop()) {
      const here: number[] = []
      for (let at = 0; at < page.end; at = nextEntry(page, at))
        if (hasName(page, at, number, utf8) && isEntrySpan(page, at) && endUsOf(page, at) <= untilUs) here.push(at)
      for (let at = here.pop(); at !== undefined && found.size < n; at = here.pop()) {
        const hi = traceHiOf(page, at)
        const lo = traceLoOf(page, at)
        const key = `${hi} ${lo}`
        if (!found.has(key)) found.set(key, { hi, lo, idHi: idHiOf(page, at), idLo: idLoOf(page, at) })
      }
    }
    return [...found.values()]
  }

  /** A page behind the youngest that has room for the span; undefined when it is too large. */
  private pageFor(span: LiveSpan): Page | undefined {
    // Lists have their places in pages of the usual size.
    if (roomOf(span) + sharedRoomOf(span) > this.pageBytes) span.unshare()
    const size = Math.max(this.pageBytes, roomOf(span))
    if (size > this.maxBytes * MAX_SPAN_PART) return undefined
    let page: Page | undefined
    // The youngest is never forgotten: it takes a fourth at most, and the new one as well.
    while (page === undefined && this.bytes + size > this.maxBytes) {
      const forgotten = this.forget()
      if (forgotten.bytes.length === size) page = forgotten
    }
    page ??= new Page(size)
    this.bytes += size
    this.youngest = this.youngest.next = page
    return page
  }

  private forget(): Page {
    const page = this.oldest
    this.oldest = page.next!
    this.bytes -= page.bytes.length
    this.spans -= page.spans
    if (page.spans > 0) this.hasForgotten = true
    page.clear()
    return page
  }
}
