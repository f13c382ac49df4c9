import { CodecError, Reader } from '../../../src/codec/binary'
import { SpanScan, scanSpanStruct } from '../../../src/codec/scan'
import { type LogEntry, ResultCode } from '../../../src/codec/scribe'
import { DELIMITER, encodeRecord, RECORD_HEADER, readSpanStruct } from '../../../src/codec/span'
import { Reading, Unusable } from '../formats/fields'
import { readZipkinV1Span } from '../formats/zipkin/read'
import { type Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import { type Message, type Store, StoreError } from '../store/store'
import { ByteBudget } from './byte-budget'

/**
 * From a call's bytes to the store: decides whether it can be taken now, takes the records out of it, sorts out what is
 * unusable, and answers OK only when the rest is durable.
 *
 *     admit? ─no→ TRY_LATER, unread
 *       │yes
 *     entries → records, in steps → counted → store.append → OK, or TRY_LATER
 */

/** The longest span that is taken. Real ones have a few hundred bytes. */
const MAX_SPAN_BYTES = 1024 * 1024
/**
 * What an event, annotation or counter takes on the wire if it says anything. An event that says nothing takes one byte
 * there and 60 in memory once a trace is read, so a span that is full of them is refused.
 */
const MIN_PART_BYTES = 8
/** Records go to the store in messages of about this length: small entries of a call together, large ones in parts. */
const MESSAGE_BYTES = 512 * 1024
/** How long one step of reading a call may take: then it is another connection's turn. */
const STEP_MS = 2

const DELIMITER_BYTES = Buffer.from([0x8b, 0xad, 0xf0, 0x0d])

/** How spans come in; labels their counters. */
export type Source = 'scribe' | 'otlp' | 'zipkin' | 'upload'

/** Somebody who sends, for what he has in flight not to keep others out. */
export interface Sender {
  inFlightBytes: number
}

export interface Ingest {
  /**
   * A call of Log, read in steps of a few milliseconds. The promise is the answer's, and never rejects.
   * @param frameBytes what the call took on the wire
   * @throws CodecError (a step does) when the entries can't be read; then the call has had no effect
   */
  log(
    entries: Iterable<LogEntry>,
    frameBytes: number,
    sender: Sender,
  ): Generator<void, Promise<ResultCode>> | Promise<ResultCode>
  /** Whether the store refused what it was given last. */
  storeFails(): boolean
}

/** For spans that come by HTTP. */
export interface SpanIngest extends Ingest {
  /** Whether there is room for more: to be asked before a body is read. */
  hasRoom(): boolean
  /**
   * Takes records in a row, which are checked as Scribe's are.
   * @returns 'try later' when nothing of it was taken; never rejects
   */
  add(records: Buffer, source: Source): Promise<'ok' | 'try later'>
  /** Counts spans that were unusable before they became records. */
  reject(source: Source, reason: string, spans: number): void
}

export interface IngestOptions {
  store: Pick<Store, 'append' | 'backlog'>
  category: string
  /** Whose entries hold a span each in Zipkin's first format; undefined: none. */
  zipkinCategory?: string
  maxInFlightBytes: number
  /** The store's bounds: what would be refused there isn't read at all. */
  maxBacklogSpans: number
  maxBacklogBytes: number
  metrics: Metrics
  log: Logger
}

export function createIngest(options: IngestOptions): SpanIngest {
  const { store, category, zipkinCategory, maxInFlightBytes, maxBacklogSpans, maxBacklogBytes, metrics, log } = options
  const warn = limitWarnings(log)
  const overHttp: Sender = { inFlightBytes: 0 }
  const inFlight = new ByteBudget(maxInFlightBytes, metrics.bytesInFlight)
  let storeFails = false

  /**
   * Nobody may have more in flight than is still free. So one sender alone gets half of the memory, each of n gets
   * 1/(n+1), and as much is left for who comes next: what switches do to share a buffer between queues (Choudhury and
   * Hahne's dynamic thresholds, 1998).
   */
  function hasRoom(sender: Sender): boolean {
    return sender.inFlightBytes < inFlight.freeBytes && !backlogFull()
  }

  function backlogFull(): boolean {
    const { spans, bytes } = store.backlog()
    return spans >= maxBacklogSpans || bytes >= maxBacklogBytes
  }

  function hold(sender: Sender, bytes: number): void {
    sender.inFlightBytes += bytes
    inFlight.take(bytes)
  }

  async function append(source: Source, taken: Taken): Promise<'ok' | 'busy' | 'store'> {
    taken.count(source, metrics)
    for (const [reason, count] of taken.rejected) {
      warn(`rejected ${reason}`, { source, reason, count }, 'unusable span records rejected')
    }
    const { messages, spans } = taken
    if (spans === 0) return 'ok'
    metrics.spansInFlight.inc({ source }, spans)
    const stop = metrics.appendSeconds.startTimer()
    try {
      await store.append(messages)
      metrics.spansStored.inc({ source }, spans)
      storeFails = false
      return 'ok'
    } catch (error) {
      metrics.spansDeferred.inc({ source }, spans)
      const busy = error instanceof StoreError && error.code === 'MILO_STORE_BUSY'
      // A store that is busy does what it can.
      storeFails = !busy
      warn(busy ? 'busy' : 'store', { err: error }, 'the store refused spans: TRY_LATER')
      return busy ? 'busy' : 'store'
    } finally {
      stop()
      metrics.spansInFlight.dec({ source }, spans)
    }
  }

  function busy(): void {
    warn(
      'busy',
      { inFlightBytes: inFlight.usedBytes, backlog: store.backlog() },
      'too much waits for the store: TRY_LATER',
    )
  }

  return {
    *log(entries, frameBytes, sender) {
      if (!hasRoom(sender)) {
        busy()
        metrics.logResults.inc({ result: 'busy' })
        return Promise.resolve(ResultCode.TRY_LATER)
      }
      hold(sender, frameBytes)
      metrics.logInFlight.inc()
      let bytes = frameBytes
      const release = () => {
        hold(sender, -bytes)
        metrics.logInFlight.dec()
      }
      const taken = new Taken()
      try {
        const clock = new StepClock()
        for (const entry of entries) {
          if (entry.category === category) yield* taken.read(entry.message, clock)
          else if (entry.category === zipkinCategory) yield* taken.readZipkin(entry.message, clock)
          else taken.drop(entry.category)
          if (clock.over()) yield* clock.rest()
        }
        taken.flush()
      } catch (error) {
        release()
        throw error
      }
      if (taken.dropped > 0) {
        metrics.entriesDropped.inc(taken.dropped)
        warn(
          'category',
          { category: taken.droppedCategory.slice(0, 100), wanted: category, count: taken.dropped },
          'log entries of another category dropped',
        )
      }
      hold(sender, taken.copiedBytes)
      bytes += taken.copiedBytes
      return append('scribe', taken).then(result => {
        release()
        metrics.logResults.inc({ result })
        return result === 'ok' ? ResultCode.OK : ResultCode.TRY_LATER
      })
    },
    storeFails: () => storeFails,
    hasRoom: () => hasRoom(overHttp),
    async add(records, source) {
      if (!hasRoom(overHttp)) {
        busy()
        return 'try later'
      }
      hold(overHttp, records.length)
      try {
        const taken = new Taken()
        for (const _ of taken.read(records, new StepClock())) await new Promise(setImmediate)
        taken.flush()
        return (await append(source, taken)) === 'ok' ? 'ok' : 'try later'
      } finally {
        hold(overHttp, -records.length)
      }
    },
    reject(source, reason, spans) {
      metrics.spansReceived.inc({ source }, spans)
      metrics.spansRejected.inc({ source, reason }, spans)
    },
  }
}

/** Says when a step has taken long enough; the clock is looked at now and then. */
class StepClock {
  private until = performance.now() + STEP_MS
  private looks = 0

  over(): boolean {
    return (++this.looks & 63) === 0 && this.late()
  }

  /** For what takes longer than a look. */
  late(): boolean {
    return performance.now() > this.until
  }

  *rest(): Generator<void, void> {
    yield
    this.until = performance.now() + STEP_MS
  }
}

/** What a call brought; nothing is counted before it has been read to its end. */
export class Taken {
  readonly messages: Message[] = []
  spans = 0
  /** Unusable records by reason. */
  readonly rejected = new Map<string, number>()
  /** What spans in Zipkin's format are stored without. */
  private readonly reading = new Reading()
  /** Entries of other categories. */
  dropped = 0
  droppedCategory = ''
  /** Memory besides the call's own bytes. */
  copiedBytes = 0
  /** Good records that are no message yet. */
  private parts: Buffer[] = []
  private partBytes = 0
  private partSpans = 0

  drop(category: string): void {
    this.dropped++
    this.droppedCategory = category
  }

  reject(reason: string, count = 1): void {
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + count)
  }

  /**
   * Takes the good records out of an entry's bytes, raw or base64.
   *
   * Where a record should begin and doesn't, or lies about its length, reading goes on at the next delimiter that has a
   * whole record behind it. If a record is only bad inside, and another or the end follows where its length says, it is
   * passed over instead: what looks like a record inside it is somebody's annotation.
   */
  *read(entry: Buffer, clock: StepClock): Generator<void, void> {
    const { bytes, cut } = isText(entry) ? yield* readText(entry, clock) : { bytes: entry, cut: false }
    if (bytes !== entry) this.copiedBytes += bytes.length
    if (cut || (bytes.length === 0 && entry.length > 0)) this.reject('bad_base64')

    const search = new RecordSearch(bytes, clock)
    const found = new SpanScan()
    let pos = 0
    /** Where the good records begin that reach up to `pos`, and how many they are. */
    let start = 0
    let spans = 0
    while (pos < bytes.length) {
      if (clock.over()) yield* clock.rest()
      const end = scanRecordAt(bytes, pos, found)
      let next = end
      if (end === -1) {
        const failure = explain(bytes, pos)
        this.reject(failure.reason)
        next = failure.follows ? failure.next : yield* search.after(pos, failure)
      } else {
        const swallowed = follows(bytes, end) ? undefined : yield* search.across(pos, end)
        const reason = swallowed === undefined ? unusable(found, end - pos) : 'truncated'
        if (reason === undefined) {
          spans++
          pos = end
          if (pos - start >= MESSAGE_BYTES) {
            this.add(bytes.subarray(start, pos), spans)
            start = pos
            spans = 0
          }
          continue
        }
        this.reject(reason)
        next = swallowed ?? end
      }
      this.add(bytes.subarray(start, pos), spans)
      start = pos = next
      spans = 0
    }
    this.add(bytes.subarray(start, pos), spans)
  }

  /** Takes the span out of an entry in Zipkin's first format, raw or base64: one or two records. */
  *readZipkin(entry: Buffer, clock: StepClock): Generator<void, void> {
    // Its first field's id, or nothing at all: what no text has.
    const isRaw = entry[0] === 0 || entry[1] === 0
    const { bytes } = isRaw ? { bytes: entry } : yield* readText(entry, clock)
    for (const converted of readZipkinV1Span(bytes, this.reading)) {
      if (converted instanceof Unusable) this.reject(converted.reason)
      else {
        const record = encodeRecord(converted)
        this.copiedBytes += record.length
        yield* this.read(record, clock)
      }
    }
    if (clock.late()) yield* clock.rest()
  }

  private add(records: Buffer, spans: number): void {
    if (spans === 0) return
    if (this.partBytes > 0 && this.partBytes + records.length > MESSAGE_BYTES) this.flush()
    this.parts.push(records)
    this.partBytes += records.length
    this.partSpans += spans
  }

  /** Makes a message of what is left. */
  flush(): void {
    if (this.parts.length === 0) return
    if (this.parts.length > 1) this.copiedBytes += this.partBytes
    const body = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts, this.partBytes)
    this.messages.push({ body, spans: this.partSpans })
    this.spans += this.partSpans
    this.parts = []
    this.partBytes = 0
    this.partSpans = 0
  }

  count(source: Source, metrics: Metrics): void {
    let received = this.spans
    for (const [reason, count] of this.rejected) {
      metrics.spansRejected.inc({ source, reason }, count)
      received += count
    }
    for (const { count, ...labels } of this.reading.leftOut) metrics.detailsLeftOut.inc({ ...labels }, count)
    if (received > 0) metrics.spansReceived.inc({ source }, received)
  }
}

/** An entry read at once. */
export function readEntry(entry: Buffer): Taken {
  const taken = new Taken()
  for (const _ of taken.read(entry, new StepClock()));
  taken.flush()
  return taken
}

/** Why a whole record is of no use all the same. */
function unusable({ traceIdAt, idAt, parts }: SpanScan, bytes: number): string | undefined {
  if (traceIdAt === -1) return 'no_trace_id'
  if (idAt === -1) return 'no_span_id'
  return parts * MIN_PART_BYTES > bytes ? 'empty_parts' : undefined
}

/** Looks for whole records in one message. */
class RecordSearch {
  private readonly bytes: Buffer
  private readonly clock: StepClock
  private readonly found = new SpanScan()
  /** Attempts may overlap, so a message made for it would take a time that grows with the square of its length. */
  private budget: number

  constructor(bytes: Buffer, clock: StepClock) {
    this.bytes = bytes
    this.clock = clock
    this.budget = 2 * bytes.length + MAX_SPAN_BYTES
  }

  /** Where to go on after a bad record at `pos`. */
  *after(pos: number, { next, read }: Failure): Generator<void, number> {
    this.budget -= read
    return (yield* this.across(pos, next)) ?? (yield* this.find(next, this.bytes.length, 0)) ?? this.bytes.length
  }

  /**
   * A record that was cut off may still read as one, with what came next for its own end: then another begins within it
   * and ends behind it. One that ends within it too is somebody's annotation.
   */
  across(pos: number, end: number): Generator<void, number | undefined> {
    return this.find(pos + DELIMITER_BYTES.length, end, end)
  }

  /** The next one that begins between `pos` and `to`, and ends behind `behind`. */
  private *find(pos: number, to: number, behind: number): Generator<void, number | undefined> {
    for (; this.budget > 0; pos += DELIMITER_BYTES.length) {
      if (this.clock.over()) yield* this.clock.rest()
      const found = this.bytes.subarray(pos, to + DELIMITER_BYTES.length - 1).indexOf(DELIMITER_BYTES)
      if (found === -1) return undefined
      pos += found
      const end = scanRecordAt(this.bytes, pos, this.found)
      if (end > behind) return pos
      this.budget -= end === -1 ? explain(this.bytes, pos).read : end - pos
    }
    return undefined
  }
}

/** Where the record at `pos` ends; −1 for what is none, which `explain` then explains. */
function scanRecordAt(bytes: Buffer, pos: number, found: SpanScan): number {
  const start = pos + RECORD_HEADER
  if (start > bytes.length || bytes.readUInt32BE(pos) !== DELIMITER) return -1
  const length = bytes.readInt32BE(pos + 4)
  const end = start + length
  if (length < 0 || length > MAX_SPAN_BYTES || end > bytes.length) return -1
  return scanSpanStruct(bytes, start, end, found) === end ? end : -1
}

