import { noteError, type Plugin } from 'milo/plugin'

/**
 * ioredis: a span for each command, pipeline and transaction, from the call to its answer, over reconnections and a cluster's redirections.
 * Of a command its name alone is recorded. Messages of subscriptions belong to no request.
 */
export const ioredis: Plugin = {
  name: 'ioredis',
  patches: [
    ...['MaxRetriesPerRequestError', 'ClusterAllFailedError'].map(name => ({
      module: 'ioredis',
      versions: '>=4 <7',
      file: `built/errors/${name}.js`,
      patch: (exports: any) => noteError(exports.default ?? exports, name),
    })),
    {
      module: 'ioredis',
      versions: '>=4 <7',
      sign: /subscriber mode, only subscriber commands [m]ay be used/,
      patch(exports, plugin) {
        loaded ??= require('./code') as typeof import('./code')
        loaded.patchRedis(exports, plugin)
      },
    },
  ],
}

/** Kept: it has state, and an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined
