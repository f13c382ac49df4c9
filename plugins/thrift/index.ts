import { noteError, noteErrors, type Patch, type Plugin, type PluginHandle } from 'milo/plugin'

/**
 * Apache Thrift (npm thrift), its clients and servers.
 *
 *   code.ts        all of the following
 *   client.ts      createClient → each send_X starts a client half and hands it to the protocol
 *   connection.ts  what becomes of calls that thrift never settles
 *   server.ts      createServer → each process() starts a server half when its arguments have been read
 *   protocol.ts    where a message begins and ends, in every protocol
 *   dialects/      what differs between the protocols: where a carrier is put and found
 *   carriers/      what the carriers hold: Milo's field, CALLTRACE's ids, other tracers' maps
 *   wire.ts        Thrift's numbers
 *   names.ts       Service.method, from generated code
 *   creditkarma.ts @creditkarma/thrift-client and -server
 *   evernote.ts    the SDK of Evernote, which has its own
 *   copies.ts      protocols of thrift's under other names
 *   foreign.ts     says which code isn't traced, because its thrift isn't one that Milo has patched
 *   pending.ts     lists of calls that wait for their replies
 *   on-request.ts  shows a call's arguments to the application, if it asked for them
 *   replace.ts     how functions of generated code are replaced
 *   q.ts           contexts in the promises of generated code before thrift 0.24
 *
 * Facts about the library and the reasons for this shape: docs/rationale.md.
 */

/**
 * Loaded when the first patch is applied, from a file of its own in dist (tsup.config.ts): it is a quarter of all code,
 * and to read it takes a millisecond of the start of a program that doesn't use Thrift.
 */
const code = () => (loaded ??= require('./code') as typeof import('./code'))
/** Kept: it has state, and an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined

export const thrift: Plugin = {
  name: 'thrift',
  // Code that is generated for a service, and copies of protocols.
  sign: /\bprocess_\w+|\breadMessageBegin\b/,
  // The code that is generated for a service, however its clients and servers are made.
  onLoad(exports, plugin, file) {
    if (/protocol/i.test(file)) lookForProtocols(exports, plugin, file)
    if (exports === null || typeof exports !== 'object') return
    const Client = Object.getOwnPropertyDescriptor(exports, 'Client')?.value
    const Processor = Object.getOwnPropertyDescriptor(exports, 'Processor')?.value
    if (typeof Client !== 'function' || typeof Processor !== 'function') return
    if (!hasMethods(Client.prototype, ['send_', 'recv_']) || !hasMethods(Processor.prototype, ['process', 'process_']))
      return
    const { nameAfterFile, traceClientClass, traceProcessing } = code()
    nameAfterFile(Client.prototype, 'send_', file)
    nameAfterFile(Processor.prototype, 'process_', file)
    traceClientClass(Client.prototype, plugin)
    traceProcessing(Processor.prototype, plugin)
  },
  patches: [
    patch(
      'create_client.js',
      (createClient, plugin) =>
        plugin.imitate(createClient, function (this: unknown, ...args: any[]) {
          const client = createClient.apply(this, args)
          code().traceClient(client, args[1], undefined, plugin)
          return client
        }),
      createClient => contains(createClient, 'new ServiceClient('),
    ),
    patch(
      'multiplexed_protocol.js',
      (exports, plugin) =>
        after(plugin, exports.Multiplexer.prototype, 'createClient', (client, args) =>
          code().traceClient(client, args[2], args[0], plugin),
        ),
      exports => contains(method(exports, 'Multiplexer', 'createClient'), 'new ServiceClient('),
    ),
    patch(
      'multiplexed_processor.js',
      (exports, plugin) => code().traceProcessing(exports.MultiplexedProcessor.prototype, plugin),
      exports => contains(method(exports, 'MultiplexedProcessor', 'process'), 'readMessageBegin'),
    ),
    patch(
      'connection.js',
      (exports, plugin) => code().patchConnection(exports, plugin),
      exports => contains(method(exports, 'Connection', 'connection_gone'), 'offline_queue'),
    ),
    patch(
      'ws_connection.js',
      exports => code().markPersistent(exports.WSConnection),
      exports => method(exports, 'WSConnection', 'write') !== undefined,
    ),
    patch(
      'xhr_connection.js',
      (exports, plugin) => code().patchXhr(exports.XHRConnection.prototype, plugin),
      exports => method(exports, 'XHRConnection', 'getXmlHttpRequestObject') !== undefined,
    ),
    patch(
      'server.js',
      (exports, plugin) => {
        // createServer calls this one through the exports, so it covers both.
        plugin.wrap(
          exports,
          'createMultiplexServer',
          original =>
            function (this: unknown, ...args: any[]) {
              code().traceProcessor(args[0], plugin)
              const server = original.apply(this, args)
              code().watchServer(server, Boolean(args[1]?.tls), plugin)
              return server
            },
        )
      },
      exports => contains(own(exports, 'createMultiplexServer'), 'processor.process('),
    ),
    patch(
      'web_server.js',
      (exports, plugin) =>
        // It puts each service's processor in place before it returns.
        after(plugin, exports, 'createWebServer', (_server, [options]) => {
          for (const service of Object.values<any>(options?.services ?? {}))
            code().traceProcessor(service?.processor, plugin)
        }),
      exports => contains(own(exports, 'createWebServer'), 'processor'),
    ),
    {
      ...patch('binary_protocol.js', (exports, plugin) => code().patchBinaryProtocol(exports.prototype, plugin)),
      // Doesn't match itself: Milo may be in the same bundle.
      sign: /Bad version in readMessage[B]egin/,
    },
    patch('compact_protocol.js', (exports, plugin) => code().patchCompactProtocol(exports.prototype, plugin)),
    patch('header_protocol.js', exports => code().markPatched(exports.prototype)),
    patch('json_protocol.js', (exports, plugin) => code().patchJsonProtocol(exports.prototype, plugin)),
    patch('thrift.js', exports => noteErrors(exports)),
    patch('input_buffer_underrun_error.js', exports => noteError(exports, 'InputBufferUnderrunError')),
    creditKarma('types.js', (exports, plugin) => code().patchCreditKarmaTypes(exports, plugin)),
    creditKarma('transports/BufferedTransport.js', exports => code().patchCreditKarmaTransport(exports)),
    ...['Binary', 'Compact', 'JSON'].map(name =>
      creditKarma(`protocols/${name}Protocol.js`, (exports, plugin) =>
        code().patchCreditKarmaProtocol(exports, plugin),
      ),
    ),
    evernote('thrift.js', (exports, plugin) => code().patchEvernote(exports, plugin)),
    ...['UserStore', 'NoteStore'].map(service =>
      evernote(`gen-js2/${service}.js`, exports => code().nameEvernoteService(exports, service)),
    ),
    { module: 'q', versions: '>=0.9 <2', patch: (exports, plugin) => code().patchQ(exports, plugin) },
  ],
}

/** @param copies recognizes the file in copies of thrift; protocols are recognized by `lookForProtocols` */
function patch(file: string, apply: (exports: any, plugin: PluginHandle) => unknown, copies?: Patch['copies']): Patch {
  return { module: 'thrift', versions: '>=0.9.3 <1', file: `lib/nodejs/lib/thrift/${file}`, patch: apply, copies }
}

