import { AsyncResource } from 'node:async_hooks'
import { isActive, type PluginHandle } from 'milo/plugin'

/*
 * Q, in which code generated for thrift before 0.24 makes its promises. It runs what is ready from a queue of its own, in
 * the context of whoever came first: several requests that arrive in one chunk would all run in the first one's. So what
 * is given to `fcall` and `then` is bound where it is given.
 */
export function patchQ(Q: any, plugin: PluginHandle): void {
  const bind = (callback: unknown) => (plugin.enabled && isActive() ? bound(callback) : callback)
  plugin.wrap(
    Q,
    'fcall',
    original =>
      function (this: unknown, callback: unknown, ...args: unknown[]) {
        return original.call(this, bind(callback), ...args)
      } as any,
  )
  plugin.wrap(
    Q.makePromise.prototype,
    'then',
    original =>
      function (this: unknown, ...callbacks: unknown[]) {
        return original.apply(this, callbacks.map(bind))
      } as any,
  )
}

function bound(callback: unknown): unknown {
  return typeof callback === 'function' ? AsyncResource.bind(callback as (...args: any[]) => unknown) : callback
}
