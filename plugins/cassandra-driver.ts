import type { Plugin } from 'milo/plugin'

/**
 * Contexts in cassandra-driver: callbacks that it calls from a connection's reader are bound to where they were given.
 * Those are eachRow's, of which streams are made, and in its first versions all of them. Promises need nothing.
 */
export const cassandraDriver: Plugin = {
  name: 'cassandra-driver',
  patches: [
    {
      module: 'cassandra-driver',
      versions: '>=4 <5',
      file: 'lib/client.js',
      sign: /There was an error while waiting for the schema agreement [b]etween nodes/,
      patch(Client, plugin) {
        for (const name of ['execute', 'batch', 'eachRow']) {
          plugin.intercept(Client.prototype, name, (original, self, args) =>
            original.apply(self, args.map(plugin.bind, plugin)),
          )
        }
      },
    },
  ],
}
