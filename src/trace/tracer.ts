import { SpanBuffer, type SpanCounts } from '../export/buffer'
import { SCRIBE_DEFAULTS, ScribeEmitter } from '../export/emitter'
import { writeSpan } from '../export/encode'
import { unwatchExit, watchExit } from '../process/exit'
import { clock } from '../process/genuine'
import { describe, log, logRarely, setLogLevel } from '../process/log'
import type { Settings } from '../start/options'
import { currentFrame } from './context'
import { fraction, randomHigh, randomLow, randomNarrow } from './id'
import type { RemoteContext } from './propagation'
import { NOT_KEPT, never, type Sampler, type SamplingRates } from './sampler'
import { Kind, Span, type SpanSink, Trace } from './span'

/** The process's one tracer: starts spans, and sees them off when they end. Off until init. */

let settings: Settings | undefined
let sampler: Sampler = never
let buffer = new SpanBuffer(0)
let emitter: ScribeEmitter | undefined
let truncated = 0
let tracesKept = 0
let tracesNotKept = 0
let tracesForced = 0

/** Takes spans instead of the emitter: milo/testing's. */
let collect: ((span: Span) => void) | undefined

const sink: SpanSink = {
  /** The barrier between a span that ends and what becomes of it: no error of Milo's comes out of `end()`. */
  add(span) {
    if (emitter === undefined) return
    try {
      if (collect !== undefined) collect(span)
      else if (buffer.add(span)) emitter.wake()
      else logRarely('buffer_full', 'warn', 'the buffer is full: spans are being dropped until Scribe keeps up again')
    } catch (error) {
      logRarely('sink', 'error', `a span couldn't be passed on: ${describe(error)}`)
    }
  },
  truncated() {
    truncated++
  },
}

/** What is current where nothing is traced, and the one span of every unsampled trace that began here: all its methods do nothing. */
export const UNSAMPLED = new Span(
  sink,
  new Trace(0, 0, 0, 0, false, false, Number.NaN, 0),
  0,
  0,
  0,
  0,
  Kind.LOCAL,
  '',
  0,
)

/** @param collector takes the spans that end, and none is sent */
export function configure(next: Settings, collector?: (span: Span) => void): void {
  const previous = emitter
  // Where nothing is under way, the counts begin afresh.
  const isReal = next.enabled && collector === undefined
  const goesOn = isReal && previous !== undefined && collect === undefined && previous.inMemory() > 0
  if (!goesOn) previous?.close()
  collect = collector
  settings = next
  setLogLevel(next.logLevel)
  sampler = next.sampler
  if (!next.enabled) {
    emitter = undefined
    unwatchExit()
    return
  }
  if (goesOn) buffer.limit(next.maxBufferedSpans, next.maxBufferedBytes)
  else buffer = new SpanBuffer(next.maxBufferedSpans, next.maxBufferedBytes)
  const { service, host, spool } = next
  const starting = new ScribeEmitter(
    { ...SCRIBE_DEFAULTS, addresses: next.scribe, encoding: next.scribeEncoding },
    buffer,
    (w, span) => writeSpan(w, span, service, host),
    spool,
  )
  emitter = starting
  if (goesOn) previous.handOver(starting)
  watchExit({
    hurry: () => starting.hurry(),
    hold: still => starting.hold(still),
    leave: () => leave(starting, next.exitTimeoutMs),
    last: () => {
      starting.drainNow()
      starting.leave()
    },
  })
}

/** Whether spans are recorded at all. Undefined settings: init has not been called. */
export function isActive(): boolean {
  return emitter !== undefined
}

export function currentSettings(): Settings | undefined {
  return settings
}

export function currentSpan(): Span | undefined {
  return currentFrame()?.span
}

/**
 * The current span's ids in hex, to be written into logs: 16 digits, the trace's 32 when it has a high half. Undefined
 * where there is nothing that another process or the collector knows.
 */
export function ids(): { traceId: string; spanId: string; sampled: boolean } | undefined {
  const span = currentFrame()?.span
  if (span === undefined || span === UNSAMPLED) return undefined
  return { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled }
}

/** Counts something that was cut before there was a span that could. */
export function noteTruncated(): void {
  truncated++
}

