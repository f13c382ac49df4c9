import { LiveSpan, Trace } from '../trace/span'
import { type Names, NO_NUMBER } from './names'

/**
 * Ended spans as bytes, in pages. As objects they would take a kilobyte each, and the garbage collector would copy all of them.
 * An entry begins at a multiple of 8 bytes; its numbers are in the machine's order:
 *
 *      0  i32  bytes × 16 + HAS_… flags
 *      4  u16  the name's number, or INLINE           u16  kind + 4 × the number of annotations
 *      8  f64  start and end, in µs
 *     24  i32  the halves of the ids of the trace, the span and its parent
 *     48  f32  probability
 *     52  the name, a text, where it is INLINE
 *         events: how many, u16; time f64 and text of each
 *         annotations: key and text of each
 *         counters: how many, u16; key and number, f64, of each
 *         the high half of the trace id, two i32; W3C's trace state, a text
 *
 * A key is its number, u16, or INLINE and a text. A text is its length in bytes, u16, and its UTF-8. Where the length is LONG, the true one
 * follows, u32. A lone surrogate becomes U+FFFD, as it does on the wire.
 */
const HEADER_BYTES = 52
const HAS_EVENTS = 1
const HAS_COUNTERS = 2
const HAS_HIGH_ID = 4
const HAS_STATE = 8
/** Names' numbers are smaller. */
const INLINE = 0x7fff
/** A bit of an annotation's key: its value wasn't a string. */
const TYPED = 0x8000
const LONG = 0xffff

/** What writing returns when the page has too little room. */
export const NO_ROOM = -1

/** A longer string is written and read by Node: a call into C++ takes as long as a loop over this many characters. */
const SHORT_LENGTH = 64

export class Page {
  readonly bytes: Buffer
  readonly view: DataView
  readonly ints: Int32Array
  readonly floats: Float64Array
  readonly singles: Float32Array
  /** Where its entries end, and how many there are. */
  end = 0
  spans = 0
  /** The next younger page. */
  next: Page | undefined = undefined

  /** @param size a multiple of 8 */
  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size)
    const { buffer } = this.bytes
    this.view = new DataView(buffer)
    this.ints = new Int32Array(buffer)
    this.floats = new Float64Array(buffer)
    this.singles = new Float32Array(buffer)
  }

  clear(): void {
    this.end = this.spans = 0
    this.next = undefined
  }
}

/**
 * Appends a span to a page.
 * @returns how many bytes it takes, or NO_ROOM
 */
export function writeEntry(page: Page, names: Names, span: LiveSpan): number {
  const { bytes: b, view, ints, floats } = page
  const at = page.end
  let p = at + HEADER_BYTES
  if (p > b.length) return NO_ROOM
  const { trace, annotations, counters, events } = span
  // The application may have set it to something else.
  const name: string = typeof span.name === 'string' ? span.name : String(span.name)
  let flags = 0
  let nameNumber = names.numberOf(name)
  if (nameNumber === NO_NUMBER) {
    nameNumber = INLINE
    p = writeText(b, view, p, name)
    if (p === NO_ROOM) return NO_ROOM
  }
  if (events !== undefined && events.length > 0) {
    flags |= HAS_EVENTS
    p = writeEvents(b, view, p, events)
    if (p === NO_ROOM) return NO_ROOM
  }
  let count = 0
  if (annotations !== undefined) {
    count = annotations.length >> 1
    const { typed } = span
    for (let i = 0; i < annotations.length; i += 2) {
      const key = annotations[i]!
      p = writeKey(b, view, p, names, key, typed?.includes(key) ? TYPED : 0)
      if (p === NO_ROOM) return NO_ROOM
      p = writeText(b, view, p, annotations[i + 1]!)
      if (p === NO_ROOM) return NO_ROOM
    }
  }
  if (counters !== undefined && counters.length > 0) {
    flags |= HAS_COUNTERS
    p = writeCounters(b, view, p, names, counters)
    if (p === NO_ROOM) return NO_ROOM
  }
  if (trace.highHi !== 0 || trace.highLo !== 0) {
    if (p + 8 > b.length) return NO_ROOM
    flags |= HAS_HIGH_ID
    view.setInt32(p, trace.highHi, true)
    view.setInt32(p + 4, trace.highLo, true)
    p += 8
  }
  if (trace.state !== undefined) {
    flags |= HAS_STATE
    p = writeText(b, view, p, trace.state)
    if (p === NO_ROOM) return NO_ROOM
  }
  const size = (p - at + 7) & -8
  if (at + size > b.length) return NO_ROOM
  const i = at >> 2
  ints[i] = (size << 4) | flags
  ints[i + 1] = nameNumber | (span.kind << 16) | (count << 18)
  floats[(at >> 3) + 1] = span.startUs
  floats[(at >> 3) + 2] = span.endUs
  ints[i + 6] = trace.hi
  ints[i + 7] = trace.lo
  ints[i + 8] = span.idHi
  ints[i + 9] = span.idLo
  ints[i + 10] = span.parentHi
  ints[i + 11] = span.parentLo
  page.singles[i + 12] = trace.probability
  page.end = at + size
  page.spans++
  return size
}

