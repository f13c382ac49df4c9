import type { PluginHandle } from 'milo/plugin'

export function patchPromise(Bluebird: any, plugin: PluginHandle): void {
  const { prototype, _async } = Bluebird
  // It has no name that a minifier would leave, and this is all that `reflect` does.
  prototype.reflect?.call({ _then: (handler: object) => void reflectHandlers.add(handler) })
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
export function patchBinding(util: any, plugin: PluginHandle): void {
  plugin.intercept(util, 'contextBind', (original, self, [context, handler]) => {
    const own = original.call(self, context, handler)
    return context === null ? own : bound(own, plugin)
  })
}

/** Bluebird looks for these by their identity, and they call nothing of the application's. */
const reflectHandlers = new WeakSet<object>()

function bound(fn: any, plugin: PluginHandle): unknown {
  return reflectHandlers.has(fn) ? fn : plugin.bind(fn)
}

/** Binds what waits for a promise without a handler: a generator that has yielded it, or an array that contains it. */
function bindProxyable(proxyable: any, plugin: PluginHandle): void {
  for (const name of ['_promiseFulfilled', '_promiseRejected', '_promiseCancelled']) {
    const original = Object.getPrototypeOf(proxyable)[name]
    if (typeof original === 'function') proxyable[name] = plugin.bind(original)
  }
}
