import type { Plugin, PluginHandle } from 'milo/plugin'

/**
 * mysql2: a span for each statement, from when a connection has it to its last row, and for one that gets no connection from a pool; and
 * contexts. mysql2 calls back from the code that opened the connection, or gave it back to the pool. A command's callback and events
 * are bound to where the command was given, a connection's to where it was asked for. Promises need nothing of their own, as they are
 * made of those callbacks.
 */
export const mysql2: Plugin = {
  name: 'mysql2',
  patches: [
    patch('lib/base/pool.js', (exports, plugin) => code().patchPool(exports, plugin)),
    {
      ...patch('lib/base/connection.js', (exports, plugin) => code().patchConnection(exports, plugin)),
      sign: /[a]dd new command when connection is in closed state/,
    },
    patch('lib/pool_cluster.js', (exports, plugin) => code().patchCluster(exports, plugin)),
    // Until 3.11.5 the classes were here; since then these inherit.
    patch('lib/pool.js', (exports, plugin) => code().patchPool(exports, plugin)),
    patch('lib/connection.js', (exports, plugin) => code().patchConnection(exports, plugin)),
  ],
}

const code = () => (loaded ??= require('./code') as typeof import('./code'))
/** Kept: an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined

function patch(file: string, apply: (exports: any, plugin: PluginHandle) => void) {
  return { module: 'mysql2', versions: '>=2 <4', file, patch: apply }
}
