import type { Context, Span, SpanOptions, Tracer, TracerProvider } from '@opentelemetry/api'
import type { FrameContextManager } from './context'
import { isSuppressed, miloSpanIn, spanIn, withSpan } from './context'
import {
  describe,
  flush,
  hasPatched,
  Kind,
  LIMITS,
  type LiveSpan,
  logRarely,
  type PluginSpan,
  startChild,
  warnOnce,
} from './core'
import { isView, leftOut, limited, OtelSpan, viewOf } from './span'
import { microseconds } from './values'

/** OpenTelemetry's kinds, by their numbers. Milo's records have no kinds for queues: an annotation says it, as with OTLP. */
const KINDS: readonly Kind[] = [Kind.LOCAL, Kind.SERVER, Kind.CLIENT, Kind.LOCAL, Kind.LOCAL]
const QUEUE_KINDS: Record<number, string> = { 3: 'producer', 4: 'consumer' }

/**
 * The plugins of Milo's that make the spans which an instrumentation of OpenTelemetry makes too, by the instrumentation's
 * name. Where the plugin has patched the library, the instrumentation's spans are left out.
 */
const PLUGINS: Record<string, string> = {
  'milo/otel-instrumentation': 'thrift',
  ...Object.fromEntries(
    ['http', 'undici', 'mysql2', 'pg', 'ioredis', 'cassandra-driver'].map(name => [
      `@opentelemetry/instrumentation-${name}`,
      name,
    ]),
  ),
}

export class MiloTracerProvider implements TracerProvider {
  readonly contexts: FrameContextManager
  /** Whether it is registered: tracers that were given out do nothing while it isn't. */
  enabled = false

  constructor(contexts: FrameContextManager) {
    this.contexts = contexts
  }

  getTracer(name: string): Tracer {
    return new MiloTracer(this, typeof name === 'string' ? name : '')
  }

  /** Sends what waits. Instrumentations of functions that are frozen between calls look for this. */
  async forceFlush(): Promise<void> {
    await flush()
  }
}

class MiloTracer implements Tracer {
  private readonly provider: MiloTracerProvider
  private readonly scope: string
  private readonly plugin: string | undefined
  private hasSaid = false

  constructor(provider: MiloTracerProvider, scope: string) {
    this.provider = provider
    this.scope = scope
    this.plugin = Object.hasOwn(PLUGINS, scope) ? PLUGINS[scope] : undefined
  }

  startSpan(name: string, options?: SpanOptions, context: Context = this.provider.contexts.active()): Span {
    try {
      return this.start(name, options ?? {}, context)
    } catch (error) {
      logRarely('otel', 'error', `a span of OpenTelemetry's API couldn't be started: ${describe(error)}`)
      return leftOut(undefined)
    }
  }

  startActiveSpan<F extends (span: Span) => unknown>(name: string, fn: F): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(name: string, options: SpanOptions, fn: F): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(
    name: string,
    options: SpanOptions,
    context: Context,
    fn: F,
  ): ReturnType<F>
  startActiveSpan(name: string, ...rest: any[]): unknown {
    const fn = rest.pop()
    if (typeof fn !== 'function') return undefined
    const { contexts } = this.provider
    const [options, context = contexts.active()] = rest as [SpanOptions?, Context?]
    const span = this.startSpan(name, options, context)
    // In a trace that isn't recorded it is the span that is there.
    const within = spanIn(context) === span ? context : withSpan(context, span)
    return contexts.with(within, fn, undefined, span)
  }

  private start(name: string, options: SpanOptions, context: Context): Span {
    if (isSuppressed(context)) return leftOut(undefined)
    const parent = options.root === true ? undefined : miloSpanIn(context)
    if (!this.provider.enabled || (this.plugin !== undefined && this.isTracedByMilo())) return leftOut(parent)
    const number = options.kind ?? 0
    const kind = KINDS[number] ?? Kind.LOCAL
    const text = typeof name === 'string' ? name : describe(name)
    const milo = startChild(parent, kind, limited(text, LIMITS.nameLength))
    if (!milo.recording) return unsampled(milo, context)
    const span = new OtelSpan(milo as LiveSpan)
    const startUs = microseconds(options.startTime, milo.trace.clockOffsetUs)
    if (startUs !== undefined) (milo as LiveSpan).startUs = startUs
    if (QUEUE_KINDS[number] !== undefined) milo.annotate('otel.kind', QUEUE_KINDS[number])
    if (this.scope !== '') milo.annotate('otel.scope.name', this.scope)
    if (options.attributes !== undefined) span.setAttributes(options.attributes)
    if (options.links !== undefined) span.addLinks(options.links)
    return span
  }

  private isTracedByMilo(): boolean {
    const { plugin } = this
    if (plugin === undefined || !hasPatched(plugin)) return false
    if (!this.hasSaid) {
      this.hasSaid = true
      warnOnce(
        `Milo's plugin ${plugin} traces what ${this.scope} traces, whose spans are left out; to have those instead, set MILO_PLUGINS=-${plugin}`,
      )
    }
    return true
  }
}

/** In a trace that isn't recorded all spans are the same one, so that all have the same ids. */
function unsampled(milo: PluginSpan, context: Context): Span {
  const there = spanIn(context)
  return isView(there) && there.milo === milo ? there : viewOf(milo)
}
