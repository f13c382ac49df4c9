/**
 * `milo/plugin` over OpenTelemetry's API, for plugins/thrift: tsup.config.ts compiles it a second time with this in the place of
 * src/plugin.ts. seam.ts has tsc compare the two.
 */
import {
  type Span as ApiSpan,
  type Context,
  context,
  createTraceState,
  INVALID_SPAN_CONTEXT,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  type TextMapGetter,
  type TextMapSetter,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { describe, logRarely } from '../process/log'
import type { Settings } from '../start/options'
import type * as frames from '../trace/context'
import { randomHigh, randomLow, toHex } from '../trace/id'
import * as core from '../trace/propagation'
import { Kind, type PluginSpan } from '../trace/span'
import { conventionsOf, knownOf } from './conventions'
import { asCore, Frame, frameOfContext, withoutFrame } from './frame'
import { sayUnheard } from './heard'
import { OtelSpan } from './span'

export { endWith, observe, observeThen } from '../patch/observe'
export { sayEarly, sayLeft } from '../patch/patched'
export type { Patch, Plugin, PluginHandle, Wrapped } from '../patch/plugin'
export { errorName, noteError, noteErrors } from '../process/error-name'
export { clock, setImmediate } from '../process/genuine'
export { ifRejected } from '../process/log'
export type { Frame } from '../trace/context'
export type { Carrier, Entries, RemoteContext } from '../trace/propagation'
export { carrierFor, hasZeroId } from '../trace/propagation'
export { Kind, type PluginSpan as Span } from '../trace/span'
export { fillFrame, frameToFill } from './frame'
export { describe, logRarely }

/** What the plugin reads of Milo's settings. */
export type ThriftSettings = Pick<Settings, 'propagation' | 'onRequest'>

interface State {
  tracer: Tracer
  settings: ThriftSettings
}

/** Undefined while nothing is traced. */
let running: State | undefined
const conventions = conventionsOf(process.env.OTEL_SEMCONV_STABILITY_OPT_IN)

export function run(state: State | undefined): void {
  running = state
}

export function isActive(): boolean {
  return running !== undefined
}

/** Only what ThriftSettings has. */
export function currentSettings(): Settings | undefined {
  return running?.settings as Settings | undefined
}

/** A call without a valid context, as where no SDK runs or tracing is suppressed, tells nothing: the callee decides for itself. */
export function isTold(span: PluginSpan): boolean {
  return (span as OtelSpan).isValid
}

/** What OpenTelemetry's SDK doesn't sample, it drops. */
export function recordsUnsampled(): boolean {
  return false
}

const KINDS = [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.SERVER]

export function startSpan(
  kind: Kind,
  name: string,
  _narrow = false,
  _force = false,
  known?: readonly string[],
): OtelSpan {
  return start(kind, name, context.active(), known)
}

export function startServerSpan(
  name: string,
  remote: core.RemoteContext | undefined,
  known?: readonly string[],
): OtelSpan {
  return start(Kind.SERVER, name, remote === undefined ? ROOT_CONTEXT : contextOf(remote as Remote), known)
}

function start(kind: Kind, given: string, parent: Context, list: readonly string[] | undefined): OtelSpan {
  const known = list === undefined ? undefined : knownOf(list, conventions)
  const name = known?.name ?? given
  let span: ApiSpan
  try {
    sayUnheard()
    // The tracer is there: nothing starts a span while nothing is traced.
    span = running!.tracer.startSpan(name, { kind: KINDS[kind], attributes: known?.attributes }, parent)
  } catch (error) {
    // A sampler or a processor of the application's. There may be no second time.
    logRarely(
      'otel-start',
      'error',
      `a sampler or span processor threw, and this call isn't traced: ${describe(error)}`,
    )
    span = trace.wrapSpanContext(INVALID_SPAN_CONTEXT)
  }
  return new OtelSpan(span, withoutFrame(parent), kind, name, list)
}

export function currentSpan(): OtelSpan | undefined {
  const active = context.active()
  if (active instanceof Frame) return active.span
  const span = trace.getSpan(active)
  if (span === undefined) return undefined
  const around = frameOfContext(active)?.span
  return around?.api === span
    ? around
    : new OtelSpan(span, active, kindOf(span as { kind?: unknown }), '', undefined, around)
}

/** SDKs' spans say their kind. */
function kindOf(span: { kind?: unknown }): Kind {
  if (span.kind === SpanKind.SERVER) return Kind.SERVER
  return span.kind === SpanKind.CLIENT ? Kind.CLIENT : Kind.LOCAL
}

export function currentFrame(): frames.Frame | undefined {
  const frame = frameOfContext(context.active())
  return frame && asCore(frame)
}

export function frameWith(span: PluginSpan | undefined): frames.Frame {
  const base = (span as OtelSpan | undefined)?.base ?? withoutFrame(context.active())
  return asCore(new Frame(base, span as OtelSpan | undefined))
}

export function runInFrame<A extends unknown[], R>(
  frame: frames.Frame | undefined,
  fn: (...args: A) => R,
  ...args: A
): R {
  return context.with((frame as unknown as Frame | undefined) ?? ROOT_CONTEXT, fn, undefined, ...args)
}

/**
 * What a request brought. `sampled` is always true here: OpenTelemetry's sampler is to be asked, whatever the caller has decided.
 */
interface Remote extends core.RemoteContext {
  /** The caller's decision. */
  isSampled: boolean
  /** What OpenTelemetry's propagators have made of it. */
  context: Context | undefined
}

function asRemote(remote: core.RemoteContext, isSampled = remote.sampled): Remote {
  return Object.assign(remote, { sampled: true, isSampled, context: undefined })
}

export function remoteContext(sampled: boolean, debug: boolean, probability: number): Remote {
  return asRemote(core.remoteContext(sampled, debug, probability))
}

export function childContext(trace: string, span: string, sampled: boolean, debug: boolean): Remote | undefined {
  const remote = core.childContext(trace, span, sampled, debug)
  return remote && asRemote(remote)
}

export function b3OfEntries(entries: core.Entries): Remote | undefined {
  const remote = core.b3OfEntries(entries)
  return remote && asRemote(remote)
}

function contextOf(remote: Remote): Context {
  if (remote.context !== undefined) return remote.context
  const { hasIds, isSampled, highHi, highLo, hi, lo, spanHi, spanLo, state } = remote
  // The decision alone: to sample is what the sampler may want as well; not to sample needs a parent that it was made for.
  if (!hasIds && isSampled) return ROOT_CONTEXT
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: hasIds ? toHex(highHi, highLo) + toHex(hi, lo) : randomId() + randomId(),
    spanId: hasIds ? toHex(spanHi, spanLo) : randomId(),
    traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    traceState: state === undefined ? undefined : createTraceState(state),
    isRemote: true,
  })
}

