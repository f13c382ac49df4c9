import { SpanBuffer } from '../export/buffer'
import { SCRIBE_DEFAULTS, ScribeEmitter } from '../export/emitter'
import { writeSpan } from '../export/encode'
import type { SpanCounts } from '../export/ledger'
import { unwatchExit, watchExit } from '../process/exit'
import { clock } from '../process/genuine'
import { describe, log, logRarely, setLogLevel } from '../process/log'
import { Decisions } from '../trace/decide'
import { never, type SamplingRates } from '../trace/sampler'
import type { LiveSpan, SpanSink } from '../trace/span'
import type { Settings } from './options'

/** Everything that runs between one start and the next. A start builds a whole instance, which then replaces the previous one. */
interface Instance {
  /** Undefined until init. */
  readonly settings: Settings | undefined
  readonly sampling: Decisions
  readonly buffer: SpanBuffer
  /** Undefined where Milo is off: then no span is recorded. */
  readonly emitter: ScribeEmitter | undefined
  /** Takes ended spans in the emitter's place. milo/testing sets it. */
  readonly collect: ((span: LiveSpan) => void) | undefined
}

export let running: Instance = {
  settings: undefined,
  sampling: new Decisions(never),
  buffer: new SpanBuffer(0),
  emitter: undefined,
  collect: undefined,
}

/** Counted since the process began: a new start doesn't reset them. */
export const totals = { tracesKept: 0, tracesNotKept: 0, tracesForced: 0, truncated: 0 }

export const sink: SpanSink = {
  /** The barrier between a span that ends and what becomes of it: no error of Milo's comes out of `end()`. */
  add(span) {
    const { emitter, collect, buffer } = running
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
    totals.truncated++
  },
}

/**
 * Puts a new instance in the place of the one that runs.
 * @param collect takes the spans that end, and none is sent
 */
export function configure(settings: Settings, collect?: (span: LiveSpan) => void): void {
  const previous = running
  const { enabled, maxBufferedSpans, maxBufferedBytes, service, host, spool } = settings
  // Spans that are on their way go on to the new instance. Where there are none, the counts begin afresh.
  const isReal = enabled && collect === undefined && previous.collect === undefined
  const sending = isReal && previous.emitter !== undefined && previous.emitter.inMemory() > 0 ? previous : undefined
  if (sending === undefined) void previous.emitter?.close()
  setLogLevel(settings.logLevel)
  const sampling = new Decisions(settings.sampler)
  if (!enabled) {
    running = { settings, sampling, buffer: previous.buffer, emitter: undefined, collect }
    unwatchExit()
    return
  }
  const buffer = sending?.buffer ?? new SpanBuffer(0)
  buffer.limit(maxBufferedSpans, maxBufferedBytes)
  const emitter = new ScribeEmitter(
    { ...SCRIBE_DEFAULTS, addresses: settings.scribe, encoding: settings.scribeEncoding },
    buffer,
    (w, span) => writeSpan(w, span, service, host),
    spool,
  )
  running = { settings, sampling, buffer, emitter, collect }
  sending?.emitter?.handOver(emitter)
  watchExit({
    hurry: () => emitter.hurry(),
    hold: isHeld => emitter.hold(isHeld),
    flush: () => flushAtExit(emitter, settings.exitTimeoutMs),
    last: () => {
      emitter.drainNow()
      emitter.closeSpool()
    },
  })
}

/** Whether spans are recorded at all. */
export function isActive(): boolean {
  return running.emitter !== undefined
}

/** Undefined: init has not been called. */
export function currentSettings(): Settings | undefined {
  return running.settings
}

/** Counts what Milo has done in this process. At any moment ended = sent + buffered + inFlight + spooled + dropped. */
export interface Stats extends SpanCounts {
  /** New traces that began here, by what the sampler said, and those it wasn't asked about. */
  tracesKept: number
  tracesNotKept: number
  tracesForced: number
  /** The sampler's rates; undefined for a sampler without `rates`. */
  sampling: SamplingRates | undefined
  /** Names, keys, values, annotations, events and counters that were cut or left out for their size or number. */
  truncated: number
  /** How many times Scribe answered TRY_LATER. */
  tryLater: number
  /** How many times a connection to Scribe failed or broke. */
  failures: number
  /** How many times the spool was full, or a file in it couldn't be written, read, taken over or removed. */
  spoolErrors: number
  /** Spans of processes that have ended, found in the spool and sent; no other counter has them. */
  recovered: number
}

const NOTHING_SENT = { tryLater: 0, failures: 0, spoolErrors: 0, recovered: 0 }

export function stats(): Stats {
  const { buffer, emitter, sampling } = running
  const { tryLater, failures, spoolErrors, recovered } = emitter ?? NOTHING_SENT
  return { ...buffer.counts(), ...totals, sampling: sampling.rates(), tryLater, failures, spoolErrors, recovered }
}

const FLUSH_MS = 1000
/** The longest time that a timer of Node's takes. */
const MAX_TIMER_MS = 0x7fffffff

/**
 * Sends every ended span now.
 * @param timeoutMs how long to try
 * @returns whether all were sent
 */
export async function flush(timeoutMs = FLUSH_MS): Promise<boolean> {
  const { emitter } = running
  return emitter === undefined ? true : emitter.flush(limit(timeoutMs))
}

function limit(timeoutMs: unknown): number {
  return typeof timeoutMs === 'number' && timeoutMs >= 0 ? Math.min(timeoutMs, MAX_TIMER_MS) : FLUSH_MS
}

/** Flushes, then stops tracing for good (until another init). Spans that end later aren't counted. */
export async function shutdown(timeoutMs = FLUSH_MS): Promise<boolean> {
  const { emitter } = running
  if (emitter === undefined) return true
  const limitMs = limit(timeoutMs)
  const sent = await emitter.flush(limitMs)
  // The disk is given a moment even when Scribe was given none.
  const endMs = clock.now() + Math.max(limitMs, FLUSH_MS)
  if (!sent) await emitter.drain(endMs - clock.now())
  const closed = emitter.close(endMs - clock.now())
  if (running.emitter === emitter) {
    running = { ...running, emitter: undefined }
    unwatchExit()
  }
  await closed
  return sent
}

/** At the end of the process: spans in memory are sent or spooled by the deadline, or dropped and counted. */
async function flushAtExit(emitter: ScribeEmitter, timeoutMs: number): Promise<void> {
  if (emitter.inMemory() === 0 || (await emitter.flush(timeoutMs, true))) return
  await emitter.drain(timeoutMs)
  const lost = emitter.inMemory()
  if (lost === 0) return
  log('warn', `${lost} ${lost === 1 ? 'span' : 'spans'} could not be sent before the process ended`)
  emitter.abandon('exit')
}
