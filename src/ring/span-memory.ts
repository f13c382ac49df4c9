import { Kind, LiveSpan, Trace } from '../trace/span'
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
 *         where the two lists are that it shares, u16 each; 0 for none
 *         events: how many, u16; time f64 and text of each
 *         annotations: key and text of each
 *         counters: how many, u16; key and number, f64 or WHOLE, of each
 *         the high half of the trace id, two i32; W3C's trace state, a text
 *
 * A key is its number, u16, or INLINE and a text. A text is its length in bytes, u16, its UTF-8, and a byte more if the length is odd.
 * Where the length is LONG, the true one follows, u32. A lone surrogate becomes U+FFFD, as it does on the wire.
 *
 * Entries fill a page from its beginning. Lists that spans share are written once a page, from its end: how many strings they have, u16,
 * and keys and texts.
 */
const HEADER_BYTES = 52
const HAS_EVENTS = 1
const HAS_COUNTERS = 2
const HAS_HIGH_ID = 4
const HAS_STATE = 8
const HAS_SHARED = 16
/** Names' numbers are smaller. */
const INLINE = 0x7fff
/** A bit of an annotation's key: its value wasn't a string. */
const TYPED = 0x8000
/** A bit of a counter's key: its number is an i32. */
const WHOLE = 0x8000
const LONG = 0xffff

/** A longer string is written and read by Node: a call into C++ takes as long as a loop over this many characters. */
const SHORT_LENGTH = 64

/** The bytes that a text or a key takes besides its characters, at most; an entry besides its texts; an event's or counter's number. */
const TEXT_BYTES = 8
const ENTRY_BYTES = HEADER_BYTES + 24
const NUMBER_BYTES = 8

export class Page {
  readonly bytes: Buffer
  readonly view: DataView
  readonly words: Uint16Array
  readonly ints: Int32Array
  readonly floats: Float64Array
  readonly singles: Float32Array
  /** Where its entries end, and how many there are. */
  end = 0
  spans = 0
  /** Where the lists begin. */
  limit: number
  /** The next younger page. */
  next: Page | undefined = undefined
  /** Another one after each `clear`: a list that was written before isn't there any more. */
  filling = {}

  /** @param size a multiple of 8 */
  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size)
    const { buffer } = this.bytes
    this.view = new DataView(buffer)
    this.words = new Uint16Array(buffer)
    this.ints = new Int32Array(buffer)
    this.floats = new Float64Array(buffer)
    this.singles = new Float32Array(buffer)
    this.limit = size
  }

  clear(): void {
    this.end = this.spans = 0
    this.limit = this.bytes.length
    this.next = undefined
    this.filling = {}
  }
}

/** Where a list was written last: a property of the list. */
const PLACE = Symbol('milo.place')
type List = readonly string[] & { [PLACE]?: { filling: object; at: number } }

/**
 * Appends a span to a page.
 * @returns whether there was room for it
 */
