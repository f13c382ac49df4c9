import type { Plugin, PluginHandle } from 'milo/plugin'

/**
 * fetch and undici, the one within Node and the one from npm, also where a process has several: all of them announce requests
 * on the same diagnostics channels. Each request is a span, so each hop of a redirect and each attempt of a retry is one; those that a
 * MockAgent or a cache answers aren't sent and have none.
 *
 *   code.ts   what is done about a request, loaded with the first one
 *
 * The channels say all that a span needs, and a header can be added there. Two things they can't do, for which undici's own classes are
 * patched: its callbacks come from a socket that another request may have opened (Request.prototype), and before 8.13 a request that waits
 * in a pool of limited size is made when its turn comes, in the context of whichever request ended before it (PoolBase.prototype).
 */
export const undici: Plugin = {
  name: 'undici',
  patches: [
    { module: 'diagnostics_channel', patch: subscribe },
    ...['lib/pool-base.js', 'lib/dispatcher/pool-base.js'].map(file => ({
      module: 'undici',
      versions: '>=5.12 <9',
      file,
      patch: (exports: any, plugin: PluginHandle) => code().patchPool(exports.PoolBase.prototype, plugin),
    })),
  ],
}

const code = () => (loaded ??= require('./code') as typeof import('./code'))
/** Kept: it has state, and an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined

function subscribe(channels: typeof import('node:diagnostics_channel'), plugin: PluginHandle): void {
  const on = (event: string, see: (message: any) => void) =>
    channels.subscribe(`undici:request:${event}`, message => {
      if (!plugin.enabled) return
      try {
        see(message)
      } catch (error) {
        plugin.fail(error)
      }
    })
  on('create', ({ request }) => code().requestMade(request, plugin))
  on('headers', ({ request, response }) => code().headersCame(request, response.statusCode))
  on('trailers', ({ request }) => code().requestOver(request))
  on('error', ({ request, error }) => code().requestFailed(request, error))
}
