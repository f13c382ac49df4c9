import { Frame, runInFrame } from '../trace/context'
import { SUPPRESSED } from '../trace/span'
import * as genuine from './genuine'
import { describe, logRarely } from './log'
import { Resource } from './resource'

/**
 * Runs Milo's own work in turns of the event loop. An error there doesn't become the application's uncaughtException, the
 * work doesn't keep the process alive, and it doesn't keep the context of the request in which it was begun.
 */

const own = new Resource('Milo')
/** What is current in Milo's own work, so that no instrumentation of sockets or files traces it, and no header of its requests tells of a trace. */
const untraced = new Frame(SUPPRESSED, undefined)

let mayBeTraced = false

/**
 * Says that there is something that would trace Milo's own work: an exporter over HTTP, OpenTelemetry's instrumentations, a plugin of
 * the application's. Where there is nothing, no frame is entered for that work: before Node 24 the first one makes every promise of a process
 * dearer, which costs a client without other contexts 3 µs a request.
 */
export function expectTracing(): void {
  mayBeTraced = true
}

/** Runs `make`. Timers and sockets that it makes don't keep the current context, and nothing is traced in them. */
export function apart<R>(make: () => R): R {
  return mayBeTraced
    ? (own.runInAsyncScope(runInFrame, undefined, untraced, make) as R)
    : own.runInAsyncScope<undefined, R>(make)
}

/** @returns a function that calls `fn` and logs its errors instead of throwing them */
export function guarded<A extends unknown[]>(fn: (...args: A) => void): (...args: A) => void {
  return (...args) => attempt(() => fn(...args))
}

/** @returns what `fn` returns; undefined if it fails: its error is logged instead of thrown */
export function attempt<R>(fn: () => R): R | undefined {
  try {
    return fn()
  } catch (error) {
    logRarely('guarded', 'error', `an error of Milo's own: ${describe(error)}`)
    return undefined
  }
}

/** Runs `fn` in a later turn. */
export function soon(fn: () => void): void {
  apart(() => genuine.setImmediate(guarded(fn)).unref())
}

/** Runs `fn` after `ms` milliseconds. */
export function after(ms: number, fn: () => void): NodeJS.Timeout {
  return apart(() => genuine.setTimeout(guarded(fn), ms).unref())
}

/** @returns a function that runs `fn` in a later turn, once for all calls until then */
export function oncePerTurn(fn: () => void): () => void {
  let isDue = false
  return () => {
    if (isDue) return
    isDue = true
    soon(() => {
      isDue = false
      fn()
    })
  }
}