interface Failure {
  reason: string
  /** Where to go on: behind all that seemed to be the record's. */
  next: number
  /** Whether the next record (or the end) is right there; otherwise it has to be looked for. */
  follows: boolean
  /** How many bytes it took to find out. */
  read: number
}

/** What is wrong with what should be a record. */
function explain(bytes: Buffer, pos: number): Failure {
  const start = pos + RECORD_HEADER
  const bad = (reason: string, next = pos + 4, read = RECORD_HEADER) => ({ reason, next, follows: false, read })
  if (pos + 4 <= bytes.length && bytes.readUInt32BE(pos) !== DELIMITER) return bad('bad_delimiter', pos + 1)
  if (start > bytes.length) return bad('truncated')
  const length = bytes.readInt32BE(pos + 4)
  if (length < 0) return bad('negative_length')
  const end = start + length
  if (end > bytes.length) return bad('truncated')
  const badWithin = (reason: string, read?: number) =>
    follows(bytes, end) ? { ...bad(reason, end, read), follows: true } : bad(reason, pos + 4, read)
  if (length > MAX_SPAN_BYTES) return badWithin('too_large')
  const reader = new Reader(bytes, start, end)
  // A frame may hold two million bad records, and most of an error's cost is its stack.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    readSpanStruct(reader)
    // The struct is whole, so a record that the length swallowed begins behind it.
    return bad('bad_length', reader.pos, reader.pos - pos)
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    return badWithin(error.code, reader.pos - pos)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** Whether a record that ends at `pos` is the last, or the next one begins there. */
function follows(bytes: Buffer, pos: number): boolean {
  return pos === bytes.length || (pos + 4 <= bytes.length && bytes.readUInt32BE(pos) === DELIMITER)
}

/**
 * Some Scribe relays keep only text, so senders behind them use base64 (padded or not, in lines or not, several texts in a
 * row). Raw records are never mistaken for it: the delimiter's first byte is no ASCII.
 */
function isText(entry: Buffer): boolean {
  return entry.length > 0 && entry[0] !== DELIMITER_BYTES[0]
}

const SPACE = 64
const PADDING = 65
const NEITHER = 66
/** What a byte means in base64, of either alphabet. */
const BASE64 = new Uint8Array(256).fill(NEITHER)
for (const [i, c] of [...Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')].entries()) {
  BASE64[c] = i
}
BASE64[0x2d] = 62
BASE64[0x5f] = 63
BASE64[0x3d] = PADDING
for (const c of Buffer.from(' \t\n\v\f\r')) BASE64[c] = SPACE

/** Up to this length a text of the common form is decoded at once, by Node. */
const NATIVE_BYTES = 256 * 1024

/** @returns the entry itself when it isn't base64; `cut` when the base64 ends in something else, which is left out */
function* readText(entry: Buffer, clock: StepClock): Generator<void, { bytes: Buffer; cut: boolean }> {
  if (entry.length <= NATIVE_BYTES) {
    const text = entry.toString('latin1')
    if (/^[A-Za-z0-9+/]+={0,2}\n?$/.test(text)) return { bytes: Buffer.from(text, 'base64'), cut: false }
  }
  const bytes = Buffer.allocUnsafeSlow(Math.ceil((entry.length * 3) / 4))
  let length = 0
  let bits = 0
  let held = 0
  let pos = 0
  for (; pos < entry.length; pos++) {
    const v = BASE64[entry[pos]!]!
    if (v < 64) {
      held = (held << 6) | v
      bits += 6
      if (bits >= 8) {
        bits -= 8
        bytes[length++] = held >>> bits
      }
    } else if (v === PADDING) bits = 0
    else if (v === NEITHER) break
    if ((pos & 4095) === 4095 && clock.over()) yield* clock.rest()
  }
  const cut = pos < entry.length
  // Somebody's text, unless it began as a record does.
  if (cut && !bytes.subarray(0, Math.min(length, 4)).equals(DELIMITER_BYTES)) return { bytes: entry, cut: false }
  return { bytes: bytes.subarray(0, length), cut }
}