/**
 * Starts a child of the current span, or a new trace where none is current.
 * @param narrow give the span an id of 31 bits, for a carrier that has no room for more
 * @param force keep the new trace, whatever the sampler says; within a trace that isn't kept, start one that is
 */
export function startSpan(kind: Kind, name: string, narrow = false, force = false): Span {
  const parent = currentFrame()?.span
  if (parent === undefined || (force && !parent.trace.sampled)) return startRoot(kind, name, narrow, force)
  const trace = parent.trace
  if (!trace.sampled) return parent
  const hi = narrow ? 0 : randomHigh()
  const lo = narrow ? randomNarrow() : randomLow()
  return new Span(sink, trace, hi, lo, parent.idHi, parent.idLo, kind, name, trace.nowUs())
}

/**
 * Starts the server's span of a request. What is current where it arrives doesn't matter: a request that brings no
 * context is a root.
 */
export function startServerSpan(name: string, remote: RemoteContext | undefined): Span {
  if (remote === undefined) return startRoot(Kind.SERVER, name, false)
  if (emitter === undefined || (!remote.sampled && !remote.hasIds)) return UNSAMPLED
  const { hi, lo, highHi, highLo, sampled, debug, probability, spanHi, spanLo } = remote
  const monotonicMs = sampled ? clock.now() : 0
  const offset = sampled ? clockOffsetUs(monotonicMs) : 0
  const trace = new Trace(hi, lo, highHi, highLo, sampled, debug, probability, offset)
  trace.state = remote.state
  const startUs = offset + monotonicMs * 1000
  // An unsampled span only carries the caller's ids on.
  if (!sampled) return new Span(sink, trace, spanHi, spanLo, remote.parentHi, remote.parentLo, Kind.SERVER, '', 0)
  if (remote.sharesSpan) {
    return new Span(sink, trace, spanHi, spanLo, remote.parentHi, remote.parentLo, Kind.SERVER, name, startUs)
  }
  return new Span(sink, trace, randomHigh(), randomLow(), spanHi, spanLo, Kind.SERVER, name, startUs)
}

function startRoot(kind: Kind, name: string, narrow: boolean, force = false): Span {
  if (emitter === undefined) return UNSAMPLED
  const hi = randomHigh()
  const lo = randomLow()
  // A forced trace stands for itself alone: of probability 0, so that no count takes it for others.
  let probability = 0
  if (force) tracesForced++
  else {
    probability = decide(name, fraction(hi, lo))
    if (!(probability >= 0)) {
      tracesNotKept++
      return UNSAMPLED
    }
    tracesKept++
  }
  // One look at the clock serves both: it costs 40 ns.
  const monotonicMs = clock.now()
  const offset = clockOffsetUs(monotonicMs)
  const trace = new Trace(hi, lo, 0, 0, true, force, probability, offset)
  const startUs = offset + monotonicMs * 1000
  if (Math.abs(startUs - pressurePassedOnUs) >= 100_000) passPressureOn(emitter, startUs)
  const spanHi = narrow ? 0 : randomHigh()
  const spanLo = narrow ? randomNarrow() : randomLow()
  return new Span(sink, trace, spanHi, spanLo, 0, 0, kind, name, startUs)
}

/** A sampler of the application's may make spans: it isn't asked about those, or it would never end. */
let deciding = false

/** @returns a probability above 0, or NOT_KEPT, whatever the sampler gives */
function decide(name: string, randomness: number): number {
  if (deciding) return NOT_KEPT
  deciding = true
  try {
    const p: unknown = sampler.sample(name, randomness)
    if (typeof p === 'number' && p > 0 && p <= 1) return p
    if (p !== NOT_KEPT && p !== 0) {
      const got = typeof p === 'number' ? p : typeof p
      logRarely(
        'sampler',
        'error',
        `the sampler must return a probability from 0 to 1, or -1, got ${got}; the trace isn't kept`,
      )
    }
    return NOT_KEPT
  } catch (error) {
    logRarely('sampler', 'error', `the sampler threw (${describe(error)}); the trace isn't kept`)
    return NOT_KEPT
  } finally {
    deciding = false
  }
}

let pressurePassedOnUs = Number.NEGATIVE_INFINITY

