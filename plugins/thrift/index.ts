import type { Plugin, PluginHandle } from 'milo/plugin'
import { traceClient } from './client'
import { patchBinaryProtocol, patchCompactProtocol } from './protocol'
import { traceProcessor } from './server'

/**
 * Apache Thrift (npm thrift), its clients and servers.
 *
 *   client.ts    createClient → each send_X starts a client half and hands it to the protocol
 *   server.ts    createServer → each process() starts a server half when its arguments have been read
 *   protocol.ts  what is written and read: Milo's field, CALLTRACE, and where a message begins and ends
 *   carriers.ts  the bytes of the carriers
 *   names.ts     Service.method, from generated code
 *
 * Facts about the library and the reasons for this shape: docs/rationale.md.
 */
export const thrift: Plugin = {
  name: 'thrift',
  patches: [
    patch('create_client.js', (createClient, plugin) =>
      plugin.imitate(createClient, function (this: unknown, ...args: any[]) {
        const client = createClient.apply(this, args)
        traceClient(client, args[1], undefined, plugin)
        return client
      }),
    ),
    patch('multiplexed_protocol.js', (exports, plugin) => {
      plugin.wrap(
        exports.Multiplexer.prototype,
        'createClient',
        original =>
          function (this: unknown, ...args: any[]) {
            const client = original.apply(this, args)
            traceClient(client, args[2], args[0], plugin)
            return client
          } as any,
      )
    }),
    patch('server.js', (exports, plugin) => {
      // createServer calls this one through the exports, so it covers both.
      plugin.wrap(
        exports,
        'createMultiplexServer',
        original =>
          function (this: unknown, ...args: any[]) {
            traceProcessor(args[0], plugin)
            return original.apply(this, args)
          } as any,
      )
    }),
    patch('binary_protocol.js', (exports, plugin) => patchBinaryProtocol(exports.prototype, plugin)),
    patch('compact_protocol.js', (exports, plugin) => patchCompactProtocol(exports.prototype, plugin)),
  ],
}

function patch(file: string, apply: (exports: any, plugin: PluginHandle) => unknown) {
  return { module: 'thrift', versions: '>=0.9.3 <1', file: `lib/nodejs/lib/thrift/${file}`, patch: apply }
}
