import { AsyncResource } from 'node:async_hooks'
import * as genuine from './genuine'
import { describe, logRarely } from './log'

/**
 * What Milo does in turns of the loop that are its own. Nothing that throws there may become the application's
 * uncaughtException, nothing there keeps the process alive, and nothing keeps the context of the request in which it
 * was begun.
 */

const own = new AsyncResource('Milo')

/** Timers and sockets that are made in here don't keep the current context. */
export function apart<R>(make: () => R): R {
  return own.runInAsyncScope(make)
}

/** The same function, but for errors: they are said, and go no further. */
export function guarded<A extends unknown[]>(fn: (...args: A) => void): (...args: A) => void {
  return (...args) => {
    try {
      fn(...args)
    } catch (error) {
      logRarely('guarded', 'error', `an error of Milo's own: ${describe(error)}`)
    }
  }
}

/** Runs `fn` in a later turn. */
export function soon(fn: () => void): void {
  apart(() => genuine.setImmediate(guarded(fn)).unref())
}

/** Runs `fn` after so many milliseconds. */
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
