/**
 * `milo`: the API for annotations by hand. Everything is safe to call at any time: before init, without a current span,
 * in a trace that isn't sampled. Only init throws.
 */
import { types } from 'node:util'
import { BadVariable } from './errors'
import { imitate } from './patch/imitate'
import { endWith } from './patch/observe'
import { isError } from './process/error-name'
import { describe, logRarely } from './process/log'
import { refuse, withLogPlugins } from './register'
import { isActive, keepTrace, sink } from './start/instance'
import { type Options, readSettings, type Settings } from './start/options'
import { start } from './start/start'
import { changeBaggage, readBaggage } from './trace/baggage'
import { currentFrame, derive, frameWith, runInFrame } from './trace/context'
import { cut, Kind, LIMITS, type LiveSpan, type PluginSpan, type Span, UNSAMPLED } from './trace/span'
import { currentSpan, startSpan } from './trace/tracer'

export { MiloError, type MiloErrorCode } from './errors'
export type { ExportCounts } from './export/exporters'
export type { RetroactiveStats } from './keep/retroactive'
export type { RetroactiveOptions } from './keep/settings'
export type { ExportTo } from './start/exports'
export { flush, type Stats, shutdown, stats } from './start/instance'
export type { Options } from './start/options'
export type { OperationSampling } from './trace/adaptive'
export type { Sampler, SamplingRates } from './trace/sampler'
export type { Span } from './trace/span'
export { ids } from './trace/tracer'

/**
 * Starts Milo, or starts it again with other settings. milo/register has already started it from the environment.
 * With an environment variable that can't be used it says so and does nothing, as milo/register.
 * @throws MiloError with a code, the value and the remedy, when an option can't be used
 */
export function init(options: Options = {}): void {
  let settings: Settings
  try {
    settings = readSettings(options)
  } catch (error) {
    if (!(error instanceof BadVariable)) throw error
    refuse(error)
    return
  }
  start(settings, withLogPlugins(settings))
}

export interface SpanOptions {
  /**
   * Keep this trace, and what is called from here on, whatever the sampler says. Such traces are flagged as debug and have
   * probability 0, so that no count is scaled up by them. Within a trace that isn't kept, a new one begins here.
   */
  force?: boolean
}

/**
 * Runs `fn` in a new span, a child of the current one, and ends it when `fn` returns, throws, or the promise that it
 * returned settles. Returns what `fn` returns: the same value, the same promise, the same error. For an async function it
 * returns a promise that settles in the same way.
 *
 * For code with callbacks `fn` declares a second parameter, `done`. The span then ends when `done` is called; pass it where
 * a callback of Node's form is expected. An error as the first argument marks the span as failed.
 * `callback`, where one is given, is called with the same `this` and arguments, outside of the span. A span whose `done`
 * is never called isn't reported.
 */
export function span<R>(
  name: string,
  fn: (span: Span, done: (...args: any[]) => any) => R,
  callback?: (...args: any[]) => unknown,
): R
export function span<R>(
  name: string,
  options: SpanOptions | undefined,
  fn: (span: Span, done: (...args: any[]) => any) => R,
  callback?: (...args: any[]) => unknown,
): R
/** Starts a span that isn't current anywhere and that you end yourself. */
export function span(name: string, options?: SpanOptions): Span
export function span<R>(
  name: string,
  first?: SpanOptions | ((...args: any[]) => R),
  second?: (...args: any[]) => any,
  third?: (...args: any[]) => unknown,
): R | Span {
  const bare = typeof first === 'function'
  const fn: ((...args: any[]) => R) | undefined = bare ? first : second
  const callback = bare ? second : third
  const started = startSpan(Kind.LOCAL, nameOf(name), false, !bare && isForced(first))
  if (fn === undefined) return started
  const done = callback !== undefined || fn.length >= 2 ? doneOf(started, callback) : undefined
  return runIn(started, fn, done, types.isAsyncFunction(fn))
}

/** @param isAsync whether `fn` is, or calls, an async function: nobody else has the promise that it returns */
function runIn<R>(
  started: PluginSpan,
  fn: (...args: any[]) => R,
  done: ((...args: any[]) => any) | undefined,
  isAsync: boolean,
): R {
  // A span that is current already needs no frame, and neither does any while Milo is off.
  if (!started.recording && (currentSpan() === started || !isActive())) return fn(started, done)
  const frame = frameWith(started)
  if (!started.recording) return runInFrame(frame, fn, started, done)
  let result: R
  try {
    result = runInFrame(frame, fn, started, done)
  } catch (error) {
    started.fail(error).end()
    throw error
  }
  return endWith(started, result, done === undefined, isAsync)
}

/** Options may be any value, also an object that throws when a property is read. */
function isForced(options: SpanOptions | undefined): boolean {
  try {
    return options?.force === true
  } catch {
    return false
  }
}

