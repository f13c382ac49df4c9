import { AsyncResource } from 'node:async_hooks'
import type { Plugin, PluginHandle } from 'milo/plugin'

/**
 * Contexts in bluebird. It runs what is ready from one queue, in the context of whoever came first. So handlers are bound to
 * where they are given, and so is what it runs without a handler: generators, and the start of `map` and its like.
 *
 * Since 3.7 it has a switch for that, `asyncHooks`. It stays as the application has set it: under it, `reflect` of a promise
 * that is cancelled never settles once there is a second copy of the library.
 */
export const bluebird: Plugin = {
  name: 'bluebird',
  patches: [
    { module: 'bluebird', versions: '>=3 <4', patch: patchPromise },
    { module: 'bluebird', versions: '>=3.7 <4', file: 'js/release/util.js', patch: patchBinding },
  ],
}

function patchPromise(Bluebird: any, plugin: PluginHandle): void {
  const { prototype, _async } = Bluebird
  // Later versions pass each handler by what patchBinding patches.
  if (typeof Bluebird._getContext !== 'function') {
    plugin.wrap(
      prototype,
      '_then',
      original =>
        function (this: unknown, fulfilled: unknown, rejected: unknown, ...rest: unknown[]) {
          return original.call(this, bound(fulfilled, plugin), bound(rejected, plugin), ...rest)
        } as any,
    )
  }
  plugin.wrap(
    prototype,
    '_proxy',
    original =>
      function (this: unknown, proxyable: any, argument: unknown) {
        if (plugin.enabled) bindProxyable(proxyable)
        return original.call(this, proxyable, argument)
      } as any,
  )
  if (typeof _async?.invoke === 'function') {
    plugin.wrap(
      _async,
      'invoke',
      original =>
        function (this: unknown, fn: unknown, receiver: unknown, argument: unknown) {
          return original.call(this, bound(fn, plugin), receiver, argument)
        } as any,
    )
  }
  if (typeof Bluebird.getNewLibraryCopy === 'function') {
    plugin.wrap(
      Bluebird,
      'getNewLibraryCopy',
      original =>
        function (this: unknown) {
          const copy = original.call(this)
          patchPromise(copy, plugin)
          return copy
        } as any,
    )
  }
}

/** By which bluebird binds a handler to a domain: each that is given, also to `map` and its like. Without one it hands on. */
function patchBinding(util: any, plugin: PluginHandle): void {
  plugin.wrap(
    util,
    'contextBind',
    original =>
      function (this: unknown, context: unknown, handler: unknown) {
        const own = original.call(this, context, handler)
        return context === null ? own : bound(own, plugin)
      } as any,
  )
}

function bound(fn: unknown, plugin: PluginHandle): unknown {
  // Bluebird looks for this one by its identity, and it calls nothing of the application's.
  if (typeof fn !== 'function' || !plugin.enabled || fn.name === 'reflectHandler') return fn
  const resource = new AsyncResource('MiloBluebird')
  return function (this: unknown, ...args: unknown[]) {
    return resource.runInAsyncScope(fn as (...args: unknown[]) => unknown, this, ...args)
  }
}

/** What waits for a promise without a handler: a generator that has yielded it, an array of which it is one. */
function bindProxyable(proxyable: any): void {
  const resource = new AsyncResource('MiloBluebird')
  for (const name of ['_promiseFulfilled', '_promiseRejected', '_promiseCancelled']) {
    const original = Object.getPrototypeOf(proxyable)[name]
    if (typeof original !== 'function') continue
    proxyable[name] = function (this: unknown, ...args: unknown[]) {
      return resource.runInAsyncScope(original, this, ...args)
    }
  }
}