function writeEvents(b: Buffer, view: DataView, at: number, events: (number | string)[]): number {
  let p = at + 2
  if (p > b.length) return NO_ROOM
  view.setUint16(at, events.length >> 1, true)
  for (let i = 0; i < events.length; i += 2) {
    if (p + 8 > b.length) return NO_ROOM
    view.setFloat64(p, events[i] as number, true)
    p = writeText(b, view, p + 8, events[i + 1] as string)
    if (p === NO_ROOM) return NO_ROOM
  }
  return p
}

function writeCounters(b: Buffer, view: DataView, at: number, names: Names, counters: (number | string)[]): number {
  let p = at + 2
  if (p > b.length) return NO_ROOM
  view.setUint16(at, counters.length >> 1, true)
  for (let i = 0; i < counters.length; i += 2) {
    p = writeKey(b, view, p, names, counters[i] as string, 0)
    if (p === NO_ROOM || p + 8 > b.length) return NO_ROOM
    view.setFloat64(p, counters[i + 1] as number, true)
    p += 8
  }
  return p
}

function writeKey(b: Buffer, view: DataView, p: number, names: Names, key: string, flag: number): number {
  if (p + 2 > b.length) return NO_ROOM
  const number = names.numberOf(key)
  view.setUint16(p, (number === NO_NUMBER ? INLINE : number) | flag, true)
  return number === NO_NUMBER ? writeText(b, view, p + 2, key) : p + 2
}

function writeText(b: Buffer, view: DataView, p: number, text: string): number {
  const { length } = text
  let start = p + 2
  if (length <= SHORT_LENGTH) {
    if (start + length > b.length) return NO_ROOM
    let i = 0
    for (; i < length; i++) {
      const c = text.charCodeAt(i)
      if (c > 127) break
      b[start + i] = c
    }
    if (i === length) {
      view.setUint16(p, length, true)
      return start + length
    }
  }
  // A character takes three bytes at most. Only where there are fewer left, it is worth finding out how many it takes.
  const isLong = 3 * length >= LONG
  if (isLong) start += 4
  if (start + 3 * length > b.length && start + Buffer.byteLength(text) > b.length) return NO_ROOM
  const written = b.write(text, start)
  view.setUint16(p, isLong ? LONG : written, true)
  if (isLong) view.setUint32(p + 2, written, true)
  return start + written
}

/** How much room a span takes at most: exactly, but for names that have numbers. */
export function roomOf(span: LiveSpan): number {
  const { trace, annotations = [], counters = [], events = [] } = span
  const room = (text: unknown) => 8 + Buffer.byteLength(String(text))
  let bytes = HEADER_BYTES + room(span.name) + 8 + room(trace.state) + 8
  for (const text of annotations) bytes += room(text)
  for (let i = 0; i < counters.length; i += 2) bytes += room(counters[i]) + 8
  for (let i = 1; i < events.length; i += 2) bytes += room(events[i]) + 8
  return (bytes + 7) & -8
}

