import { isActive, type Plugin } from 'milo/plugin'
import { isRecording, takeRoute } from './http'

/**
 * koa: the span of a request has the name of its route. Routers (@koa/router, koa-router) may be ES modules, which pass no `load`, and are
 * called in many ways. But each of them leaves on koa's own context what it has matched: that is looked at when the request ends.
 */
export const koa: Plugin = {
  name: 'koa',
  patches: [
    {
      module: 'koa',
      versions: '>=2 <4',
      file: 'lib/application.js',
      patch(Application, plugin) {
        plugin.wrap(
          Application.prototype,
          'createContext',
          original =>
            function (this: unknown, req, res, ...rest) {
              const context = original.call(this, req, res, ...rest)
              try {
                if (plugin.enabled && isActive() && isRecording(res)) takeRoute(res, () => routeOf(context))
              } catch (error) {
                plugin.fail(error)
              }
              return context
            },
        )
      },
    },
  ],
}

/**
 * Of the layers that match the path and have the method, the route is the one that was called last; those of middleware have no methods.
 * Routers before @koa/router 9 don't say which were called: there it is the last one. Its path has the prefixes of all routers that it is
 * nested in.
 */
function routeOf({ _matchedRoute, routerPath, matched, method }: any): string | undefined {
  if (_matchedRoute === undefined || !Array.isArray(matched)) return undefined
  const routes = matched.filter(layer => layer?.methods?.includes?.(method))
  const route = routes.findLast(({ path }) => path === routerPath) ?? routes.at(-1)
  return route && String(route.path)
}
