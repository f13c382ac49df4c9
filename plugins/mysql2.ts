import type { Plugin, PluginHandle } from 'milo/plugin'

/**
 * Contexts in mysql2: it calls back from the code that opened the connection, or gave it back to the pool. A command's callback
 * and events are bound to where the command was given, a connection's to where it was asked for. Promises need nothing
 * of their own, as they are made of those callbacks.
 */
export const mysql2: Plugin = {
  name: 'mysql2',
  patches: [
    patch('lib/base/pool.js', bindGetConnection),
    { ...patch('lib/base/connection.js', bindCommands), sign: /[a]dd new command when connection is in closed state/ },
    // Until 3.11.5 the classes were here; since then these inherit.
    patch('lib/pool.js', bindGetConnection),
    patch('lib/connection.js', bindCommands),
  ],
}

function patch(file: string, apply: (exports: any, plugin: PluginHandle) => void) {
  return { module: 'mysql2', versions: '>=2 <4', file, patch: apply }
}

function bindGetConnection({ prototype }: any, plugin: PluginHandle): void {
  if (!Object.hasOwn(prototype, 'getConnection')) return
  plugin.intercept(prototype, 'getConnection', (original, self, [callback, ...rest]) =>
    original.call(self, plugin.bind(callback), ...rest),
  )
}

function bindCommands({ prototype }: any, plugin: PluginHandle): void {
  if (!Object.hasOwn(prototype, 'addCommand')) return
  plugin.intercept(prototype, 'addCommand', (original, self, args) => {
    const [command] = args
    if (typeof command.onResult === 'function') command.onResult = plugin.bind(command.onResult)
    const emit = plugin.bind(command.emit)
    Object.defineProperty(command, 'emit', { value: emit, configurable: true, writable: true, enumerable: false })
    return original.apply(self, args)
  })
}