/** @returns where the next entry begins */
export function nextEntry(page: Page, at: number): number {
  return at + (page.ints[at >> 2]! >>> 4)
}

export function traceHiOf(page: Page, at: number): number {
  return page.ints[(at >> 2) + 6]!
}

export function traceLoOf(page: Page, at: number): number {
  return page.ints[(at >> 2) + 7]!
}

export function endUsOf(page: Page, at: number): number {
  return page.floats[(at >> 3) + 2]!
}

/** @param number that of the name; a name may have been written before it got one */
export function hasName(page: Page, at: number, number: number, utf8: Buffer): boolean {
  const own = page.ints[(at >> 2) + 1]! & 0xffff
  if (own !== INLINE) return own === number
  const reading = new Reading(page, at + HEADER_BYTES)
  const length = reading.length()
  return length === utf8.length && page.bytes.compare(utf8, 0, length, reading.p, reading.p + length) === 0
}

/** An entry as a span again, which has ended. */
export function readEntry(page: Page, at: number, names: Names): LiveSpan {
  const i = at >> 2
  const { ints, floats } = page
  const flags = ints[i]! & 15
  const refs = ints[i + 1]!
  const reading = new Reading(page, at + HEADER_BYTES)
  const name = reading.name(refs & 0xffff, names)
  let events: (number | string)[] | undefined
  if ((flags & HAS_EVENTS) !== 0) {
    events = []
    for (let n = reading.count(); n > 0; n--) events.push(reading.float(), reading.text())
  }
  let annotations: string[] | undefined
  let typed: string[] | undefined
  for (let n = refs >>> 18; n > 0; n--) {
    const ref = reading.count()
    const key = reading.name(ref & ~TYPED, names)
    if ((ref & TYPED) !== 0) (typed ??= []).push(key)
    ;(annotations ??= []).push(key, reading.text())
  }
  let counters: (number | string)[] | undefined
  if ((flags & HAS_COUNTERS) !== 0) {
    counters = []
    for (let n = reading.count(); n > 0; n--) counters.push(reading.name(reading.count(), names), reading.float())
  }
  const span = new LiveSpan(
    NOWHERE,
    traceOf(page, i, flags, reading),
    ints[i + 8]!,
    ints[i + 9]!,
    ints[i + 10]!,
    ints[i + 11]!,
    ((refs >> 16) & 3) as LiveSpan['kind'],
    name,
    floats[(at >> 3) + 1]!,
  )
  span.endUs = floats[(at >> 3) + 2]!
  span.events = events
  span.annotations = annotations
  span.typed = typed
  span.counters = counters
  return span
}

function traceOf({ ints, singles }: Page, i: number, flags: number, reading: Reading): Trace {
  const hasHigh = (flags & HAS_HIGH_ID) !== 0
  const highHi = hasHigh ? reading.int() : 0
  const highLo = hasHigh ? reading.int() : 0
  const trace = new Trace(ints[i + 6]!, ints[i + 7]!, highHi, highLo, false, false, singles[i + 12]!, 0)
  if ((flags & HAS_STATE) !== 0) trace.state = reading.text()
  return trace
}

const NOWHERE = { add() {}, truncated() {} }

/** Reads what follows an entry's numbers. */
class Reading {
  private readonly page: Page
  p: number

  constructor(page: Page, p: number) {
    this.page = page
    this.p = p
  }

  count(): number {
    const n = this.page.view.getUint16(this.p, true)
    this.p += 2
    return n
  }

  int(): number {
    const n = this.page.view.getInt32(this.p, true)
    this.p += 4
    return n
  }

  float(): number {
    const n = this.page.view.getFloat64(this.p, true)
    this.p += 8
    return n
  }

  length(): number {
    const n = this.count()
    return n === LONG ? this.int() : n
  }

  text(): string {
    const length = this.length()
    const from = this.p
    this.p += length
    return this.page.bytes.toString('utf8', from, this.p)
  }

  name(number: number, names: Names): string {
    return number === INLINE ? this.text() : names.nameOf(number)
  }
}
