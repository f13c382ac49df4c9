import { join } from 'node:path'
import { SpanBuffer } from '../export/buffer'
import { Emitter, HTTP_DEFAULTS, SCRIBE_DEFAULTS } from '../export/emitter'
import { type ExportCounts, Exporters, sum } from '../export/exporters'
import { scribe } from '../export/scribe'
import type { Retroactive, RetroactiveStats } from '../keep/retroactive'
import { unwatchExit, watchExit } from '../process/exit'
import { clock } from '../process/genuine'
import { attempt, expectTracing, guarded } from '../process/later'
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
  /** The one whose history goes on when a test has collected what it wants. */
  readonly paused: Retroactive | undefined
}

export let running: Instance = {
  settings: undefined,
  sampling: new Decisions(never),
  active: false,
  joins: true,
  exporters: new Exporters([]),
  collect: undefined,
  recorder: undefined,
  paused: undefined,
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
  // While its exporters take them: the new ones go on with what is on its way.
  sendKept(previous.recorder)
  setLogLevel(settings.logLevel)
  const sampling = new Decisions(settings.sampler)
  const isReal = collect === undefined
  const real = previous.collect === undefined ? previous.recorder : previous.paused
  const paused = isReal ? undefined : real
  if (!enabled) {
    if (previous.active) void previous.exporters.close()
    stopRecorder(previous.recorder)
    running = { ...previous, settings, sampling, active: false, collect, recorder: undefined, paused }
    unwatchExit()
    return
  }
  if (settings.plugins.length > 0 || settings.exports.some(({ kind }) => kind !== 'scribe')) expectTracing()
  // What waits while a test collects is sent all the same.
  const isKept = collect !== undefined && previous.active
  const replaced = previous.active && !isKept ? previous.exporters.emitters : []
  const before = new Map(replaced.map(emitter => [emitter.name, emitter]))
  const bufferOf = (name: string) => {
    const emitter = before.get(name)
    // Spans that are on their way go on to the new instance. Where there are none, the counts begin afresh.
    return emitter !== undefined && emitter.inMemory() > 0 ? emitter.buffer : undefined
  }
  const exporters = isKept
    ? previous.exporters
    : new Exporters(settings.exports.map(target => emitterOf(target, settings, bufferOf(target.name))))
  const joins = settings.exports.every(({ kind }) => kind === 'scribe')
  stopRecorder(previous.recorder)
  // A test's history is its own.
  const recorder = recorderOf(settings, isReal, isReal ? real : undefined)
  running = { settings, sampling, active: true, joins, exporters, collect, recorder, paused }
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
  const [left] = before.values()
  for (let span = left?.buffer.take(); span !== undefined; span = left!.buffer.take())
    for (const emitter of added) emitter.add(span)
  // What is on its way is sent: its batches are in its own protocol.
  for (const emitter of before.values()) void emitter.flush(exitTimeoutMs, true).then(() => emitter.close())
  watchExit({
    hurry: guarded(() => {
      sendKept(recorder)
      exporters.hurry()
    }),
    hold: guarded((isHeld: boolean) => {
      attempt(() => recorder?.hold(isHeld))
      exporters.hold(isHeld)
    }),
    isIdle: () => exporters.inMemory() === 0 && !recorder?.isWaiting,
    flush: () => flushAtExit(exporters, recorder, exitTimeoutMs),
    last: guarded((isOver: boolean) => {
      sendKept(recorder)
      exporters.last()
      // An application that calls process.exit() has decided that nothing is waited for.
      if (isOver) sayLost('info', exporters)
    }),
  })
}

/** Passes on what is kept and no exporter has yet. A fault in there is the recorder's alone: spans are still sent, and the process ends as ever. */
function sendKept(recorder: Retroactive | undefined): void {
  attempt(() => recorder?.send())
}