/** Only a trace that is kept asks: without one there is nothing to lower, and the sampler comes back by itself. */
function passPressureOn(from: ScribeEmitter, nowUs: number): void {
  pressurePassedOnUs = nowUs
  deciding = true
  try {
    sampler.adjust?.(from.pressure())
  } catch (error) {
    logRarely('sampler', 'error', `the sampler's adjust threw (${describe(error)})`)
  } finally {
    deciding = false
  }
}

let offsetUs = 0
let offsetCheckedAt = Number.NEGATIVE_INFINITY

/** Wall clock minus monotonic clock, looked up again once a second: a new trace sees a wall clock that was set. */
function clockOffsetUs(monotonicMs: number): number {
  if (monotonicMs - offsetCheckedAt >= 1000) {
    offsetCheckedAt = monotonicMs
    const seen = (clock.wallMs() - monotonicMs) * 1000
    // Date.now has whole milliseconds: a smaller difference is rounding, not a step of the clock.
    if (Math.abs(seen - offsetUs) > 2000)
      offsetUs = Math.abs(seen - clock.timeOrigin * 1000) > 2000 ? seen : clock.timeOrigin * 1000
  }
  return offsetUs
}

/** What Milo has done in this process. At any moment ended = sent + buffered + inFlight + spooled + dropped. */
export interface Stats extends SpanCounts {
  /** New traces that began here, by what the sampler said, and those it wasn't asked about. */
  tracesKept: number
  tracesNotKept: number
  tracesForced: number
  /** What the sampler sees and does; undefined for one that doesn't say. */
  sampling: SamplingRates | undefined
  /** Names, keys, values, annotations, events and counters that were cut or left out for their size or number. */
  truncated: number
  /** How often Scribe answered TRY_LATER. */
  tryLater: number
  /** How often a connection to Scribe failed or broke. */
  failures: number
  /** How often the spool was full, or a file in it couldn't be written, read, taken over or removed. */
  spoolErrors: number
  /** Spans of processes that have ended, found in the spool and sent; no other counter has them. */
  recovered: number
}

const NOTHING_YET = { tryLater: 0, failures: 0, spoolErrors: 0, recovered: 0 }

export function stats(): Stats {
  const { tryLater, failures, spoolErrors, recovered } = emitter ?? NOTHING_YET
  return {
    ...buffer.counts(),
    tracesKept,
    tracesNotKept,
    tracesForced,
    sampling: rates(),
    truncated,
    tryLater,
    failures,
    spoolErrors,
    recovered,
  }
}

function rates(): SamplingRates | undefined {
  try {
    return sampler.rates?.()
  } catch {
    // A sampler of the application's.
    return undefined
  }
}

/**
 * Sends every ended span now.
 * @param timeoutMs how long to try
 * @returns whether all were sent
 */
export async function flush(timeoutMs = 1000): Promise<boolean> {
  return emitter === undefined ? true : emitter.flush(limit(timeoutMs))
}

/** What a timer takes: 1 s in the place of what is no time. */
function limit(timeoutMs: unknown): number {
  return typeof timeoutMs === 'number' && timeoutMs >= 0 ? Math.min(timeoutMs, 0x7fffffff) : 1000
}

/** Flushes, then stops tracing for good (until another init). Spans that end later aren't counted. */
export async function shutdown(timeoutMs = 1000): Promise<boolean> {
  const closing = emitter
  if (closing === undefined) return true
  const limitMs = limit(timeoutMs)
  const sent = await closing.flush(limitMs)
  // The disk is given a moment even when Scribe was given none.
  if (!sent) await closing.drain(Math.max(limitMs, 1000))
  closing.close()
  if (emitter === closing) {
    emitter = undefined
    unwatchExit()
  }
  return sent
}

/**
 * The process ends: what is still here leaves now, or goes to the spool, or is dropped when the deadline passes or Scribe
 * isn't there.
 */
async function leave(leaving: ScribeEmitter, timeoutMs: number): Promise<void> {
  if (leaving.inMemory() === 0 || (await leaving.flush(timeoutMs, true))) return
  await leaving.drain(timeoutMs)
  const lost = leaving.inMemory()
  if (lost === 0) return
  log('warn', `${lost} spans could not be sent before the process ended`)
  leaving.abandon('exit')
}
