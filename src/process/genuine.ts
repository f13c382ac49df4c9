import * as perfHooks from 'node:perf_hooks'
import * as timers from 'node:timers'

/**
 * Node's timers and clocks as they were when Milo was loaded: Milo uses these, and none that it finds at the time of a
 * call. Tests of an application put fake clocks in their place (sinon, jest, node:test), whose timers never fire once the
 * real ones are back; in jsdom the global timers return numbers, which have no `unref`. Real time goes on meanwhile, so
 * spans have real times.
 *
 * From `node:timers` rather than the globals, which an environment such as jsdom's replaces before Milo is loaded. Where
 * Milo is loaded under sinon's clock, which replaces both, the clock says what it has replaced.
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
export const nextTick = genuine(process, 'nextTick')

/** The Promise of this realm, whatever `globalThis.Promise` is by now. */
export const GenuinePromise = Promise

const { performance } = perfHooks

/** One object, so that a test of Milo's own can give it another time. */
export const clock = {
  /** Milliseconds since the process began, with fractions. Never goes back. */
  now: Object.getPrototypeOf(performance).now.bind(performance) as () => number,
  /** Milliseconds since the epoch, whole. Goes back and forth when the clock of the machine is set. */
  wallMs: genuine(globalThis, 'Date').now,
  /** The wall clock's time when `now` was 0. */
  timeOrigin: performance.timeOrigin,
}
