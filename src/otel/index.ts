import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type * as Api from '@opentelemetry/api'
import { FrameContextManager } from './context'
import { add, currentSettings, describe, expectTracing, log, type Plugin, warnOnce } from './core'
import { MiloPropagator } from './propagator'
import { useTraceState } from './span'
import { MiloTracerProvider } from './tracer'

/**
 * `milo/otel`: Milo as the provider of @opentelemetry/api. What libraries and applications trace by that API comes into Milo's
 * traces, with Milo's sampling, and both have the same current span.
 */

/** What `register` makes once: tracers that were given out before `unregister` work again after another `register`. */
interface Made {
  api: typeof Api
  provider: MiloTracerProvider
  propagator: MiloPropagator
}

let made: Made | undefined

/**
 * Makes Milo the tracer provider, the context manager and the propagator of the application's @opentelemetry/api. Call it before
 * `registerInstrumentations`; milo/otel/register does so. Never throws.
 * @returns whether Milo is the provider now. It isn't where Milo is off, where @opentelemetry/api isn't installed, and where
 *   another SDK has been registered before: that one stays. Standard error says so.
 */
export function register(): boolean {
  try {
    if (made?.provider.enabled) return true
    if (currentSettings()?.enabled === false) return false
    const api = made?.api ?? findApi()
    if (api === undefined) {
      warnOnce("milo/otel doesn't find @opentelemetry/api, and nothing that uses it is traced: install it beside milo")
      return false
    }
    return registerWith(api)
  } catch (error) {
    log('error', `milo/otel couldn't be registered with @opentelemetry/api: ${describe(error)}`)
    return false
  }
}

/** Takes back what `register` did. Spans that have begun end as usual; nothing new is traced by OpenTelemetry's API. */
export function unregister(): void {
  if (!made?.provider.enabled) return
  const { api, provider, propagator } = made
  try {
    provider.enabled = false
    const there = registry()
    if (isMilos(there?.trace)) api.trace.disable()
    if (there?.context === provider.contexts) api.context.disable()
    if (there?.propagation === propagator) api.propagation.disable()
  } catch (error) {
    log('error', `milo/otel couldn't be taken back: ${describe(error)}`)
  }
}

function registerWith(api: typeof Api): boolean {
  expectTracing()
  const there = registry()
  // A copy of milo/otel within a bundle, or of another version.
  if (isMilos(there?.trace)) return true
  if (there?.trace !== undefined || there?.context !== undefined) {
    const name = delegateOf(there.trace ?? there.context)?.constructor?.name
    warnOnce(
      `OpenTelemetry's API has a provider already${name ? ` (${name})` : ''}, which milo/otel leaves in place: its spans and Milo's stay apart; for one trace of both, don't start the other SDK`,
    )
    return false
  }
  made ??= make(api)
  const { provider, propagator } = made
  if (!api.trace.setGlobalTracerProvider(provider) || !api.context.setGlobalContextManager(provider.contexts)) {
    warnOnce(
      "milo/otel couldn't be registered: another version of @opentelemetry/api has been used before; install one version for all",
    )
    if (isMilos(registry()?.trace)) api.trace.disable()
    return false
  }
  // One that the application has set stays.
  if (there?.propagation === undefined) api.propagation.setGlobalPropagator(propagator)
  provider.enabled = true
  add([WATCH])
  return true
}

function make(api: typeof Api): Made {
  useTraceState(api.createTraceState)
  const contexts = new FrameContextManager(api.ROOT_CONTEXT, entries => api.propagation.createBaggage(entries))
  const provider = new MiloTracerProvider(contexts)
  Object.defineProperty(provider, MARK, { value: true })
  return { api, provider, propagator: new MiloPropagator(contexts, api.createTraceState) }
}

/** Tells Milo's provider, of whichever copy of this file. */
const MARK = Symbol.for('milo.otel')

/** What all copies of @opentelemetry/api 1.x have registered, in its own place. */
function registry(): Record<string, any> | undefined {
  return (globalThis as any)[Symbol.for('opentelemetry.js.api.1')]
}

function isMilos(provider: unknown): boolean {
  return delegateOf(provider)?.[MARK] === true
}

function delegateOf(provider: any): any {
  return provider?.getDelegate?.() ?? provider
}

/** The application's copy, before the one that Milo itself would get. */
function findApi(): typeof Api | undefined {
  const places = [() => realpathSync(process.argv[1]!), () => join(process.cwd(), 'app.js'), () => __filename]
  for (const place of places) {
    try {
      return createRequire(place())('@opentelemetry/api')
    } catch {
      // Not from there.
    }
  }
  return undefined
}

const API_FILE = /[\\/]@opentelemetry[\\/]api[\\/](build|dist)[\\/]/

/** Says of a copy of the API that is loaded later if it is newer: such copies don't take what older ones have registered. */
const WATCH: Plugin = {
  name: 'otel',
  patches: [],
  onLoad(copy, _plugin, file) {
    if (!made?.provider.enabled || !API_FILE.test(file) || typeof copy?.trace?.getTracerProvider !== 'function') return
    if (copy.trace.getTracerProvider() === made.api.trace.getTracerProvider()) return
    warnOnce(
      `the copy of @opentelemetry/api in ${dirname(file)} is newer than the one that milo/otel is registered with, and nothing that uses it is traced: install one version for all`,
    )
  },
}