export function writeEntry(page: Page, names: Names, span: LiveSpan): boolean {
  const { trace, own: annotations, counters, events, shared } = span
  const at = page.end
  if (!hasRoom(page, page.limit, span)) return false
  const { words, ints, floats } = page
  // The application may have set it to something else.
  const name: string = typeof span.name === 'string' ? span.name : String(span.name)
  let flags = 0
  let p = at + HEADER_BYTES
  let nameNumber = names.numberOf(name)
  if (nameNumber === NO_NUMBER) {
    nameNumber = INLINE
    p = writeText(page, p, name)
  }
  if (shared !== undefined) {
    flags |= HAS_SHARED
    const first = placeOf(page, names, shared.first, span)
    const second = shared.second === undefined ? 0 : placeOf(page, names, shared.second, span)
    if (first === NO_ROOM || second === NO_ROOM) return false
    words[p >> 1] = first
    words[(p >> 1) + 1] = second
    p += 4
  }
  if (events !== undefined && events.length > 0) {
    flags |= HAS_EVENTS
    words[p >> 1] = events.length >> 1
    p += 2
    for (let i = 0; i < events.length; i += 2) {
      page.view.setFloat64(p, events[i] as number, true)
      p = writeText(page, p + 8, events[i + 1] as string)
    }
  }
  let count = 0
  if (annotations !== undefined) {
    count = annotations.length >> 1
    const { typed } = span
    for (let i = 0; i < annotations.length; i += 2) {
      const key = annotations[i]!
      p = writeKey(page, p, names, key, typed?.includes(key) ? TYPED : 0)
      p = writeText(page, p, annotations[i + 1]!)
    }
  }
  if (counters !== undefined && counters.length > 0) {
    flags |= HAS_COUNTERS
    words[p >> 1] = counters.length >> 1
    p += 2
    for (let i = 0; i < counters.length; i += 2) {
      const n = counters[i + 1] as number
      const isWhole = (n | 0) === n
      p = writeKey(page, p, names, counters[i] as string, isWhole ? WHOLE : 0)
      if (isWhole) {
        words[p >> 1] = n
        words[(p >> 1) + 1] = n >>> 16
        p += 4
      } else {
        page.view.setFloat64(p, n, true)
        p += 8
      }
    }
  }
  if (trace.highHi !== 0 || trace.highLo !== 0) {
    flags |= HAS_HIGH_ID
    page.view.setInt32(p, trace.highHi, true)
    page.view.setInt32(p + 4, trace.highLo, true)
    p += 8
  }
  if (trace.state !== undefined) {
    flags |= HAS_STATE
    p = writeText(page, p, trace.state)
  }
  const size = (p - at + 7) & -8
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
  return true
}

/** The page has no room for a list. */
const NO_ROOM = -1

/** Where a page has a list. If it hasn't, it gets it, but for the room that the span itself takes. */
function placeOf(page: Page, names: Names, list: List, span: LiveSpan): number {
  const place = list[PLACE]
  return place !== undefined && place.filling === page.filling ? place.at : writeList(page, names, list, span)
}

function writeList(page: Page, names: Names, list: List, span: LiveSpan): number {
  const at = page.limit - listRoom(list)
  // A place is an u16.
  if (at > 0xffff || !hasRoom(page, at, span)) return NO_ROOM
  page.words[at >> 1] = list.length
  let p = at + 2
  for (let i = 0; i < list.length; i += 2) {
    p = writeKey(page, p, names, list[i]!, 0)
    p = writeText(page, p, list[i + 1]!)
  }
  page.limit = at
  list[PLACE] ??= { filling: page.filling, at }
  list[PLACE].filling = page.filling
  list[PLACE].at = at
  return at
}

function writeKey(page: Page, p: number, names: Names, key: string, flag: number): number {
  const number = names.numberOf(key)
  page.words[p >> 1] = (number === NO_NUMBER ? INLINE : number) | flag
  return number === NO_NUMBER ? writeText(page, p + 2, key) : p + 2
}

function writeText({ bytes: b, words }: Page, p: number, text: string): number {
  const { length } = text
  let start = p + 2
  if (length <= SHORT_LENGTH) {
    let i = 0
    for (; i < length; i++) {
      const c = text.charCodeAt(i)
      if (c > 127) break
      b[start + i] = c
    }
    if (i === length) {
      words[p >> 1] = length
      return (start + length + 1) & -2
    }
  }
  // A character takes three bytes at most.
  const isLong = 3 * length >= LONG
  if (isLong) start += 4
  const written = b.write(text, start)
  words[p >> 1] = isLong ? LONG : written
  if (isLong) {
    words[(p >> 1) + 1] = written
    words[(p >> 1) + 2] = written >>> 16
  }
  return (start + written + 1) & -2
}

/** Whether a span fits in before `limit`. To know exactly what it takes is only worth it where a page ends. */
function hasRoom({ end }: Page, limit: number, span: LiveSpan): boolean {
  return end + mostOf(span) <= limit || end + roomOf(span) <= limit
}

