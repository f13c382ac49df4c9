import { join } from 'node:path'
import { SpanBuffer } from '../export/buffer'
import { Emitter, HTTP_DEFAULTS, SCRIBE_DEFAULTS } from '../export/emitter'
import { type ExportCounts, Exporters, sum } from '../export/exporters'
import { scribe } from '../export/scribe'
import type { Retroactive, RetroactiveStats } from '../keep/retroactive'
import { unwatchExit, watchExit } from '../process/exit'
import { clock } from '../process/genuine'
import { expectTracing } from '../process/later'
import { describe, log, logRarely, setLogLevel } from '../process/log'
import { beforeVitestEnds, isThread } from '../process/thread'
import { Decisions } from '../trace/decide'
import { never, type SamplingRates } from '../trace/sampler'
import { keeping, type LiveSpan, type SpanSink } from '../trace/span'
import type { ExportTarget } from './exports'
import type { Settings } from './options'

/** Everything that runs between one start and the next. A start builds a whole instance, which then replaces the previous one. */
interface Instance {
  /** Undefined until init. */
  readonly settings: Settings | undefined
  readonly sampling: Decisions
  /** Whether spans are recorded. */
  readonly active: boolean
  /**
   * Whether a server's span may be the other half of its client's, with the same id: only Milo's collector makes one span of
   * two. Other backends have one span for an id.
   */
  readonly joins: boolean
  /** Where ended spans go; those that went while Milo was active, once it isn't any more. */
  readonly exporters: Exporters
  /** Takes ended spans in the exporters' place. milo/testing sets it. */
  readonly collect: ((span: LiveSpan) => void) | undefined
  /** Takes the ended spans of traces that aren't sampled. Undefined where there is no history: then such traces have no spans. */
  readonly recorder: Retroactive | undefined
}

export let running: Instance = {
  settings: undefined,
  sampling: new Decisions(never),
  active: false,
  joins: true,
  exporters: new Exporters([]),
  collect: undefined,
  recorder: undefined,
}

/** Counted since the process began: a new start doesn't reset them. */
export const totals = { tracesKept: 0, tracesNotKept: 0, tracesForced: 0, truncated: 0 }

