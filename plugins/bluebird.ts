import type { Plugin, PluginHandle } from 'milo/plugin'

/**
 * Contexts in bluebird. It runs what is ready from one queue, in the context of what was queued first. So handlers are bound to
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
    plugin.intercept(prototype, '_then', (original, self, [fulfilled, rejected, ...rest]) =>
      original.call(self, bound(fulfilled, plugin), bound(rejected, plugin), ...rest),
    )
  }
  plugin.intercept(prototype, '_proxy', (original, self, args) => {
    bindProxyable(args[0], plugin)
    return original.apply(self, args)
  })
  if (typeof _async?.invoke === 'function') {
    plugin.intercept(_async, 'invoke', (original, self, [fn, ...rest]) =>
      original.call(self, bound(fn, plugin), ...rest),
    )
  }
  if (typeof Bluebird.getNewLibraryCopy === 'function') {
    plugin.intercept(Bluebird, 'getNewLibraryCopy', (original, self) => {
      const copy = original.call(self)
      patchPromise(copy, plugin)
      return copy
    })
  }
}

/**
 * Patches bluebird's function that binds a handler to a domain. Each handler passes it, also those of `map` and its like;
 * without a domain it returns the handler as it is.
 */
function patchBinding(util: any, plugin: PluginHandle): void {
  plugin.intercept(util, 'contextBind', (original, self, [context, handler]) => {
    const own = original.call(self, context, handler)
    return context === null ? own : bound(own, plugin)
  })
}

/** Bluebird looks for reflectHandler by its identity, and that calls nothing of the application's. */
function bound(fn: any, plugin: PluginHandle): unknown {
  return fn?.name === 'reflectHandler' ? fn : plugin.bind(fn)
}

/** Binds what waits for a promise without a handler: a generator that has yielded it, or an array that contains it. */
function bindProxyable(proxyable: any, plugin: PluginHandle): void {
  for (const name of ['_promiseFulfilled', '_promiseRejected', '_promiseCancelled']) {
    const original = Object.getPrototypeOf(proxyable)[name]
    if (typeof original === 'function') proxyable[name] = plugin.bind(original)
  }
}
