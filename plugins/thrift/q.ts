import type { PluginHandle } from 'milo/plugin'

/*
 * Q, in which code generated for thrift before 0.24 makes its promises. It runs what is ready from a queue of its own, in
 * the context of the first that is queued: several requests that arrive in one chunk would all run in the first one's. So what
 * is given to `fcall` and `then` is bound where it is given.
 */
export function patchQ(Q: any, plugin: PluginHandle): void {
  plugin.intercept(Q, 'fcall', (original, self, [callback, ...args]) =>
    original.call(self, plugin.bind(callback), ...args),
  )
  plugin.intercept(Q.makePromise.prototype, 'then', (original, self, callbacks) =>
    original.apply(self, callbacks.map(plugin.bind, plugin)),
  )
}
