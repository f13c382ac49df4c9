import { noteErrors, type Plugin } from 'milo/plugin'

/**
 * cassandra-driver: a span for each call, over all pages and retries, and contexts. Callbacks that it calls from a connection's reader
 * are bound to where they were given. Those are eachRow's, of which streams are made, and in its first versions all of them.
 */
export const cassandraDriver: Plugin = {
  name: 'cassandra-driver',
  patches: [
    { module: 'cassandra-driver', versions: '>=4 <5', file: 'lib/errors.js', patch: noteErrors },
    {
      module: 'cassandra-driver',
      versions: '>=4 <5',
      file: 'lib/client.js',
      sign: /There was an error while waiting for the schema agreement [b]etween nodes/,
      patch(Client, plugin) {
        loaded ??= require('./code') as typeof import('./code')
        loaded.patchClient(Client, plugin)
      },
    },
  ],
}

/** Kept: an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined
