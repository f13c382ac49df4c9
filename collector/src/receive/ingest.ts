import { type LogEntry, ResultCode } from 'milo/codec/scribe'
import type { KeptRecord } from '../keep/kept-records'
import { type Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import { type SpanSink, StoreError } from '../store/store'
import { ByteBudget } from './byte-budget'
import { EntryReader } from './entry-reader'
import { StepClock } from './step-clock'

/**
 * From a call's bytes to the store: decides whether there is room for it now, takes the records out of it, sorts out what is
 * unusable, and answers OK only when the rest is durable.
 *
 *     admit? ─no→ TRY_LATER, unread
 *       │yes
 *     entries → records, in steps → counted → store.append → OK, or TRY_LATER
 */

/** The way in which spans arrive. It labels their counters. */
type Source = 'scribe' | 'otlp' | 'zipkin' | 'upload'

/** A peer and its bytes in flight, which are limited so that one peer can't keep others out. */
export interface Sender {
  inFlightBytes: number
}

export interface Ingest {
  /**
   * Reads a call of Log in steps of a few milliseconds. The promise resolves with the answer, and never rejects.
   * @param frameBytes the call's length on the wire
   * @throws CodecError (a step does) when the entries can't be read; then the call has had no effect
   */
  log(
    entries: Iterable<LogEntry>,
    frameBytes: number,
    sender: Sender,
  ): Generator<void, Promise<ResultCode>> | Promise<ResultCode>
  /** Returns whether the store refused the last spans. */
  storeFails(): boolean
}

/** Ingest for HTTP as well as Scribe. */
export interface SpanIngest extends Ingest {
  /** Returns whether there is room for more. Call it before a body is read. */
  hasRoom(): boolean
  /**
   * Takes records in a row, which are checked as Scribe's are.
   * @returns 'try later' when nothing of it was stored; never rejects
   */
  add(records: Buffer, source: Source): Promise<'ok' | 'try later'>
  /** Counts spans that were unusable before they became records. */
  reject(source: Source, reason: string, spans: number): void
}

interface IngestOptions {
  store: SpanSink
  category: string
  /** The category whose entries have one span each in Zipkin's first format, if there is such a category. */
  zipkinCategory?: string
  maxInFlightBytes: number
  /** The store's limits. A call that the store would refuse isn't read at all. */
  maxBacklogSpans: number
  maxBacklogBytes: number
  /** Called with records, once they are stored, whose processes keep their traces after the fact. */
  kept?(records: KeptRecord[]): void
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
   * No sender may have more in flight than is still free. So one sender alone gets half of the memory, each of n gets
   * 1/(n+1), and as much remains for the next one. Switches share a buffer between queues in this way (Choudhury and
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

  function count({ spans, rejected, leftOut }: EntryReader, source: Source): void {
    let received = spans
    for (const [reason, count] of rejected) {
      metrics.spansRejected.inc({ source, reason }, count)
      received += count
    }
    for (const { count, ...labels } of leftOut) metrics.detailsLeftOut.inc({ ...labels }, count)
    if (received > 0) metrics.spansReceived.inc({ source }, received)
  }

  async function append(source: Source, reader: EntryReader): Promise<'ok' | 'busy' | 'store'> {
    count(reader, source)
    for (const [reason, count] of reader.rejected) {
      warn(`rejected ${reason}`, { source, reason, count }, 'unusable span records were rejected')
    }
    const { messages, spans } = reader
    if (spans === 0) return 'ok'
    metrics.spansInFlight.inc({ source }, spans)
    const stop = metrics.appendSeconds.startTimer()
    try {
      await store.append(messages)
      metrics.spansStored.inc({ source }, spans)
      storeFails = false
      if (reader.kept.length > 0 && source !== 'upload') options.kept?.(reader.kept)
      return 'ok'
    } catch (error) {
      metrics.spansDeferred.inc({ source }, spans)
      const busy = error instanceof StoreError && error.code === 'MILO_STORE_BUSY'
      // A busy store works.
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
      const reader = new EntryReader()
      try {
        const clock = new StepClock()
        for (const entry of entries) {
          if (entry.category === category) yield* reader.read(entry.message, clock)
          else if (entry.category === zipkinCategory) yield* reader.readZipkin(entry.message, clock)
          else reader.drop(entry.category)
          if (clock.over()) yield* clock.rest()
        }
        reader.flush()
      } catch (error) {
        release()
        throw error
      }
      if (reader.dropped > 0) {
        metrics.entriesDropped.inc(reader.dropped)
        warn(
          'category',
          { category: reader.droppedCategory.slice(0, 100), wanted: category, count: reader.dropped },
          'log entries of another category were dropped',
        )
      }
      hold(sender, reader.copiedBytes)
      bytes += reader.copiedBytes
      return append('scribe', reader).then(result => {
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
        const reader = new EntryReader()
        for (const _ of reader.read(records, new StepClock())) await new Promise(setImmediate)
        reader.flush()
        return (await append(source, reader)) === 'ok' ? 'ok' : 'try later'
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
