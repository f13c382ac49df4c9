import type { Plugin, PluginHandle } from 'milo/plugin'

/**
 * pg, its pool and its cursors: a span for each statement, from when a client has it to its last row, and for one that gets no client from
 * a pool; and contexts. Callbacks come from the connection's reader, and from whoever gives a client back to the pool: they are bound
 * to where they were given. pg's native client is left as it is.
 */
export const pg: Plugin = {
  name: 'pg',
  patches: [
    {
      module: 'pg',
      versions: '>=8.0.3 <9',
      file: 'lib/client.js',
      sign: /Client was passed a null or undefined [q]uery/,
      patch: (exports, plugin) => code().patchClient(exports, plugin),
    },
    { module: 'pg-pool', versions: '>=3 <4', patch: (exports, plugin) => code().patchPool(exports, plugin) },
    { module: 'pg-cursor', versions: '>=2 <3', patch: bind('read', 'close') },
  ],
}

const code = () => (loaded ??= require('./code') as typeof import('./code'))
/** Kept: an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined

function bind(...names: string[]) {
  return ({ prototype }: any, plugin: PluginHandle) => {
    for (const name of names) {
      plugin.intercept(prototype, name, (original, self, args) => original.apply(self, args.map(plugin.bind, plugin)))
    }
  }
}