/** How much room a span takes at most, besides the lists that it shares: three bytes for a character. */
function mostOf({ name, trace, own: annotations, counters, events }: LiveSpan): number {
  // Not a number for a name that isn't a string: then there is no room, and it is found out exactly.
  let characters = name?.length + (trace.state?.length ?? 0)
  let bytes = ENTRY_BYTES + 2 * TEXT_BYTES
  if (annotations !== undefined) {
    bytes += TEXT_BYTES * annotations.length
    for (let i = 0; i < annotations.length; i++) characters += annotations[i]!.length
  }
  if (counters !== undefined) {
    bytes += ((TEXT_BYTES + NUMBER_BYTES) >> 1) * counters.length
    for (let i = 0; i < counters.length; i += 2) characters += (counters[i] as string).length
  }
  if (events !== undefined) {
    bytes += ((TEXT_BYTES + NUMBER_BYTES) >> 1) * events.length
    for (let i = 1; i < events.length; i += 2) characters += (events[i] as string).length
  }
  return bytes + 3 * characters
}

/** How much room a span takes, without the lists that it shares: exactly, but for names that have numbers. */
export function roomOf({ name, trace, own: annotations = [], counters = [], events = [] }: LiveSpan): number {
  let bytes = ENTRY_BYTES + textRoom(String(name)) + textRoom(trace.state ?? '') + listRoom(annotations)
  for (let i = 0; i < counters.length; i += 2) bytes += textRoom(counters[i] as string) + NUMBER_BYTES
  for (let i = 1; i < events.length; i += 2) bytes += textRoom(events[i] as string) + NUMBER_BYTES
  return (bytes + 7) & -8
}

/** How much room the lists take that it shares. */
export function sharedRoomOf({ shared }: LiveSpan): number {
  return shared === undefined ? 0 : listRoom(shared.first) + listRoom(shared.second ?? [])
}

function listRoom(list: readonly string[]): number {
  let bytes = 2
  for (const text of list) bytes += textRoom(text)
  return bytes
}

/** Even, as all that is written. */
function textRoom(text: string): number {
  return (TEXT_BYTES + Buffer.byteLength(text) + 1) & -2
}

/** @returns where the next entry begins */
export function nextEntry(page: Page, at: number): number {
  return at + ((page.ints[at >> 2]! >>> 4) & -8)
}

export function traceHiOf(page: Page, at: number): number {
  return page.ints[(at >> 2) + 6]!
}

export function traceLoOf(page: Page, at: number): number {
  return page.ints[(at >> 2) + 7]!
}

export function idHiOf(page: Page, at: number): number {
  return page.ints[(at >> 2) + 8]!
}

export function idLoOf(page: Page, at: number): number {
  return page.ints[(at >> 2) + 9]!
}

/** Whether it is a server's half, or a root. */
export function isEntrySpan({ ints }: Page, at: number): boolean {
  const i = at >> 2
  return ((ints[i + 1]! >> 16) & 3) === Kind.SERVER || (ints[i + 10] === 0 && ints[i + 11] === 0)
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
  const flags = ints[i]!
  const refs = ints[i + 1]!
  const reading = new Reading(page, at + HEADER_BYTES)
  const name = reading.name(refs & 0xffff, names)
  let annotations: string[] | undefined
  if ((flags & HAS_SHARED) !== 0) {
    for (let n = 2; n > 0; n--) {
      const place = reading.count()
      if (place > 0) annotations = (annotations ?? []).concat(new Reading(page, place).list(names))
    }
  }
  let events: (number | string)[] | undefined
  if ((flags & HAS_EVENTS) !== 0) {
    events = []
    for (let n = reading.count(); n > 0; n--) events.push(reading.float(), reading.text())
  }
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
    for (let n = reading.count(); n > 0; n--) {
      const ref = reading.count()
      counters.push(reading.name(ref & ~WHOLE, names), (ref & WHOLE) !== 0 ? reading.int() : reading.float())
    }
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
  span.own = annotations
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
    this.p += (length + 1) & -2
    return this.page.bytes.toString('utf8', from, from + length)
  }

  name(number: number, names: Names): string {
    return number === INLINE ? this.text() : names.nameOf(number)
  }

  /** A list that spans share. */
  list(names: Names): string[] {
    const texts: string[] = []
    for (let n = this.count(); n > 0; n -= 2) texts.push(this.name(this.count(), names), this.text())
    return texts
  }
}