function randomId(): string {
  return toHex(randomHigh(), randomLow())
}

/** Of what propagators want to send: more than a callee would read stays here. */
const MAX_ENTRIES = 64
const MAX_TEXT_BYTES = 8192

const SETTER: TextMapSetter<[string, string][]> = {
  set(entries, key, value) {
    // A propagator's mistake: numbers are written as HTTP's instrumentations would write them, and objects are no values.
    const text: unknown = typeof value === 'number' || typeof value === 'boolean' ? String(value) : value
    if (entries.length >= MAX_ENTRIES || !isSmall(key) || !isSmall(text)) return
    entries.push([CASES.get(key) ?? key, text])
  },
}

/** OpenTelemetry's Java agent looks for these keys in this case alone; its JavaScript, whose HTTP has lower case, writes the other. */
const CASES = new Map(
  ['X-B3-TraceId', 'X-B3-SpanId', 'X-B3-ParentSpanId', 'X-B3-Sampled', 'X-B3-Flags', 'X-Amzn-Trace-Id'].map(key => [
    key.toLowerCase(),
    key,
  ]),
)

function isSmall(text: unknown): text is string {
  if (typeof text !== 'string') return false
  // A character has three bytes at most.
  return text.length * 3 <= MAX_TEXT_BYTES || Buffer.byteLength(text) <= MAX_TEXT_BYTES
}

/** What the propagators send along with a call. */
export function entriesOf(span: PluginSpan): [string, string][] {
  const entries: [string, string][] = []
  try {
    propagation.inject(new Frame((span as OtelSpan).base, span as OtelSpan), entries, SETTER)
    return entries
  } catch (error) {
    logRarely('otel-inject', 'error', `a propagator threw, and this call doesn't tell its trace: ${describe(error)}`)
    return []
  }
}

const GETTER: TextMapGetter<core.Entries> = {
  get: (entries, key) => entries.get(key.toLowerCase()),
  keys: entries => [...entries.keys()],
}

/** What propagators have read: of the rest there is one for all requests. */
class Extracted {
  readonly context: Context
  constructor(context: Context) {
    this.context = context
  }
}
Object.assign(Extracted.prototype, remoteContext(true, false, Number.NaN))

/** Baggage is in the context that propagators have made. */
export function baggageOf(): undefined {}

export function contextOfEntries(entries: core.Entries): Remote | undefined {
  let extracted: Context
  try {
    extracted = propagation.extract(ROOT_CONTEXT, entries, GETTER)
  } catch (error) {
    logRarely('otel-extract', 'error', `a propagator threw, and the trace of this call isn't known: ${describe(error)}`)
    return undefined
  }
  if (trace.getSpanContext(extracted) === undefined && propagation.getBaggage(extracted) === undefined) return undefined
  return new Extracted(extracted) as Remote
}
