/**
 * `milo`: the API for annotations by hand. Everything is safe to call at any time: before init, without a current span,
 * in a trace that isn't sampled. Only init throws.
 */
import { frameWith, runInFrame } from './context'
import { install } from './hook'
import { type Options, settle } from './options'
import { Kind, type Span } from './span'
import { configure, currentSpan, startSpan, UNSAMPLED } from './tracer'

export { MiloError, type MiloErrorCode } from './errors'
export type { Options } from './options'
export type { Sampler } from './sampler'
export type { Span } from './span'
export { flush, type Stats, shutdown, stats } from './tracer'

/**
 * Starts Milo, or starts it anew with other settings. With milo/register this has happened, from the environment.
 * @throws MiloError with a code, the value and the remedy, when an option can't be used
 */
export function init(options: Options = {}): void {
  const settings = settle(options)
  configure(settings)
  if (settings.enabled && settings.plugins.length > 0) install(settings.plugins)
}

/**
 * Runs `fn` in a new span, a child of the current one, and ends it when `fn` returns, throws, or the promise that it
 * returned settles. Returns what `fn` returns: the same value, the same promise, the same error.
 */
export function span<R>(name: string, fn: (span: Span) => R): R
/** Starts a span that isn't current anywhere and that you end yourself. */
export function span(name: string): Span
export function span<R>(name: string, fn?: (span: Span) => R): R | Span {
  const started = startSpan(Kind.LOCAL, String(name).slice(0, 256))
  if (fn === undefined) return started
  let result: R
  try {
    result = runInFrame(frameWith(started), fn, started)
  } catch (error) {
    started.fail(error).end()
    throw error
  }
  if (isThenable(result)) {
    // Observed, not replaced: the application gets its own promise, and its rejection stays unhandled if it was.
    result.then(
      () => started.end(),
      error => started.fail(error).end(),
    )
  } else started.end()
  return result
}

/** Attaches a searchable key and value to the current span. */
export function annotate(key: string, value: string | number | boolean | bigint): void {
  currentSpan()?.annotate(key, value)
}

/** Notes on the current span that something happened, now. */
export function record(event: string): void {
  currentSpan()?.record(event)
}

/** Adds `n` (a whole number, 1 by default) to a counter of the current span. */
export function count(key: string, n = 1): void {
  currentSpan()?.count(key, n)
}

/** The current span; where there is none, one whose methods do nothing. */
export function current(): Span {
  return currentSpan() ?? UNSAMPLED
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== null && typeof value === 'object' && typeof (value as PromiseLike<unknown>).then === 'function'
}