function creditKarma(file: string, apply: Patch['patch']): Patch {
  return { module: '@creditkarma/thrift-server-core', versions: '>=0.11 <2', file: `dist/main/${file}`, patch: apply }
}

function evernote(file: string, apply: Patch['patch']): Patch {
  return { module: 'evernote', versions: '>=2.0.2 <3', file: `lib/thrift/${file}`, patch: apply }
}

function own(object: any, name: string): any {
  return object === null || object === undefined ? undefined : Object.getOwnPropertyDescriptor(object, name)?.value
}

/** A method of a class that a module exports. */
function method(exports: any, className: string, name: string): unknown {
  const value = own(own(own(exports, className), 'prototype'), name)
  return typeof value === 'function' ? value : undefined
}

function contains(code: unknown, text: string): boolean {
  return typeof code === 'function' && Function.prototype.toString.call(code).includes(text)
}

/**
 * Patches protocols of copies of thrift. Reports a package that has protocols which work in another way: its calls aren't traced.
 */
function lookForProtocols(exports: any, plugin: PluginHandle, file: string): void {
  // These have patches of their own.
  if (/[\\/]node_modules[\\/](?:thrift|@creditkarma[\\/]thrift-server-core|evernote[\\/]lib)[\\/]/.test(file)) return
  const properties = Object.values(Object.getOwnPropertyDescriptors(exports ?? {}))
  for (const value of [exports, ...properties.map(({ value }) => value)]) {
    if (typeof value !== 'function' || typeof value.prototype?.readMessageBegin !== 'function') continue
    const { isPatched, markPatched, patchCopiedProtocol, sayForeign } = code()
    if (isPatched(value.prototype) || patchCopiedProtocol(value.prototype, plugin)) continue
    // It hands everything on to two of the others.
    if (value.name === 'THeaderProtocol' && contains(value.prototype.readMessageBegin, 'this.protocol.')) {
      markPatched(value.prototype)
    } else sayForeign(value.prototype)
  }
}

/** Whether a class was generated for a service: it has, or inherits, a function for each of these prefixes. Without an underscore, the whole name counts. */
function hasMethods(prototype: any, prefixes: string[]): boolean {
  const missing = new Set(prefixes)
  for (let level = prototype; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
    for (const name of Object.getOwnPropertyNames(level)) {
      const prefix = name.slice(0, name.indexOf('_') + 1) || name
      if (missing.has(prefix) && typeof Object.getOwnPropertyDescriptor(level, name)!.value === 'function')
        missing.delete(prefix)
    }
  }
  return missing.size === 0
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
      },
  )
}