export const sink: SpanSink = {
  /** The barrier between a span that ends and what becomes of it: no error of Milo's comes out of `end()`. */
  add(span) {
    const { active, exporters, collect, recorder } = running
    if (!active) return
    if (isThread) beforeVitestEnds(flushThread)
    try {
      if (!span.trace.sampled) recorder?.ended(span)
      else if (collect !== undefined) collect(span)
      else exporters.add(span)
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
  const { enabled, exitTimeoutMs } = settings
  setLogLevel(settings.logLevel)
  const sampling = new Decisions(settings.sampler)
  if (!enabled) {
    if (previous.active) void previous.exporters.close()
    previous.recorder?.stop()
    running = { ...previous, settings, sampling, active: false, collect, recorder: undefined }
    unwatchExit()
    return
  }
  if (settings.plugins.length > 0 || settings.exports.some(({ kind }) => kind !== 'scribe')) expectTracing()
  const isReal = collect === undefined && previous.collect === undefined
  const before = new Map((previous.active ? previous.exporters.emitters : []).map(emitter => [emitter.name, emitter]))
  const bufferOf = (name: string) => {
    const emitter = before.get(name)
    // Spans that are on their way go on to the new instance. Where there are none, the counts begin afresh.
    return isReal && emitter !== undefined && emitter.inMemory() > 0 ? emitter.buffer : undefined
  }
  const exporters = new Exporters(settings.exports.map(target => emitterOf(target, settings, bufferOf(target.name))))
  const joins = settings.exports.every(({ kind }) => kind === 'scribe')
  previous.recorder?.stop()
  const recorder = recorderOf(settings, collect === undefined, isReal ? previous.recorder : undefined)
  running = { settings, sampling, active: true, joins, exporters, collect, recorder }
  keeping.types = settings.exports.some(({ kind }) => kind === 'otlp')
  const added: Emitter[] = []
  for (const emitter of exporters.emitters) {
    const same = before.get(emitter.name)
    if (same === undefined) added.push(emitter)
    else if (same.buffer === emitter.buffer) same.handOver(emitter)
    else void same.close()
    before.delete(emitter.name)
  }
  // What waits for an exporter that isn't there any more goes to those that are new: milo/register had the default one.
  const [left] = isReal ? before.values() : []
  for (let span = left?.buffer.take(); span !== undefined; span = left!.buffer.take())
    for (const emitter of added) emitter.add(span)
  for (const emitter of before.values()) void emitter.close()
  watchExit({
    hurry() {
      recorder?.collect()
      exporters.hurry()
    },
    hold(isHeld) {
      recorder?.hold(isHeld)
      exporters.hold(isHeld)
    },
    isIdle: () => exporters.inMemory() === 0 && !recorder?.isWaiting,
    flush() {
      recorder?.collect()
      return flushAtExit(exporters, exitTimeoutMs)
    },
    last() {
      recorder?.collect()
      exporters.last()
    },
  })
}

function recorderOf(settings: Settings, asks: boolean, previous: Retroactive | undefined): Retroactive | undefined {
  if (settings.retroactive === undefined) return undefined
  // Loaded late, from a file of its own: most processes have no history.
  const { Retroactive } = require('../keep') as typeof import('../keep')
  return new Retroactive(settings.retroactive, settings.service, asks ? settings : undefined, () => running, previous)
}

function emitterOf(target: ExportTarget, settings: Settings, buffer = new SpanBuffer(0)): Emitter {
  const { maxBufferedSpans, maxBufferedBytes, service, spool } = settings
  const { name } = target
  buffer.limit(maxBufferedSpans, maxBufferedBytes)
  if (target.kind === 'scribe') {
    const protocol = scribe(service, () => settings.host, settings.scribeEncoding)
    return new Emitter(name, { ...SCRIBE_DEFAULTS, addresses: settings.scribe }, buffer, protocol, spool)
  }
  // Loaded late, from a file of its own: most processes have no exporter over HTTP.
  const { otlp, zipkin } = require('../export/http') as typeof import('../export/http')
  const protocol = (target.kind === 'otlp' ? otlp : zipkin)(target, service, settings.host)
  // Each exporter has its own form of a batch, and so its own directory.
  const ownSpool = spool && { ...spool, directory: join(spool.directory, name) }
  return new Emitter(name, { ...HTTP_DEFAULTS, addresses: [target.address] }, buffer, protocol, ownSpool)
}

/**
 * Keeps the trace of an open span after the fact.
 * @returns whether it is sent
 */
export function keepTrace(span: LiveSpan, reason: string): boolean {
  const { active, recorder } = running
  if (!active) return false
  if (span.sampled) span.annotate('milo.keep', reason)
  return span.sampled || (recorder?.keep(span, reason) ?? false)
}

/** Whether spans are recorded at all. */
export function isActive(): boolean {
  return running.active
}

/** Undefined: init has not been called. */
export function currentSettings(): Settings | undefined {
  return running.settings
}

/**
 * Counts what Milo has done in this process. At any moment ended = sent + buffered + inFlight + spooled + dropped, in all and for
 * each exporter. With several exporters a span is counted once for each.
 */
export interface Stats extends ExportCounts {
  /** New traces that began here, by what the sampler said, and those it wasn't asked about. */
  tracesKept: number
  tracesNotKept: number
  tracesForced: number
  /** The sampler's rates; undefined for a sampler without `rates`. */
  sampling: SamplingRates | undefined
  /** Names, keys, values, annotations, events and counters that were cut or left out for their size or number. */
  truncated: number
  /** The same counts for each exporter, by its name. */
  exports: Record<string, ExportCounts>
  /** The history and what was kept of it; undefined without the option `retroactive`. */
  retroactive: RetroactiveStats | undefined
}

export function stats(): Stats {
  const { exporters, sampling, recorder } = running
  const exports = exporters.counts()
  const retroactive = recorder?.stats()
  return { ...sum(Object.values(exports)), ...totals, sampling: sampling.rates(), exports, retroactive }
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
  const { active, exporters, recorder } = running
  recorder?.collect()
  return !active || exporters.flush(limit(timeoutMs))
}

function limit(timeoutMs: unknown): number {
  return typeof timeoutMs === 'number' && timeoutMs >= 0 ? Math.min(timeoutMs, MAX_TIMER_MS) : FLUSH_MS
}

/** Flushes, then stops tracing for good (until another init). Spans that end later aren't counted. */
export async function shutdown(timeoutMs = FLUSH_MS): Promise<boolean> {
  const { active, exporters, recorder } = running
  if (!active) return true
  recorder?.collect()
  const limitMs = limit(timeoutMs)
  const sent = await exporters.flush(limitMs)
  // The disk is given a moment even when the peers were given none.
  const endMs = clock.now() + Math.max(limitMs, FLUSH_MS)
  if (!sent) await exporters.drain(endMs - clock.now())
  const closed = exporters.close(endMs - clock.now())
  if (running.exporters === exporters) {
    running = { ...running, active: false }
    recorder?.stop()
    unwatchExit()
  }
  await closed
  return sent
}

async function flushThread(): Promise<void> {
  const { active, exporters, recorder, settings } = running
  if (!active) return
  recorder?.collect()
  await flushAtExit(exporters, settings!.exitTimeoutMs)
}

/** At the end of the process: spans in memory are sent or spooled by the deadline, or dropped and counted. */
async function flushAtExit(exporters: Exporters, timeoutMs: number): Promise<void> {
  if (exporters.inMemory() === 0 || (await exporters.flush(timeoutMs, true))) return
  await exporters.drain(timeoutMs)
  const { emitters } = exporters
  for (const emitter of emitters) {
    const lost = emitter.inMemory()
    const whom = emitters.length === 1 ? '' : ` to ${emitter.name}`
    if (lost > 0)
      log('warn', `${lost} ${lost === 1 ? 'span' : 'spans'} could not be sent${whom} before the process ended`)
  }
  exporters.abandon('exit')
}
