import { clock } from '../process/genuine'
import { running, sink, totals } from '../start/instance'
import { spanStart, tell } from './channels'
import { currentFrame } from './context'
import { fraction, randomHigh, randomLow, randomNarrow } from './id'
import type { RemoteContext } from './propagation'
import { NOT_KEPT } from './sampler'
import { Kind, LiveSpan, type PluginSpan, SUPPRESSED, Trace, UNSAMPLED } from './span'
import { WallClock } from './wall-clock'

/** Starts spans: roots, children of the current span, and servers' halves of what other processes began. */

const wallClock = new WallClock()

export function currentSpan(): PluginSpan | undefined {
  return currentFrame()?.span
}

/**
 * The current span's ids in hex, to be written into logs: 16 digits, the trace's 32 when it has a high half. Undefined
 * where there is nothing that another process or the collector knows.
 */
export function ids(): { traceId: string; spanId: string; sampled: boolean } | undefined {
  const span = currentSpan()
  if (span === undefined || span === UNSAMPLED || span === SUPPRESSED) return undefined
  return { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled }
}

/**
 * Starts a child of the current span, or a new trace where none is current.
 * @param narrow give the span an id of 31 bits, for a carrier that has no room for more
 * @param force keep the new trace, whatever the sampler says; within a trace that isn't kept, start one that is
 * @param _known annotations (key, value, …) that the span is going to have: for tracers whose samplers ask for them
 */
export function startSpan(
  kind: Kind,
  name: string,
  narrow = false,
  force = false,
  _known?: readonly string[],
): PluginSpan {
  return startChild(currentFrame()?.span, kind, name, narrow, force)
}

/** The same with a parent that need not be current. */
export function startChild(
  parent: PluginSpan | undefined,
  kind: Kind,
  name: string,
  narrow = false,
  force = false,
): PluginSpan {
  if (parent === undefined || (force && !parent.trace.sampled)) return startRoot(kind, name, narrow, force)
  const trace = parent.trace
  if (!trace.recording) return parent
  const hi = narrow ? 0 : randomHigh()
  const lo = narrow ? randomNarrow() : randomLow()
  return begun(new LiveSpan(sink, trace, hi, lo, parent.idHi, parent.idLo, kind, name, trace.nowUs()))
}

/** Whether spans of traces that aren't sampled are recorded, into this process's history. */
export function recordsUnsampled(): boolean {
  return running.recorder !== undefined
}

/**
 * Whether a call in this span tells its callee anything: a decision not to sample is told as well. Where tracing is suppressed nothing
 * is, so that the callee decides for itself.
 */
export function isTold(span: PluginSpan): boolean {
  return span !== SUPPRESSED
}

/**
 * Starts the server's span of a request. What is current where it arrives doesn't matter: a request that brings no
 * context is a root, and one that brings nothing but the decision to sample is a forced one.
 * Where there is a history, what isn't sampled is recorded: with the caller's ids, or without any as a root.
 * @param _known see startSpan
 */
export function startServerSpan(
  name: string,
  remote: RemoteContext | undefined,
  _known?: readonly string[],
): PluginSpan {
  if (remote === undefined || (remote.sampled && !remote.hasIds))
    return startRoot(Kind.SERVER, name, false, remote !== undefined)
  if (!running.active) return SUPPRESSED
  if (!remote.sampled && !remote.hasIds) {
    if (running.recorder === undefined) return UNSAMPLED
    return rootOf(Kind.SERVER, name, false, randomHigh(), randomLow(), 0, false, false)
  }
  if (remote.undecided) decideFor(remote, name)
  const { sampled, spanHi, spanLo } = remote
  const recording = sampled || running.recorder !== undefined
  const monotonicMs = recording ? clock.now() : 0
  const offset = recording ? wallClock.offsetUs(monotonicMs) : 0
  const trace = traceOf(remote, offset)
  const startUs = offset + monotonicMs * 1000
  // A span that isn't recorded here only carries the caller's ids on.
  if (!recording) return new LiveSpan(sink, trace, spanHi, spanLo, remote.parentHi, remote.parentLo, Kind.SERVER, '', 0)
  if (remote.sharesSpan && running.joins) {
    return begun(
      new LiveSpan(sink, trace, spanHi, spanLo, remote.parentHi, remote.parentLo, Kind.SERVER, name, startUs),
    )
  }
  return begun(new LiveSpan(sink, trace, randomHigh(), randomLow(), spanHi, spanLo, Kind.SERVER, name, startUs))
}

