import type { Plugin } from 'milo/plugin'

/**
 * Contexts in bluebird. It runs what is ready from one queue, in the context of what was queued first. So handlers are bound to
 * where they are given, and so is what it runs without a handler: generators, and the start of `map` and its like.
 *
 * Since 3.7 it has a switch for that, `asyncHooks`. It stays as the application has set it: under it, `reflect` of a promise
 * that is cancelled never settles once there is a second copy of the library.
 */
export const bluebird: Plugin = {
  name: 'bluebird',
  patches: [
    {
      module: 'bluebird',
      versions: '>=3 <4',
      patch: (exports, plugin) => code().patchPromise(exports, plugin),
    },
    {
      module: 'bluebird',
      versions: '>=3.7 <4',
      file: 'js/release/util.js',
      patch: (exports, plugin) => code().patchBinding(exports, plugin),
    },
  ],
}

/** Kept: it has state, and an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined

function code(): typeof import('./code') {
  return (loaded ??= require('./code') as typeof import('./code'))
}
