import * as timers from 'node:timers'

/**
 * Node's timers and clocks as they were when Milo was loaded. Milo uses only these. An application's tests replace them
 * with fake clocks (sinon, jest, node:test), whose timers never fire once the real ones are back; in jsdom the global
 * timers return numbers, which have no `unref`. Real time goes on meanwhile, so spans have real times.
 *
 * They come from `node:timers` rather than the globals, which an environment such as jsdom's replaces before Milo is
 * loaded. Sinon's clock replaces both; where Milo is loaded under it, the clock knows the originals.
 */

function genuine<O extends object, K extends keyof O & string>(owner: O, name: K): O[K] {
  return (owner[name] as any)?.clock?.[`_${name}`] ?? owner[name]
}

export const setTimeout = genuine(timers, 'setTimeout')
export const clearTimeout = genuine(timers, 'clearTimeout')
export const setInterval = genuine(timers, 'setInterval')
export const clearInterval = genuine(timers, 'clearInterval')
export const setImmediate = genuine(timers, 'setImmediate')
export const clearImmediate = genuine(timers, 'clearImmediate')
export const queueMicrotask = genuine(globalThis, 'queueMicrotask')
/** Milliseconds since the epoch; NaN for what isn't a date. */
export const parseDate = genuine(globalThis, 'Date').parse
export const nextTick = genuine(process, 'nextTick')

/** This realm's original Promise, even when `globalThis.Promise` is replaced later. */
export const GenuinePromise = Promise

/** Loaded when the time is first asked for, by the first span: it takes a millisecond of a start. */
let loaded: typeof import('node:perf_hooks') | undefined
const performance = () => (loaded ??= require('node:perf_hooks') as typeof import('node:perf_hooks')).performance

function firstNow(): number {
  const there = performance()
  const now: () => number = (Object.getPrototypeOf(there).now ?? there.now).bind(there)
  if (clock.now === firstNow) clock.now = now
  return now()
}

/** An object, so that Milo's own tests can set the time. */
export const clock = {
  /** Milliseconds since the process began, with fractions. Never goes back. */
  now: firstNow as () => number,
  /** Whole milliseconds since the epoch. Jumps back and forth when the machine's clock is set. */
  wallMs: genuine(globalThis, 'Date').now,
  /** The wall clock's time when `now` was 0. */
  timeOrigin: () => performance().timeOrigin,
}
