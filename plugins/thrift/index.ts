import type { Plugin, PluginHandle } from 'milo/plugin'
import { traceClient, traceClientClass } from './client'
import { patchConnection, patchRequests, patchXhr } from './connection'
import { patchBinaryProtocol, patchCompactProtocol, patchJsonProtocol } from './protocol'
import { patchQ } from './q'
import { traceProcessing, traceProcessor, watchServer } from './server'

/**
 * Apache Thrift (npm thrift), its clients and servers.
 *
 *   client.ts      createClient → each send_X starts a client half and hands it to the protocol
 *   connection.ts  what becomes of calls that thrift never settles
 *   server.ts      createServer → each process() starts a server half when its arguments have been read
 *   protocol.ts    what is written and read: the carriers, and where a message begins and ends
 *   carriers.ts    the bytes of the carriers
 *   names.ts       Service.method, from generated code
 *   q.ts           contexts in the promises of generated code before thrift 0.24
 *
 * Facts about the library and the reasons for this shape: docs/rationale.md.
 */
export const thrift: Plugin = {
  name: 'thrift',
  // The code that is generated for a service, whoever makes its clients and servers.
  onLoad(exports, plugin) {
    if (exports === null || typeof exports !== 'object') return
    const Client = Object.getOwnPropertyDescriptor(exports, 'Client')?.value
    const Processor = Object.getOwnPropertyDescriptor(exports, 'Processor')?.value
    if (typeof Client !== 'function' || typeof Processor !== 'function') return
    if (typeof Processor.prototype?.process !== 'function') return
    traceClientClass(Client.prototype, plugin)
    traceProcessing(Processor.prototype, plugin)
  },
  patches: [
    patch('create_client.js', (createClient, plugin) =>
      plugin.imitate(createClient, function (this: unknown, ...args: any[]) {
        const client = createClient.apply(this, args)
        traceClient(client, args[1], undefined, plugin)
        return client
      }),
    ),
    patch('multiplexed_protocol.js', (exports, plugin) =>
      after(plugin, exports.Multiplexer.prototype, 'createClient', (client, args) =>
        traceClient(client, args[2], args[0], plugin),
      ),
    ),
    patch('multiplexed_processor.js', (exports, plugin) =>
      traceProcessing(exports.MultiplexedProcessor.prototype, plugin),
    ),
    patch('connection.js', patchConnection),
    patch('http_connection.js', (exports, plugin) => patchRequests(exports.HttpConnection.prototype, plugin)),
    patch('xhr_connection.js', (exports, plugin) => patchXhr(exports.XHRConnection.prototype, plugin)),
    patch('server.js', (exports, plugin) => {
      // createServer calls this one through the exports, so it covers both.
      plugin.wrap(
        exports,
        'createMultiplexServer',
        original =>
          function (this: unknown, ...args: any[]) {
            traceProcessor(args[0], plugin)
            const server = original.apply(this, args)
            watchServer(server, Boolean(args[1]?.tls), plugin)
            return server
          } as any,
      )
    }),
    patch('web_server.js', (exports, plugin) =>
      // It puts each service's processor in place before it returns.
      after(plugin, exports, 'createWebServer', (_server, [options]) => {
        for (const service of Object.values<any>(options?.services ?? {})) traceProcessor(service?.processor, plugin)
      }),
    ),
    patch('binary_protocol.js', (exports, plugin) => patchBinaryProtocol(exports.prototype, plugin)),
    patch('compact_protocol.js', (exports, plugin) => patchCompactProtocol(exports.prototype, plugin)),
    patch('json_protocol.js', (exports, plugin) => patchJsonProtocol(exports.prototype, plugin)),
    { module: 'q', versions: '>=0.9 <2', patch: patchQ },
  ],
}

function patch(file: string, apply: (exports: any, plugin: PluginHandle) => unknown) {
  return { module: 'thrift', versions: '>=0.9.3 <1', file: `lib/nodejs/lib/thrift/${file}`, patch: apply }
}

/** Looks at what a function made. */
function after(plugin: PluginHandle, target: any, name: string, look: (result: any, args: any[]) => void): void {
  plugin.wrap(
    target,
    name,
    original =>
      function (this: unknown, ...args: any[]) {
        const result = original.apply(this, args)
        look(result, args)
        return result
      } as any,
  )
}