function doneOf(span: Span, callback: ((...args: any[]) => unknown) | undefined) {
  const outer = currentFrame()
  return function done(this: unknown, ...args: any[]): unknown {
    if (isError(args[0])) span.fail(args[0])
    span.end()
    if (callback !== undefined) return runInFrame(outer, () => Reflect.apply(callback, this, args))
  }
}

/**
 * A function that runs `fn` in a span each time, as `span` does: with the same length, name and properties, and the same
 * `this`, arguments, result, promise and error. A generator function is returned as it is: its work is done by the code
 * that iterates.
 * @param name the span's; by default the function's
 */
export function wrap<F extends (...args: any[]) => any>(fn: F, name: string = nameOfFunction(fn)): F {
  if (typeof fn !== 'function' || types.isGeneratorFunction(fn)) return fn
  const isAsync = types.isAsyncFunction(fn)
  const run = (work: () => unknown) => runIn(startSpan(Kind.LOCAL, nameOf(name)), work, undefined, isAsync)
  const wrapped: Function = isConstructor(fn)
    ? function (this: unknown, ...args: any[]) {
        const target = new.target
        if (target === undefined) return run(() => Reflect.apply(fn, this, args))
        return run(() => Reflect.construct(fn, args, target === wrapped ? fn : target))
      }
    : // A method isn't a constructor either, and has no prototype.
      {
        method(this: unknown, ...args: any[]) {
          return run(() => Reflect.apply(fn, this, args))
        },
      }.method
  try {
    imitate<Function>(fn, wrapped)
    // Some libraries read the names of the arguments, or the word class, in it.
    const text = () => Function.prototype.toString.call(fn)
    if (!Object.hasOwn(fn, 'toString'))
      Object.defineProperty(wrapped, 'toString', { value: text, configurable: true, writable: true })
    return wrapped as unknown as F
  } catch {
    // `fn` is a Proxy that can't be inspected. It is called all the same.
    return wrapped as unknown as F
  }
}

/** A class may have a static `name` of any kind, a Proxy one that throws. */
function nameOfFunction(fn: Function): string {
  try {
    return (typeof fn?.name === 'string' && fn.name) || 'anonymous'
  } catch {
    return 'anonymous'
  }
}

function isConstructor(fn: Function): boolean {
  try {
    Reflect.construct(Object, [], fn)
    return true
  } catch {
    return false
  }
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

/**
 * Keeps the current trace, after the fact: what this process and others have in their histories of it is sent, and what is yet to end. A trace
 * that is kept anyway gets the annotation alone; a span's last word stays. It needs the option `retroactive`.
 * @param reason a word that says why, 64 characters at most: the traces are found by it, as `milo.keep=…`
 * @returns true if the word was accepted. False without a history, without a current span, above the limits, or once the span was sent (in a
 * sampled trace: has ended). An accepted trace may still be refused 20 ms later for its size; `stats().retroactive.refused` counts it
 */
export function keep(reason = 'application'): boolean {
  const span = currentSpan()
  return span !== undefined && keepTrace(span as LiveSpan, wordOf(reason))
}

/** `asked` means something else in a record. */
function wordOf(reason: unknown): string {
  const text = cut(typeof reason === 'string' ? reason : describe(reason), MAX_REASON_LENGTH)
  return text === '' || text === 'asked' ? 'application' : text
}

const MAX_REASON_LENGTH = 64

/** The current span; where there is none, one whose methods do nothing. */
export function current(): Span {
  return currentSpan() ?? UNSAMPLED
}

/** The baggage that is current: what the request brought, and what `withBaggage` has added. Empty where there is none. */
export function baggage(): Record<string, string> {
  return readBaggage(currentFrame()?.baggage)
}

/**
 * Runs `fn` with these values added to the baggage, in place of those that the keys had; undefined removes a key. HTTP requests
 * that are made within, and Thrift calls with the carrier `compat`, take along the keys that the setting `baggage` names. A key that
 * isn't a token of HTTP is left out.
 * @example milo.withBaggage({ tenant: 'acme' }, () => fetch('http://shop/orders'))
 */
export function withBaggage<R>(values: Record<string, string | undefined>, fn: () => R): R {
  if (!isActive()) return fn()
  const here = currentFrame()
  const frame = derive(here, here?.cells)
  try {
    frame.baggage = changeBaggage(here?.baggage, values)
  } catch (error) {
    logRarely('baggage', 'warn', `values of baggage couldn't be read: ${describe(error)}`)
  }
  return runInFrame(frame, fn)
}

function nameOf(name: unknown): string {
  const text = typeof name === 'string' ? name : describe(name)
  if (text.length <= LIMITS.nameLength) return text
  sink.truncated()
  return cut(text, LIMITS.nameLength)
}
