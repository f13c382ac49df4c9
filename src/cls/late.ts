let loaded: typeof import('./code') | undefined

/** Kept: it has state, and an application may empty Node's cache of modules. */
export function cls(): typeof import('./code') {
  return (loaded ??= require('./code') as typeof import('./code'))
}

/** Does something with it if it has been loaded. */
export function ifLoaded(use: (code: typeof import('./code')) => void): void {
  if (loaded !== undefined) use(loaded)
}
