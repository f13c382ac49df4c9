import { CodecError, Reader } from '../../src/codec/binary'
import { type LogEntry, ResultCode } from '../../src/codec/scribe'
import { DELIMITER, RECORD_HEADER, readSpanStruct, type SpanRecord } from '../../src/codec/span'
import type { Logger, LogRarely } from './log'
import { limitWarnings } from './log'
import type { Metrics } from './metrics'
import type { Message, MessageRecord, Store } from './store/store'

/**
 * From a `Log` call's bytes to the store: takes the records out of the entries, sorts out what is unusable, and answers
 * OK only when the rest is durable.
 */

/** The longest span that is taken. Real ones have a few hundred bytes. */
const MAX_SPAN_BYTES = 1024 * 1024
/**
 * What an event, annotation or counter takes on the wire if it says anything. An event that says nothing takes one byte
 * there and 60 in memory, so a span that is full of them is refused.
 */
const MIN_PART_BYTES = 8
/** What a decoded record, and each of its parts, take in memory besides their bytes; roughly. */
const RECORD_OVERHEAD_BYTES = 256
const PART_OVERHEAD_BYTES = 96

const DELIMITER_BYTES = Buffer.from([0x8b, 0xad, 0xf0, 0x0d])

export interface Ingest {
  /**
   * Never rejects.
   * @param entries are read at once, or not at all
   * @param frameBytes what the call took on the wire
   */
  log(entries: Iterable<LogEntry>, frameBytes: number): Promise<ResultCode>
  /** Whether the store refused what it was given last. */
  storeFails(): boolean
}

export interface IngestOptions {
  store: Pick<Store, 'append'>
  category: string
  maxInFlightBytes: number
  metrics: Metrics
  log: Logger
}

export function createIngest({ store, category, maxInFlightBytes, metrics, log }: IngestOptions): Ingest {
  const warn: LogRarely = limitWarnings(log)
  let inFlightBytes = 0
  let storeFails = false

  function take(entries: Iterable<LogEntry>): { messages: Message[]; spans: number; memory: number } {
    const messages: Message[] = []
    let spans = 0
    let memory = 0
    for (const entry of entries) {
      if (entry.category !== category) {
        metrics.entriesDropped.inc()
        warn(
          'category',
          { category: entry.category.slice(0, 100), wanted: category },
          'log entry of another category dropped',
        )
        continue
      }
      const message = readMessage(entry.message)
      for (const [reason, count] of message.rejected) {
        metrics.spansRejected.inc({ reason }, count)
        metrics.spansReceived.inc(count)
        warn(`rejected ${reason}`, { reason, count }, 'unusable span records rejected')
      }
      if (message.records.length === 0) continue
      metrics.spansReceived.inc(message.records.length)
      if (message.notUtf8 > 0) metrics.spansNotUtf8.inc(message.notUtf8)
      messages.push({ body: message.body, records: message.records })
      spans += message.records.length
      memory += message.memory
    }
    return { messages, spans, memory }
  }

  function track(calls: number, spans: number, bytes: number): void {
    inFlightBytes += bytes
    metrics.bytesInFlight.set(inFlightBytes)
    metrics.spansInFlight.inc(spans)
    metrics.logInFlight.inc(calls)
  }

  return {
    async log(entries, frameBytes) {
      if (inFlightBytes > maxInFlightBytes) {
        metrics.logResults.inc({ result: 'busy' })
        warn('busy', { inFlightBytes }, 'too much waits for the store: TRY_LATER')
        return ResultCode.TRY_LATER
      }
      const { messages, spans, memory } = take(entries)
      if (messages.length > 0) {
        const bytes = frameBytes + memory
        track(1, spans, bytes)
        const stop = metrics.appendSeconds.startTimer()
        try {
          await store.append(messages)
          metrics.spansStored.inc(spans)
          storeFails = false
        } catch (error) {
          metrics.spansDeferred.inc(spans)
          metrics.logResults.inc({ result: 'store' })
          storeFails = true
          warn('store', { err: error }, 'the store refused spans: TRY_LATER')
          return ResultCode.TRY_LATER
        } finally {
          stop()
          track(-1, -spans, -bytes)
        }
      }
      metrics.logResults.inc({ result: 'ok' })
      return ResultCode.OK
    },
    storeFails: () => storeFails,
  }
}

export interface ReadMessage extends Message {
  /** Unusable records by reason. */
  rejected: Map<string, number>
  /** How many of the records hold a string that isn't UTF-8. */
  notUtf8: number
  /** What the message takes when decoded, in bytes, besides what it took on the wire; roughly. */
  memory: number
}

/**
 * Takes the good records out of an entry's bytes, raw or base64.
 *
 * Where a record should begin and doesn't, or lies about its length, reading goes on at the next delimiter that has a
 * whole record behind it. If a record is only bad inside, and another or the end follows where its length says, it is
 * passed over instead: what looks like a record inside it is somebody's annotation.
 */
export function readMessage(entry: Buffer): ReadMessage {
  const rejected = new Map<string, number>()
  const reject = (reason: string) => rejected.set(reason, (rejected.get(reason) ?? 0) + 1)
  const { bytes, cut } = unwrap(entry)
  if (cut) reject('bad_base64')

  const records: MessageRecord[] = []
  let notUtf8 = 0
  let memory = bytes === entry ? 0 : bytes.length
  const search = new RecordSearch(bytes)
  let pos = 0
  while (pos < bytes.length) {
    const attempt = readRecordAt(bytes, pos)
    if ('reason' in attempt) {
      reject(attempt.reason)
      pos = attempt.follows ? attempt.next : search.after(pos, attempt)
      continue
    }
    const { record, end } = attempt
    if (!follows(bytes, end)) {
      const swallowed = search.across(pos, end)
      if (swallowed !== undefined) {
        reject('truncated')
        pos = swallowed
        continue
      }
    }
    const parts = (record.events?.length ?? 0) + (record.annotations?.size ?? 0) + (record.counters?.size ?? 0)
    if (!hasTraceId(record)) reject('no_trace_id')
    else if (!hasSpanId(record)) reject('no_span_id')
    else if (parts * MIN_PART_BYTES > end - pos) reject('empty_parts')
    else {
      records.push({ start: pos, end, record })
      memory += RECORD_OVERHEAD_BYTES + parts * PART_OVERHEAD_BYTES
      if (holdsBadUtf8(record, bytes.subarray(pos, end))) notUtf8++
    }
    pos = end
  }
  return { ...(rejected.size === 0 ? { body: bytes, records } : extract(bytes, records)), rejected, notUtf8, memory }
}

/** Looks for whole records in one message. */
class RecordSearch {
  private readonly bytes: Buffer
  /** Attempts may overlap, so a message made for it would take a time that grows with the square of its length. */
  private budget: number

  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.budget = 2 * bytes.length + MAX_SPAN_BYTES
  }

  /** Where to go on after a bad record at `pos`. */
  after(pos: number, { next, read }: Failure): number {
    this.budget -= read
    return this.across(pos, next) ?? this.find(next, this.bytes.length, 0) ?? this.bytes.length
  }

  /**
   * A record that was cut off may still read as one, with what came next for its own end: then another begins within it
   * and ends behind it. One that ends within it too is somebody's annotation.
   */
  across(pos: number, end: number): number | undefined {
    return this.find(pos + DELIMITER_BYTES.length, end, end)
  }

  /** The next one that begins between `pos` and `to`, and ends behind `behind`. */
  private find(pos: number, to: number, behind: number): number | undefined {
    for (; this.budget > 0; pos += DELIMITER_BYTES.length) {
      const found = this.bytes.subarray(pos, to + DELIMITER_BYTES.length - 1).indexOf(DELIMITER_BYTES)
      if (found === -1) return undefined
      pos += found
      const attempt = readRecordAt(this.bytes, pos)
      if (!('reason' in attempt) && attempt.end > behind) return pos
      this.budget -= 'reason' in attempt ? attempt.read : attempt.end - pos
    }
    return undefined
  }
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

function readRecordAt(bytes: Buffer, pos: number): { record: SpanRecord; end: number } | Failure {
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
    const record = readSpanStruct(reader)
    if (reader.pos === end) return { record, end }
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

function hasTraceId(record: SpanRecord): record is SpanRecord & { traceId: bigint } {
  return record.traceId !== undefined
}

function hasSpanId<R extends SpanRecord>(record: R): record is R & { id: bigint } {
  return record.id !== undefined
}

/** A body of nothing but these records. */
function extract(bytes: Buffer, records: MessageRecord[]): Message {
  let pos = 0
  const moved = records.map(({ start, end, record }) => {
    const at = pos
    pos += end - start
    return { start: at, end: pos, record }
  })
  return { body: Buffer.concat(records.map(({ start, end }) => bytes.subarray(start, end))), records: moved }
}

/**
 * Some Scribe relays keep only text, so senders behind them use base64 (padded or not, in lines or not). Raw records
 * are never mistaken for it: the delimiter's first byte is no ASCII.
 * @returns `cut` when the base64 ends in something else, which is left out
 */
function unwrap(entry: Buffer): { bytes: Buffer; cut: boolean } {
  if (entry.length === 0 || entry[0] === DELIMITER_BYTES[0]) return { bytes: entry, cut: false }
  const text = entry.toString('latin1')
  const run = /^[\sA-Za-z0-9+/=_-]*/.exec(text)![0]
  // i63wD and one of 16 letters are the delimiter's first 36 bits.
  const marked = /^\s*i63wD[Q-f]/.test(run)
  if (run.length < text.length && !marked) return { bytes: entry, cut: false }
  // Several texts in a row, each with its padding, are one.
  const bytes = Buffer.allocUnsafeSlow(run.length)
  let length = 0
  for (const [part] of run.replace(/\s+/g, '').matchAll(/[^=]+/g)) length += bytes.write(part, length, 'base64')
  return { bytes: bytes.subarray(0, length), cut: run.length < text.length }
}

/** The codec decodes such strings with U+FFFD; unlike a sender's own U+FFFD, those bytes aren't in the record. */
function holdsBadUtf8(record: SpanRecord, bytes: Buffer): boolean {
  // Each is looked for in the whole record: only so many, or a span made for it would take minutes.
  let looks = 100
  const bad = (s: string | undefined) => s?.includes('\ufffd') === true && looks-- > 0 && !bytes.includes(s, 0, 'utf8')
  if (bad(record.name) || bad(record.clientHost) || bad(record.serverHost) || bad(record.service)) return true
  for (const event of record.events ?? []) if (bad(event.value)) return true
  for (const [key, value] of record.annotations ?? []) if (bad(key) || bad(value)) return true
  for (const key of record.counters?.keys() ?? []) if (bad(key)) return true
  return false
}