function stopRecorder(recorder: Retroactive | undefined): void {
  attempt(() => recorder?.stop())
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
 * Keeps the trace of a span after the fact.
 * @returns whether the word is accepted
 */
export function keepTrace(span: LiveSpan, reason: string): boolean {
  const { active, recorder } = running
  if (!active) return false
  if (!span.sampled) return attempt(() => recorder?.keep(span, reason)) ?? false
  span.annotate('milo.keep', reason)
  return span.endUs === 0
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
  const retroactive = attempt(() => recorder?.stats())
  return { ...sum(Object.values(exports)), ...totals, sampling: sampling.rates(), exports, retroactive }
}

const FLUSH_MS = 1000
/** The longest time that a timer of Node's takes: a longer one ends at once. */
export const MAX_TIMER_MS = 0x7fffffff

/**
 * Sends every ended span now.
 * @param timeoutMs how long to try
 * @returns whether all were sent
 */
export async function flush(timeoutMs = FLUSH_MS): Promise<boolean> {
  const { active, exporters, recorder } = running
  return !active || flushAll(exporters, recorder, limit(timeoutMs))
}

/** Sends what is kept as well, also what the exporters have no room for until they have sent something. */
async function flushAll(
  exporters: Exporters,
  recorder: Retroactive | undefined,
  timeoutMs: number,
  impatient = false,
): Promise<boolean> {
  const endMs = clock.now() + timeoutMs
  sendKept(recorder)
  const sent = await exporters.flush(timeoutMs, impatient)
  if (!sent || !recorder?.isWaiting) return sent
  sendKept(recorder)
  return exporters.flush(Math.max(0, endMs - clock.now()), impatient)
}

function limit(timeoutMs: unknown): number {
  return typeof timeoutMs === 'number' && timeoutMs >= 0 ? Math.min(timeoutMs, MAX_TIMER_MS) : FLUSH_MS
}

/** Flushes, then stops tracing for good (until another init). Spans that end later aren't counted. */
export function shutdown(timeoutMs = FLUSH_MS): Promise<boolean> {
  return end(limit(timeoutMs), false)
}

/** Shuts down without waiting: one failed attempt ends it, so it holds no process. */
export function retire(): Promise<boolean> {
  return end(FLUSH_MS, true)
}

async function end(limitMs: number, impatient: boolean): Promise<boolean> {
  const { active, exporters, recorder } = running
  if (!active) return true
  const sent = await flushAll(exporters, recorder, limitMs, impatient)
  // The disk is given a moment even when the peers were given none.
  const endMs = clock.now() + Math.max(limitMs, FLUSH_MS)
  if (!sent) await exporters.drain(endMs - clock.now())
  sendKept(recorder)
  const closed = exporters.close(endMs - clock.now())
  if (running.exporters === exporters) {
    running = { ...running, active: false }
    stopRecorder(recorder)
    unwatchExit()
  }
  await closed
  return sent
}

async function flushThread(): Promise<void> {
  const { active, exporters, recorder, settings } = running
  if (!active) return
  await flushAtExit(exporters, recorder, settings!.exitTimeoutMs)
}

/** At the end of the process: spans in memory are sent or spooled by the deadline, or dropped and counted. */
async function flushAtExit(exporters: Exporters, recorder: Retroactive | undefined, timeoutMs: number): Promise<void> {
  sendKept(recorder)
  if (exporters.inMemory() === 0 || (await flushAll(exporters, recorder, timeoutMs, true))) return
  await exporters.drain(timeoutMs)
  sayLost('warn', exporters)
  exporters.abandon('exit')
}

function sayLost(level: 'warn' | 'info', { emitters }: Exporters): void {
  for (const emitter of emitters) {
    const lost = emitter.inMemory()
    const whom = emitters.length === 1 ? '' : ` to ${emitter.name}`
    if (lost > 0)
      log(level, `${lost} ${lost === 1 ? 'span' : 'spans'} could not be sent${whom} before the process ended`)
  }
}
