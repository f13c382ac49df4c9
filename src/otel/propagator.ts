import type {
  Context,
  SpanContext,
  TextMapGetter,
  TextMapPropagator,
  TextMapSetter,
  TraceState,
} from '@opentelemetry/api'
import { type FrameContextManager, miloSpanIn, spanIn, withSpan } from './context'
import {
  baggageOfHeaders,
  contextOfHeaders,
  currentSettings,
  describe,
  HTTP_FORMATS,
  HTTP_HEADERS,
  isActive,
  logRarely,
  type RemoteContext,
  standIn,
  toHex,
  writeBaggage,
  writeHeaders,
} from './core'
import { isLeftOut, SilentSpan } from './span'

const B3_MULTI = ['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags']

/** What Milo's plugins read from the headers of HTTP and write into them, for whatever carries a trace. */
export class MiloPropagator implements TextMapPropagator {
  private readonly contexts: FrameContextManager
  private readonly createTraceState: (raw: string) => TraceState

  constructor(contexts: FrameContextManager, createTraceState: (raw: string) => TraceState) {
    this.contexts = contexts
    this.createTraceState = createTraceState
  }

  inject(context: Context, carrier: unknown, setter: TextMapSetter): void {
    try {
      const span = miloSpanIn(context)
      if (!isActive() || isLeftOut(spanIn(context))) return
      const target = {
        has: () => false,
        add: (to: unknown, name: string, value: string) => setter.set(to, name, value),
        host: () => undefined,
        port: () => undefined,
      }
      const http = currentSettings()?.http
      // Baggage goes along outside of a trace as well.
      if (span !== undefined) this.contexts.with(context, writeHeaders<unknown>, undefined, carrier, target, span)
      else if (http !== undefined && http.formats.default !== 0)
        this.contexts.with(context, writeBaggage<unknown>, undefined, carrier, target, http.baggage)
    } catch (error) {
      logRarely('otel-inject', 'warn', `a carrier of OpenTelemetry's API took no context: ${describe(error)}`)
    }
  }

  extract(context: Context, carrier: unknown, getter: TextMapGetter): Context {
    try {
      const raw = HTTP_HEADERS.flatMap(name => {
        const value = getter.get(carrier, name)
        return value === undefined ? [] : [value].flat().flatMap(one => [name, one])
      })
      const baggage = baggageOfHeaders(raw, undefined)
      const extracted = baggage === undefined ? context : this.contexts.withBaggage(context, baggage)
      const remote = contextOfHeaders(raw, undefined)
      // A decision without ids, as B3 has it, is no span's.
      return remote?.hasIds ? withSpan(extracted, this.callerOf(remote)) : extracted
    } catch (error) {
      logRarely('otel-extract', 'warn', `a carrier of OpenTelemetry's API couldn't be read: ${describe(error)}`)
      return context
    }
  }

  private callerOf(remote: RemoteContext): SilentSpan {
    // It may have to decide whether the trace is kept.
    const milo = standIn(remote)
    const { highHi, highLo, hi, lo, spanHi, spanLo, sampled, state } = remote
    const given: SpanContext = {
      traceId: toHex(highHi, highLo) + toHex(hi, lo),
      spanId: toHex(spanHi, spanLo),
      traceFlags: sampled ? 1 : 0,
      isRemote: true,
    }
    if (state !== undefined) given.traceState = this.createTraceState(state)
    return new SilentSpan(milo, given)
  }

  /** What `inject` writes. Few of them: a message of SQS has room for ten attributes, and these count. */
  fields(): string[] {
    const http = currentSettings()?.http
    const formats = http?.formats.default ?? HTTP_FORMATS.w3c
    const names: string[] = []
    if ((formats & HTTP_FORMATS.w3c) !== 0) names.push('traceparent', 'tracestate')
    if ((formats & HTTP_FORMATS.b3) !== 0) names.push('b3')
    if ((formats & HTTP_FORMATS.b3multi) !== 0) names.push(...B3_MULTI)
    if (http?.baggage !== undefined) names.push('baggage')
    return names
  }
}