/**
 * A span that stands for another process's, to be the parent of what begins here. It has ended: its own process reports
 * it.
 */
export function standIn(remote: RemoteContext): PluginSpan {
  if (!running.active) return SUPPRESSED
  if (!remote.hasIds) return UNSAMPLED
  if (remote.undecided) decideFor(remote, '(remote)')
  const monotonicMs = clock.now()
  const trace = traceOf(remote, wallClock.offsetUs(monotonicMs))
  const { spanHi, spanLo } = remote
  const span = new LiveSpan(sink, trace, spanHi, spanLo, 0, 0, Kind.LOCAL, '', trace.clockOffsetUs + monotonicMs * 1000)
  span.endUs = span.startUs
  return span
}

function traceOf(remote: RemoteContext, offset: number): Trace {
  const { hi, lo, highHi, highLo, sampled, recorded, debug, state, isRandom } = remote
  // What is kept after the fact stands for itself alone: no count takes it for others.
  const probability = sampled ? remote.probability : 0
  const trace = new Trace(hi, lo, highHi, highLo, sampled, debug, probability, offset)
  trace.state = state
  trace.isRandom = isRandom
  if (!sampled) {
    trace.recording = running.recorder !== undefined
    trace.recorded = recorded || trace.recording
  }
  return trace
}

function begun(span: LiveSpan): LiveSpan {
  if (spanStart.hasSubscribers && span.trace.sampled) tell(spanStart, { span })
  return span
}

function startRoot(kind: Kind, name: string, narrow: boolean, force: boolean): PluginSpan {
  // The sampler's own spans aren't decided about.
  if (!running.active || (!force && running.sampling.asking)) return SUPPRESSED
  const hi = randomHigh()
  const lo = randomLow()
  // A forced trace stands for itself alone: of probability 0, so that no count takes it for others.
  if (force) {
    totals.tracesForced++
    return rootOf(kind, name, narrow, hi, lo, 0, true, true)
  }
  const probability = decide(name, hi, lo)
  if (probability !== NOT_KEPT) return rootOf(kind, name, narrow, hi, lo, probability, true, false)
  return running.recorder === undefined ? UNSAMPLED : rootOf(kind, name, narrow, hi, lo, 0, false, false)
}

function rootOf(
  kind: Kind,
  name: string,
  narrow: boolean,
  hi: number,
  lo: number,
  probability: number,
  sampled: boolean,
  debug: boolean,
): LiveSpan {
  // One look at the clock serves both: it costs 40 ns.
  const monotonicMs = clock.now()
  const offset = wallClock.offsetUs(monotonicMs)
  const trace = new Trace(hi, lo, 0, 0, sampled, debug, probability, offset)
  const startUs = offset + monotonicMs * 1000
  if (sampled) running.sampling.adjust(running.exporters, startUs)
  else trace.recorded = trace.recording = true
  const spanHi = narrow ? 0 : randomHigh()
  const spanLo = narrow ? randomNarrow() : randomLow()
  return begun(new LiveSpan(sink, trace, spanHi, spanLo, 0, 0, kind, name, startUs))
}

/** Asks the sampler, and counts what it says: a probability, or NOT_KEPT. */
function decide(name: string, hi: number, lo: number): number {
  const probability = running.sampling.decide(name, fraction(hi, lo))
  if (probability === NOT_KEPT) totals.tracesNotKept++
  else totals.tracesKept++
  return probability
}

function decideFor(remote: RemoteContext, name: string): void {
  const probability = decide(name, remote.hi, remote.lo)
  remote.undecided = false
  remote.sampled = probability !== NOT_KEPT
  remote.probability = remote.sampled ? probability : Number.NaN
}
