import { AsyncResource } from 'node:async_hooks'
import { isActive, type Plugin, type PluginHandle } from 'milo/plugin'

/**
 * Contexts in mysql2: it calls back from whatever opened the connection, or gave it back to the pool. A command's callback
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
  plugin.wrap(
    prototype,
    'getConnection',
    original =>
      function (this: unknown, callback: unknown, ...rest: unknown[]) {
        const bind = plugin.enabled && isActive() && typeof callback === 'function'
        return original.call(this, bind ? AsyncResource.bind(callback as () => void) : callback, ...rest)
      } as any,
  )
}

function bindCommands({ prototype }: any, plugin: PluginHandle): void {
  if (!Object.hasOwn(prototype, 'addCommand')) return
  plugin.wrap(
    prototype,
    'addCommand',
    original =>
      function (this: unknown, command: any, ...rest: unknown[]) {
        if (plugin.enabled && isActive()) {
          try {
            bindCommand(command)
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.call(this, command, ...rest)
      } as any,
  )
}

function bindCommand(command: any): void {
  const { emit, onResult } = command
  const caller = new AsyncResource('MiloMysql2Command')
  if (typeof onResult === 'function') {
    command.onResult = function (this: unknown, ...args: unknown[]) {
      return caller.runInAsyncScope(onResult, this, ...args)
    }
  }
  Object.defineProperty(command, 'emit', {
    value: function (this: unknown, ...args: unknown[]) {
      return caller.runInAsyncScope(emit, this, ...args)
    },
    configurable: true,
    writable: true,
    enumerable: false,
  })
}
